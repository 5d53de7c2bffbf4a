//! VirtualMachines and their VMIs on a real API server.

mod support;

use k8s_openapi::api::core::v1::{Event, Pod, ResourceQuota, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, PropagationPolicy};
use scute_api::kubevirt::{PrintableStatus, VirtualMachine, VirtualMachineInstance, VmiPhase};
use scute_kit::conditions::find;
use serde_json::json;
use support::{Bench, guest, vm};

fn phase(vmi: &VirtualMachineInstance) -> Option<VmiPhase> {
    vmi.status.as_ref()?.phase
}

fn word(vm: &VirtualMachine) -> Option<PrintableStatus> {
    vm.status.as_ref()?.printable_status
}

/// Waits for the VMI of a VirtualMachine that is not `than`.
async fn another(bench: &Bench, name: &str, than: &str) -> VirtualMachineInstance {
    bench
        .eventually::<VirtualMachineInstance>(name, "another", |vmi| vmi.uid().as_deref() != Some(than))
        .await
}

#[tokio::test]
async fn a_vm_runs_restarts_and_goes_without_a_trace() {
    let bench = Bench::new("life").await;
    bench.create::<VirtualMachine>(vm("a", "Always")).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    assert!(pod.name_any().starts_with("virt-launcher-a-"), "{}", pod.name_any());
    assert_eq!(pod.labels()["app"], "a", "labels of the template reach the Pod");
    bench.boot(&pod, "10.85.0.9").await;
    let running = bench
        .eventually::<VirtualMachineInstance>("a", "running", |vmi| phase(vmi) == Some(VmiPhase::Running))
        .await;
    let status = running.status.unwrap();
    assert_eq!(status.node_name.as_deref(), Some("node-1"));
    assert_eq!(status.interfaces[0].ip_address.as_deref(), Some("10.85.0.9"));
    assert_eq!(status.interfaces[0].mac.as_deref(), Some("02:42:00:00:00:07"));
    let ready = |vm: &VirtualMachine| vm.status.as_ref().is_some_and(|status| status.ready == Some(true));
    let seen = bench.eventually::<VirtualMachine>("a", "ready", ready).await;
    assert_eq!(word(&seen), Some(PrintableStatus::Running));

    // A guest that fails after it ran is replaced at once.
    bench.end(&pod, 1, r#"{"reason":"QemuCrashed","message":"signal 9"}"#).await;
    let second = another(&bench, "a", &vmi.uid().unwrap()).await;
    let pod = bench.pod_of("a", &second.uid().unwrap()).await;

    bench.delete::<VirtualMachine>("a").await;
    bench.gone::<VirtualMachine>("a").await;
    bench.gone::<VirtualMachineInstance>("a").await;
    bench.gone::<Pod>(&pod.name_any()).await;
}

/// What a kubelet writes when QEMU has paused the guest; the name is that of the event.
async fn not_ready(bench: &Bench, pod: &Pod, name: &str, words: &str) {
    bench.set_ready(pod, false).await;
    let about = json!({"kind": "Pod", "namespace": bench.namespace, "name": pod.name_any(), "uid": pod.uid(),
        "fieldPath": "spec.containers{compute}"});
    bench
        .create::<Event>(json!({
            "metadata": {"name": name}, "involvedObject": about, "type": "Warning", "reason": "Unhealthy",
            "message": format!("Readiness probe failed: {words}\n"), "source": {"component": "kubelet"},
            "lastTimestamp": support::second(),
        }))
        .await;
}

#[tokio::test]
async fn a_guest_that_qemu_has_paused_says_so_until_it_goes_on() {
    let bench = Bench::new("paused").await;
    bench.create::<VirtualMachine>(vm("a", "Always")).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    bench.boot(&pod, "10.85.0.17").await;
    bench.eventually::<VirtualMachine>("a", "running", |vm| word(vm) == Some(PrintableStatus::Running)).await;
    let words = "the guest is paused: disk root cannot grow, the Node's file system is full";
    not_ready(&bench, &pod, "full", words).await;
    let paused = |vm: &VirtualMachine| word(vm) == Some(PrintableStatus::Paused);
    let seen = bench.eventually::<VirtualMachine>("a", "paused", paused).await;
    let said = find(&seen.status.as_ref().unwrap().conditions, "Paused").unwrap();
    assert_eq!((said.reason.as_str(), said.message.as_str()), ("PausedIOError", words));
    assert_eq!(seen.status.as_ref().unwrap().ready, Some(false));
    bench.set_ready(&pod, true).await;
    let runs = |vm: &VirtualMachine| {
        word(vm) == Some(PrintableStatus::Running)
            && vm.status.as_ref().is_some_and(|status| find(&status.conditions, "Paused").is_none())
    };
    bench.eventually::<VirtualMachine>("a", "running again", runs).await;
}

/// Counts how often an object is written from now on.
async fn writes<K>(api: kube::Api<K>, name: &str) -> tokio::sync::watch::Receiver<usize>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    use futures::StreamExt;
    use kube::runtime::{WatchStreamExt, watcher};
    let (send, receive) = tokio::sync::watch::channel(0);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
        while let Some(Ok(_)) = events.next().await {
            send.send_modify(|count| *count += 1);
        }
    });
    receive
}

#[tokio::test]
async fn a_start_costs_few_writes() {
    let bench = Bench::new("writes").await;
    let of_vm = writes(bench.api::<VirtualMachine>(), "a").await;
    let of_vmi = writes(bench.api::<VirtualMachineInstance>(), "a").await;
    bench.create::<VirtualMachine>(vm("a", "Always")).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    bench.boot(&pod, "10.85.0.14").await;
    bench.eventually::<VirtualMachine>("a", "running", |vm| word(vm) == Some(PrintableStatus::Running)).await;
    // Created, then told: there is a Pod, it has a Node, the guest runs.
    assert!(*of_vmi.borrow() <= 4, "the VMI was written {} times", *of_vmi.borrow());
    // Created, finalizer (without the webhook), then told: starting, running.
    assert!(*of_vm.borrow() <= 4, "the VirtualMachine was written {} times", *of_vm.borrow());
}

#[tokio::test]
async fn halted_starts_and_stops_by_the_strategy() {
    let bench = Bench::new("halted").await;
    bench.create::<VirtualMachine>(vm("a", "Halted")).await;
    bench.eventually::<VirtualMachine>("a", "stopped", |vm| word(vm) == Some(PrintableStatus::Stopped)).await;
    bench.patch::<VirtualMachine>("a", json!({"spec": {"runStrategy": "Always"}})).await;
    another(&bench, "a", "").await;
    bench.patch::<VirtualMachine>("a", json!({"spec": {"runStrategy": "Halted"}})).await;
    bench.gone::<VirtualMachineInstance>("a").await;
    bench.eventually::<VirtualMachine>("a", "stopped", |vm| word(vm) == Some(PrintableStatus::Stopped)).await;
}

#[tokio::test]
async fn a_missing_image_is_told_and_heals() {
    let bench = Bench::new("image").await;
    bench.create::<VirtualMachine>(vm("a", "Always")).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    for (reason, expected) in [
        ("ErrImagePull", PrintableStatus::ErrImagePull),
        ("ImagePullBackOff", PrintableStatus::ImagePullBackOff),
    ] {
        bench.waiting(&pod, reason).await;
        bench.eventually::<VirtualMachine>("a", reason, |vm| word(vm) == Some(expected)).await;
    }
    bench.boot(&pod, "10.85.0.10").await;
    bench.eventually::<VirtualMachine>("a", "running", |vm| word(vm) == Some(PrintableStatus::Running)).await;
}

#[tokio::test]
async fn an_unschedulable_pod_is_told_with_the_schedulers_words() {
    let bench = Bench::new("unschedulable").await;
    bench.create::<VirtualMachine>(vm("a", "Always")).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    let condition =
        json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"});
    bench.patch_status::<Pod>(&pod.name_any(), json!({"conditions": [condition]})).await;
    let seen = bench
        .eventually::<VirtualMachine>("a", "unschedulable", |vm| {
            word(vm) == Some(PrintableStatus::ErrorUnschedulable)
        })
        .await;
    let conditions = seen.status.unwrap().conditions;
    assert_eq!(find(&conditions, "PodScheduled").unwrap().message, "0/1 nodes");
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_waits() {
    let bench = Bench::new("crash").await;
    bench.create::<VirtualMachine>(vm("a", "Always")).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    bench.bind(&pod.name_any(), "node-1").await;
    bench
        .end(&pod, 1, r#"{"reason":"BackingFile","message":"disk root names the backing file /etc/shadow"}"#)
        .await;
    let seen = bench
        .eventually::<VirtualMachine>("a", "in back-off", |vm| {
            word(vm) == Some(PrintableStatus::CrashLoopBackOff)
        })
        .await;
    let status = seen.status.unwrap();
    let failure = find(&status.conditions, "Failure").unwrap();
    assert_eq!(failure.reason, "BackingFile");
    assert!(failure.message.contains("/etc/shadow"), "{}", failure.message);
    assert_eq!(status.start_failure.unwrap().consecutive_fail_count, 1);
    let kept = bench.api::<VirtualMachineInstance>().get("a").await.unwrap();
    assert_eq!((kept.uid(), kept.status.unwrap().reason.as_deref()), (vmi.uid(), Some("BackingFile")));
    // A stop does not wait.
    bench.patch::<VirtualMachine>("a", json!({"spec": {"runStrategy": "Halted"}})).await;
    bench.gone::<VirtualMachineInstance>("a").await;
}

#[tokio::test]
async fn a_guest_out_of_memory_fails_with_that_reason() {
    let bench = Bench::new("memory").await;
    let lone = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "a"}, "spec": guest()});
    let vmi: VirtualMachineInstance = bench.create(lone).await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    bench.boot(&pod, "10.85.0.11").await;
    bench.end(&pod, 137, "").await;
    let ended = bench
        .eventually::<VirtualMachineInstance>("a", "failed", |vmi| phase(vmi) == Some(VmiPhase::Failed))
        .await;
    assert_eq!(ended.status.unwrap().reason.as_deref(), Some("OOMKilled"));
}

#[tokio::test]
async fn a_deleted_launcher_pod_ends_its_vmi_and_the_vm_goes_on() {
    let bench = Bench::new("pod").await;
    bench.create::<VirtualMachine>(vm("a", "Always")).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    bench.boot(&pod, "10.85.0.12").await;
    bench.eventually::<VirtualMachine>("a", "running", |vm| word(vm) == Some(PrintableStatus::Running)).await;
    bench.delete::<Pod>(&pod.name_any()).await;
    let second = another(&bench, "a", &vmi.uid().unwrap()).await;
    bench.pod_of("a", &second.uid().unwrap()).await;
}

/// The kubelet presses the guest's power button, so the launcher of a deleted Pod ends well.
#[tokio::test]
async fn a_guest_whose_pod_somebody_deleted_runs_again() {
    let bench = Bench::new("rerun").await;
    for strategy in ["RerunOnFailure", "Always"] {
        let name = strategy.to_lowercase();
        bench.create::<VirtualMachine>(vm(&name, strategy)).await;
        let vmi = another(&bench, &name, "").await;
        let pod = bench.pod_of(&name, &vmi.uid().unwrap()).await;
        bench.boot(&pod, "10.85.0.15").await;
        let runs = |vm: &VirtualMachine| word(vm) == Some(PrintableStatus::Running);
        bench.eventually::<VirtualMachine>(&name, "running", runs).await;
        // It stays until its end was seen.
        let hold = |list: &[&str]| json!({"metadata": {"finalizers": list}});
        bench.patch::<Pod>(&pod.name_any(), hold(&["test.scute.dev/hold"])).await;
        bench.delete::<Pod>(&pod.name_any()).await;
        bench.end(&pod, 0, "").await;
        let failed = |vmi: &VirtualMachineInstance| phase(vmi).is_some_and(VmiPhase::is_final);
        let seen = bench.eventually::<VirtualMachineInstance>(&name, "ended", failed).await;
        assert_eq!(seen.status.unwrap().reason.as_deref(), Some("PodDeleted"), "{strategy}");
        bench.patch::<Pod>(&pod.name_any(), hold(&[])).await;
        another(&bench, &name, &vmi.uid().unwrap()).await;
    }
}

#[tokio::test]
async fn a_vm_with_limits_starts_under_a_quota_on_limits() {
    let bench = Bench::new("quota").await;
    let limits = json!({"limits.cpu": "4", "limits.memory": "8Gi"});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": limits}});
    bench.create::<ResourceQuota>(quota).await;
    // Nobody counts here what is used, and nothing is admitted before it was.
    let counted = json!({"hard": limits, "used": {"limits.cpu": "0", "limits.memory": "0"}});
    bench.patch_status::<ResourceQuota>("q", counted).await;
    let mut object = vm("a", "Always");
    object["spec"]["template"]["spec"]["domain"]["resources"] =
        json!({"limits": {"cpu": "2", "memory": "1Gi"}});
    bench.create::<VirtualMachine>(object).await;
    let vmi = another(&bench, "a", "").await;
    bench.pod_of("a", &vmi.uid().unwrap()).await;
}

#[tokio::test]
async fn a_vm_of_the_longest_name_gets_its_pod() {
    let bench = Bench::new("long").await;
    let name = [&"v".repeat(63); 4].map(String::as_str).join(".")[..253].to_owned();
    let mut object = vm(&name, "Always");
    object["spec"]["template"]["metadata"] = json!({});
    bench.create::<VirtualMachine>(object).await;
    let vmi = another(&bench, &name, "").await;
    bench.pod_of(&name, &vmi.uid().unwrap()).await;
}

#[tokio::test]
async fn a_secret_that_is_missing_or_lacks_its_key_is_named() {
    let bench = Bench::new("seed").await;
    let mut object = vm("a", "Always");
    let seed = json!({"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": "not-yet"}}});
    object["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap().push(seed);
    bench.create::<VirtualMachine>(object).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    let of = |vm: &VirtualMachine, type_: &str| {
        let status = vm.status.as_ref()?;
        find(&status.conditions, type_).map(|known| (known.reason.clone(), known.message.clone()))
    };
    let missing =
        |vm: &VirtualMachine| of(vm, "Synchronized").is_some_and(|(reason, _)| reason == "SecretNotFound");
    let seen = bench.eventually::<VirtualMachine>("a", "told of the Secret", missing).await;
    let (_, message) = of(&seen, "Synchronized").unwrap();
    assert!(message.starts_with("Secret not-yet, which secretRef of volume seed names"), "{message}");

    bench.create::<Secret>(json!({"metadata": {"name": "not-yet"}, "stringData": {"user-data": "x"}})).await;
    bench.bind(&pod.name_any(), "node-1").await;
    let files = json!([
        "/var/lib/scute/cloud-init/seed/user/userdata",
        "/var/lib/scute/cloud-init/seed/user/userData",
    ]);
    let said = format!("volume seed: no cloud-init seed: none of {files} exists").replace("\",\"", "\", \"");
    bench.end(&pod, 1, &json!({"reason": "CloudInitFailed", "message": said}).to_string()).await;
    let failed =
        |vm: &VirtualMachine| of(vm, "Failure").is_some_and(|(reason, _)| reason == "CloudInitFailed");
    let seen = bench.eventually::<VirtualMachine>("a", "told of the key", failed).await;
    for type_ in ["Failure", "Ready"] {
        let (_, message) = of(&seen, type_).unwrap();
        assert!(
            message.contains("Secret not-yet") && message.contains("no key userdata (or userData)"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn inline_data_reaches_the_guest_through_a_secret_only() {
    let bench = Bench::new("inline").await;
    let mut object = vm("a", "Always");
    let seed = json!({"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config\npassword: hush\n"}});
    object["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap().push(seed);
    bench.create::<VirtualMachine>(object).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    assert!(!serde_json::to_string(&pod).unwrap().contains("hush"));
    let secret = bench.api::<Secret>().get(&pod.name_any()).await.unwrap();
    assert_eq!(secret.data.unwrap()["seed-userdata"].0, b"#cloud-config\npassword: hush\n");
}

#[tokio::test]
async fn an_orphaning_deletion_leaves_the_vmi() {
    let bench = Bench::new("orphan").await;
    bench.create::<VirtualMachine>(vm("a", "Always")).await;
    let vmi = another(&bench, "a", "").await;
    let pod = bench.pod_of("a", &vmi.uid().unwrap()).await;
    bench.boot(&pod, "10.85.0.13").await;
    bench.eventually::<VirtualMachine>("a", "running", |vm| word(vm) == Some(PrintableStatus::Running)).await;
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    bench.api::<VirtualMachine>().delete("a", &orphan).await.unwrap();
    // What is left is the garbage collector's part, which this server does not have.
    let waits = |vm: &VirtualMachine| vm.finalizers() == ["orphan"];
    bench.eventually::<VirtualMachine>("a", "left to the garbage collector", waits).await;
    let kept = bench.api::<VirtualMachineInstance>().get("a").await.unwrap();
    assert!(kept.metadata.deletion_timestamp.is_none());
}
