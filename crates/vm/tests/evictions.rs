//! Evictions of launcher Pods: refused by the webhook, and by the PodDisruptionBudget without it.

mod support;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, EvictParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use scute_api::kubevirt::VirtualMachineInstance;
use scute_kit::Hub;
use scute_kit::conditions::find;
use scute_testkit::{free_port, server};
use serde_json::{Value, json};
use support::{Bench, guest};

/// Sends evictions in this namespace to the handler.
async fn intercept(bench: &Bench) {
    let server = server().await;
    let (certificate, key, ca) = server.serving_certificate();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tls.crt"), certificate).unwrap();
    std::fs::write(dir.path().join("tls.key"), key).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let hub = Hub::new(bench.client.clone());
    hub.watch::<Pod>().ready().await;
    hub.watch::<VirtualMachineInstance>().ready().await;
    let admission = scute_vm::admission(&hub, scute_kit::Admission::new());
    tokio::spawn(async move { admission.serve(address, dir.path()).await });
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": bench.namespace},
        "webhooks": [{
            "name": "evictions.scute.dev", "admissionReviewVersions": ["v1"], "sideEffects": "NoneOnDryRun",
            "failurePolicy": "Fail",
            "clientConfig": {
                "url": format!("https://{address}/validate"),
                "caBundle": k8s_openapi::ByteString(ca.into_bytes()),
            },
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": bench.namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"]}],
        }],
    });
    let request =
        http::Request::post("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations")
            .header("content-type", "application/json")
            .body(webhook.to_string().into_bytes())
            .unwrap();
    let _: Value = bench.client.request(request).await.unwrap();
}

/// A client that gives a 429 to the caller instead of asking again.
async fn impatient() -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&server().await.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

async fn running(bench: &Bench, name: &str, strategy: &str) -> Pod {
    let mut spec = guest();
    spec["evictionStrategy"] = json!(strategy);
    let vmi: VirtualMachineInstance = bench
        .create(json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": name}, "spec": spec}))
        .await;
    let pod = bench.pod_of(name, &vmi.uid().unwrap()).await;
    bench.boot(&pod, "10.85.0.30").await;
    let runs =
        |vmi: &VirtualMachineInstance| vmi.status.as_ref().is_some_and(|status| status.node_name.is_some());
    bench.eventually::<VirtualMachineInstance>(name, "running", runs).await;
    pod
}

/// The refusal that an eviction meets, without those of a webhook that is not known or does not listen yet.
async fn refusal(bench: &Bench, pod: &Pod) -> (u16, String) {
    refusal_of(bench, pod, "", json!({})).await
}

/// The same for an eviction with this query and these options; the client library's own call drops the options.
async fn refusal_of(bench: &Bench, pod: &Pod, query: &str, options: Value) -> (u16, String) {
    let name = pod.name_any();
    let client = impatient().await;
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options});
    let uri = format!("/api/v1/namespaces/{}/pods/{name}/eviction{query}", bench.namespace);
    scute_testkit::until("a refusal", || async {
        let request = http::Request::post(&uri).header("content-type", "application/json");
        match client.request::<Value>(request.body(body.to_string().into_bytes()).unwrap()).await {
            Err(kube::Error::Api(status)) if status.message.contains("failed calling webhook") => None,
            // The server's own answer, from the budget that nobody has counted yet.
            Err(kube::Error::Api(status)) if status.message.contains("disruption budget") => None,
            Err(kube::Error::Api(status)) => Some((status.code, status.message.clone())),
            other => panic!("{other:?}"),
        }
    })
    .await
}

#[tokio::test]
async fn external_marks_the_vmi_and_refuses() {
    let bench = Bench::new("evict").await;
    let pod = running(&bench, "a", "External").await;
    let budget = bench.api::<PodDisruptionBudget>().get(&pod.name_any()).await.unwrap();
    assert_eq!(budget.owner_references()[0].name, "a", "it goes with the VMI");
    intercept(&bench).await;
    let (code, message) = refusal(&bench, &pod).await;
    assert_eq!(code, 429);
    assert!(message.contains("Eviction triggered evacuation of VMI"), "{message}");
    let marked = |vmi: &VirtualMachineInstance| {
        vmi.status.as_ref().is_some_and(|status| status.evacuation_node_name.as_deref() == Some("node-1"))
    };
    bench.eventually::<VirtualMachineInstance>("a", "marked", marked).await;
    scute_testkit::until("the second answer", || async {
        let (code, message) = refusal(&bench, &pod).await;
        (code == 429 && message.contains("Evacuation in progress")).then_some(())
    })
    .await;
}

/// Nobody says that a drain was given up, but its Node is uncordoned. Five minutes have to pass, which they do here in the
/// condition that says since when.
#[tokio::test]
async fn the_mark_goes_when_the_node_is_uncordoned() {
    let bench = Bench::new("uncordoned").await;
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let cordon = |yes: bool| {
        let (nodes, patch) = (nodes.clone(), json!({"spec": {"unschedulable": yes}}));
        async move { nodes.patch("node-1", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap() }
    };
    let node = serde_json::from_value(json!({"metadata": {"name": "node-1"}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    cordon(true).await;
    let pod = running(&bench, "a", "External").await;
    intercept(&bench).await;
    refusal(&bench, &pod).await;
    let asked =
        |vmi: &VirtualMachineInstance| find(&vmi.status.as_ref()?.conditions, "EvictionRequested").cloned();
    let told = |vmi: &VirtualMachineInstance| asked(vmi).is_some();
    let seen = bench.eventually::<VirtualMachineInstance>("a", "told", told).await;
    let mut conditions = seen.status.unwrap().conditions;
    for condition in &mut conditions {
        condition.last_transition_time.0 = "2026-01-01T00:00:00Z".parse().unwrap();
    }
    let old = bench.patch_status::<VirtualMachineInstance>("a", json!({"conditions": conditions})).await;
    assert!(old.status.unwrap().evacuation_node_name.is_some(), "its Node is cordoned");
    cordon(false).await;
    let free = |vmi: &VirtualMachineInstance| {
        asked(vmi).is_none()
            && vmi.status.as_ref().is_some_and(|status| status.evacuation_node_name.is_none())
    };
    bench.eventually::<VirtualMachineInstance>("a", "free to stay", free).await;
}

/// `kubectl drain --dry-run=server` sends it in the body; other clients as a parameter of the request.
#[tokio::test]
async fn a_dry_run_marks_nothing() {
    let bench = Bench::new("dry").await;
    let pod = running(&bench, "a", "External").await;
    intercept(&bench).await;
    for (query, options) in [("", json!({"dryRun": ["All"]})), ("?dryRun=All", json!({}))] {
        let (code, message) = refusal_of(&bench, &pod, query, options).await;
        assert_eq!(code, 429);
        assert!(message.contains("would trigger evacuation of VMI"), "{message}");
        assert!(message.contains("leaves it to the VM's owner"), "says who acts: {message}");
        let vmi = bench.api::<VirtualMachineInstance>().get("a").await.unwrap();
        assert_eq!(vmi.status.and_then(|status| status.evacuation_node_name), None, "nobody is replaced");
    }
}

#[tokio::test]
async fn the_budget_refuses_without_a_webhook() {
    let bench = Bench::new("budget").await;
    let pod = running(&bench, "a", "External").await;
    let pods: Api<Pod> = Api::namespaced(impatient().await, &bench.namespace);
    match pods.evict(&pod.name_any(), &EvictParams::default()).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 429, "{}", status.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_guest_that_must_migrate_stays_where_it_is() {
    let bench = Bench::new("migrate").await;
    let pod = running(&bench, "a", "LiveMigrate").await;
    intercept(&bench).await;
    let (code, message) = refusal(&bench, &pod).await;
    assert_eq!(code, 429);
    assert!(message.contains("/a has eviction strategy LiveMigrate and cannot migrate"), "{message}");
    let vmi = bench.api::<VirtualMachineInstance>().get("a").await.unwrap();
    assert_eq!(vmi.status.and_then(|status| status.evacuation_node_name), None, "nobody replaces it");
}

#[tokio::test]
async fn a_guest_that_migrates_only_if_possible_lets_the_pod_go() {
    let bench = Bench::new("perhaps").await;
    let pod = running(&bench, "a", "LiveMigrateIfPossible").await;
    intercept(&bench).await;
    bench.api::<Pod>().evict(&pod.name_any(), &EvictParams::default()).await.unwrap();
    bench.gone::<Pod>(&pod.name_any()).await;
}

#[tokio::test]
async fn none_lets_the_pod_go() {
    let bench = Bench::new("evictable").await;
    let pod = running(&bench, "a", "None").await;
    bench.api::<Pod>().evict(&pod.name_any(), &EvictParams::default()).await.unwrap();
    bench.gone::<Pod>(&pod.name_any()).await;
    let failed = |vmi: &VirtualMachineInstance| {
        vmi.status.as_ref().is_some_and(|status| status.reason.as_deref() == Some("PodDeleted"))
    };
    bench.eventually::<VirtualMachineInstance>("a", "failed", failed).await;
}
