//! Metal3Remediations on a real API server, which plays the tenant's too.

mod provider;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use provider::{Bench, INFRA, STUCK, condition, host_status};
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::{Metal3Machine, Metal3Remediation, RemediationPhase as Phase};
use scute_api::metal3::{BareMetalHost, UNHEALTHY_ANNOTATION};
use scute_kit::conditions::find;
use scute_testkit::eventually;
use serde_json::{Value, json};

const FINALIZER: &str = "metal3remediation.infrastructure.cluster.x-k8s.io";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A Machine on a server that is a Node, all of one name.
struct Patient {
    bench: Bench,
    nodes: Api<Node>,
    name: String,
}

impl Patient {
    async fn new(name: &str) -> Self {
        let bench = Bench::new(name).await;
        bench.host("server-1", json!({})).await;
        bench.cluster("c").await;
        bench.machine(name, "c", json!({})).await;
        let on = |host: &BareMetalHost| host.status.as_ref().is_some_and(|status| status.powered_on);
        bench.eventually("server-1", "on", on).await;
        let nodes = bench.join(name, json!({"metal3.io/uuid": "u"})).await;
        let patient = Self { bench, nodes, name: name.to_owned() };
        patient.boots("boot-1").await;
        patient.bench.patch_status::<Machine>(name, json!({"nodeRef": {"name": name}})).await;
        patient
    }

    /// What the kubelet says after a start.
    async fn boots(&self, boot: &str) {
        let info = json!({"bootID": boot, "architecture": "amd64", "containerRuntimeVersion": "", "kernelVersion": "",
            "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "",
            "systemUUID": ""});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let status = json!({"status": {"nodeInfo": info, "conditions": ready}});
        self.nodes.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }

    /// A remediation, as a person makes it.
    async fn treat(&self, strategy: Value) -> Metal3Remediation {
        self.bench
            .create(json!({
                "apiVersion": format!("{INFRA}/v1beta2"), "kind": "Metal3Remediation",
                "metadata": {"name": self.name}, "spec": {"strategy": strategy},
            }))
            .await
    }

    async fn until(&self, what: &str, is: impl Fn(&Metal3Remediation) -> bool) -> Metal3Remediation {
        self.bench.eventually(&self.name, what, is).await
    }

    async fn in_phase(&self, wanted: Phase) -> Metal3Remediation {
        self.until(&format!("{wanted:?}"), |object| phase(object) == Some(wanted)).await
    }

    /// The time of a try is over.
    async fn too_late(&self) {
        let long_ago = Timestamp::now() - SignedDuration::from_hours(2);
        self.bench.patch_status::<Metal3Remediation>(&self.name, json!({"lastRemediated": long_ago})).await;
    }

    async fn host(&self, what: &str, is: impl Fn(&BareMetalHost) -> bool) -> BareMetalHost {
        self.bench.eventually("server-1", what, is).await
    }

    async fn node(&self, what: &str, is: impl Fn(&Node) -> bool) -> Node {
        eventually(self.nodes.clone(), &self.name, what, is).await
    }

    /// Waits until an event has this reason and these words.
    async fn told(&self, reason: &str, words: &str) {
        scute_testkit::until(&format!("an event {reason} with {words:?}"), || async {
            let events: Api<k8s_openapi::api::core::v1::Event> = self.bench.api();
            let all = events.list(&Default::default()).await.unwrap();
            let says = |event: &k8s_openapi::api::core::v1::Event| {
                event.reason.as_deref() == Some(reason)
                    && event.message.as_deref().is_some_and(|message| message.contains(words))
            };
            all.items.iter().any(says).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.nodes.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

fn phase(object: &Metal3Remediation) -> Option<Phase> {
    object.status.as_ref()?.phase
}

fn retries(object: &Metal3Remediation) -> i32 {
    object.status.as_ref().and_then(|status| status.retry_count).unwrap_or_default()
}

fn is_held(host: &BareMetalHost, by: &Metal3Remediation) -> bool {
    let hold = format!("reboot.metal3.io/metal3-remediation-{}", by.uid().unwrap());
    host.annotations().get(&hold).is_some_and(|how| how == r#"{"mode":"hard"}"#)
}

fn is_on(host: &BareMetalHost) -> bool {
    host.status.as_ref().is_some_and(|status| status.powered_on)
}

fn is_out(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == OUT_OF_SERVICE && taint.effect == "NoExecute")
}

fn is_given_up(machine: &Machine) -> bool {
    let conditions = machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, "OwnerRemediated")
        .is_some_and(|is| (is.status.as_str(), is.reason.as_str()) == ("False", "WaitingForRemediation"))
}

#[tokio::test]
async fn a_server_goes_off_its_node_out_of_service_and_both_come_back() {
    let patient = Patient::new("ill-a").await;
    // Something that is on its way out of a Node whose kubelet does not answer.
    let pods: Api<Pod> = patient.bench.api();
    let pod = json!({"metadata": {"name": "p", "finalizers": ["tests.scute.dev/hold"]},
        "spec": {"nodeName": "ill-a", "containers": [{"name": "c", "image": "i"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();

    let object = patient.treat(json!({"retryLimit": 2, "timeoutSeconds": 300})).await;
    let begun = patient.in_phase(Phase::Running).await;
    assert!(begun.status.unwrap().last_remediated.is_some());
    patient.host("off, by the remediation", |host| is_held(host, &object) && !is_on(host)).await;
    patient.node("out of service", is_out).await;
    let running = patient.until("with its finalizer", |object| object.finalizers() == [FINALIZER]).await;
    assert_eq!(phase(&running), Some(Phase::Running), "a Pod is left");
    let free = json!({"metadata": {"finalizers": null}});
    pods.patch("p", &PatchParams::default(), &Patch::Merge(&free)).await.unwrap();

    patient.in_phase(Phase::Waiting).await;
    patient.host("let go, and on", |host| !is_held(host, &object) && is_on(host)).await;
    patient.node("in service", |node| !is_out(node)).await;
    // The Node says that it is Ready, as it did before: that is no news of the server.
    let waiting = patient.until("waiting", |object| phase(object) == Some(Phase::Waiting)).await;
    assert_eq!(waiting.finalizers(), [FINALIZER]);
    patient.boots("boot-2").await;
    let done = patient.until("done", |object| object.finalizers().is_empty()).await;
    assert_eq!((phase(&done), retries(&done)), (Some(Phase::Waiting), 0));
    patient.told("Remediated", "Node ill-a is Ready after a restart of BareMetalHost server-1").await;
    // Nobody deletes what a person has made: it is done for all that.
    patient.too_late().await;
    patient
        .bench
        .patch::<BareMetalHost>("server-1", json!({"metadata": {"labels": {"seen": "again"}}}))
        .await;
    let machine = patient.bench.api::<Machine>().get("ill-a").await.unwrap();
    assert!(!is_given_up(&machine));
    // A MachineHealthCheck that is not content has it tried again.
    let unhealthy = json!([{"type": "HealthCheckSucceeded", "status": "False", "reason": "UnhealthyNode",
        "message": "Condition DiskPressure is True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    patient.bench.patch_status::<Machine>("ill-a", json!({"conditions": unhealthy})).await;
    patient
        .until("tried again", |object| (phase(object), retries(object)) == (Some(Phase::Running), 1))
        .await;
    patient.told("RemediationRetried", "Condition DiskPressure is True").await;
    patient.end().await;
}

#[tokio::test]
async fn a_node_that_never_comes_back_has_its_machine_given_up() {
    let patient = Patient::new("ill-b").await;
    let machine = patient.bench.api::<Machine>().get("ill-b").await.unwrap();
    let object = patient.treat(json!({})).await;
    let owner = json!([{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": "ill-b", "uid": machine.uid()}]);
    patient.bench.patch::<Metal3Remediation>("ill-b", json!({"metadata": {"ownerReferences": owner}})).await;
    patient.in_phase(Phase::Waiting).await;
    patient.host("on again", |host| !is_held(host, &object) && is_on(host)).await;
    patient.too_late().await;
    patient.until("tried again", |object| retries(object) == 1).await;
    patient.told("RemediationRetried", "after 600 s: Node ill-b is not Ready yet").await;
    let waiting = |object: &Metal3Remediation| (phase(object), retries(object)) == (Some(Phase::Waiting), 1);
    patient.until("waiting once more", waiting).await;
    patient.too_late().await;
    let end = patient.in_phase(Phase::DeletingMachine).await;
    assert_eq!(retries(&end), 1, "retryLimit is 1 by default");
    let machine = patient.bench.eventually::<Machine>("ill-b", "given up", is_given_up).await;
    let conditions = machine.status.unwrap().conditions;
    let why = &find(&conditions, "OwnerRemediated").unwrap().message;
    assert!(why.contains("Metal3Remediation ill-b has tried 2 times"), "{why}");
    let host = patient.host("let go", |host| !is_held(host, &object)).await;
    assert_eq!(host.annotations()[UNHEALTHY_ANNOTATION], "capm3/UnhealthyNode");
    patient.until("without a finalizer", |object| object.finalizers().is_empty()).await;
    patient.told("RemediationFailed", "Machine ill-b is to be replaced").await;
    // Somebody with an old copy writes over it.
    patient.bench.patch_status::<Machine>("ill-b", json!({"conditions": []})).await;
    patient.bench.eventually::<Machine>("ill-b", "given up again", is_given_up).await;
    patient.end().await;
}

#[tokio::test]
async fn a_server_that_does_not_go_off_stays_a_node_and_is_let_go_when_its_machine_is_deleted() {
    let patient = Patient::new("ill-c").await;
    patient.bench.patch::<BareMetalHost>("server-1", json!({"metadata": {"annotations": {STUCK: ""}}})).await;
    let silent = json!({"errorType": "power management error", "errorMessage": "the BMC is silent", "errorCount": 1,
        "poweredOn": true});
    patient.bench.patch_status::<BareMetalHost>("server-1", host_status("provisioned", silent)).await;
    let object = patient.treat(json!({"retryLimit": 3})).await;
    patient.host("asked to go off", |host| is_held(host, &object)).await;
    patient.too_late().await;
    patient
        .until("tried again", |object| (phase(object), retries(object)) == (Some(Phase::Running), 1))
        .await;
    patient.told("RemediationRetried", "BareMetalHost server-1 is not off yet: the BMC is silent").await;
    assert!(!is_out(&patient.nodes.get("ill-c").await.unwrap()), "what runs may not run elsewhere, too");

    patient
        .bench
        .patch::<Machine>("ill-c", json!({"metadata": {"finalizers": ["tests.scute.dev/hold"]}}))
        .await;
    patient.bench.delete::<Machine>("ill-c").await;
    patient.host("let go", |host| !is_held(host, &object)).await;
    patient.until("without a finalizer", |object| object.finalizers().is_empty()).await;
    patient.bench.patch::<Machine>("ill-c", json!({"metadata": {"finalizers": null}})).await;
    patient.bench.delete::<Metal3Remediation>("ill-c").await;
    patient.bench.gone::<Metal3Remediation>("ill-c").await;
    patient.end().await;
}

#[tokio::test]
async fn a_deletion_in_the_middle_leaves_nothing_behind_and_an_unwanted_server_is_not_started() {
    let patient = Patient::new("ill-d").await;
    let pods: Api<Pod> = patient.bench.api();
    let pod = json!({"metadata": {"name": "p", "finalizers": ["tests.scute.dev/hold"]},
        "spec": {"nodeName": "ill-d", "containers": [{"name": "c", "image": "i"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    let object = patient.treat(json!({})).await;
    patient.node("out of service", is_out).await;
    patient.bench.delete::<Metal3Remediation>("ill-d").await;
    patient.bench.gone::<Metal3Remediation>("ill-d").await;
    patient.host("let go, and on", |host| !is_held(host, &object) && is_on(host)).await;
    patient.node("in service", |node| !is_out(node)).await;

    patient
        .bench
        .patch::<BareMetalHost>(
            "server-1",
            json!({"metadata": {"annotations": {STUCK: ""}}, "spec": {"online": false}}),
        )
        .await;
    let object = patient.treat(json!({})).await;
    patient.in_phase(Phase::Failed).await;
    patient.told("RemediationFailed", "spec.online of BareMetalHost server-1 is false").await;
    assert!(!is_held(&patient.bench.api::<BareMetalHost>().get("server-1").await.unwrap(), &object));
    let free = json!({"metadata": {"finalizers": null}});
    pods.patch("p", &PatchParams::default(), &Patch::Merge(&free)).await.unwrap();
    patient.end().await;
}

#[tokio::test]
async fn a_pause_of_the_cluster_or_the_host_is_waited_for_however_long_it_takes() {
    let patient = Patient::new("ill-e").await;
    patient.bench.patch::<Cluster>("c", json!({"spec": {"paused": true}})).await;
    // The manager has heard of it then.
    let heard =
        |machine: &Metal3Machine| condition(machine, "Paused").is_some_and(|told| told.status == "True");
    patient.bench.eventually("ill-e", "paused", heard).await;
    let object = patient.treat(json!({})).await;
    assert_eq!(phase(&patient.bench.api::<Metal3Remediation>().get("ill-e").await.unwrap()), None);
    let paused = json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": ""}}});
    patient.bench.patch::<BareMetalHost>("server-1", paused).await;
    patient.bench.patch::<Cluster>("c", json!({"spec": {"paused": false}})).await;
    patient.in_phase(Phase::Running).await;
    patient.told("RemediationHeldUp", "BareMetalHost server-1 is paused by an annotation").await;
    patient.too_late().await;
    let host = patient.bench.api::<BareMetalHost>().get("server-1").await.unwrap();
    assert!(!is_held(&host, &object) && is_on(&host));
    let resumed = json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": null}}});
    patient.bench.patch::<BareMetalHost>("server-1", resumed).await;
    patient.host("held", |host| is_held(host, &object)).await;
    patient.end().await;
}
