use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T12:00:00Z";

fn remediation(phase: &str, retries: i32, begun: &str) -> Metal3Remediation {
    serde_json::from_value(json!({
        "metadata": {"name": "m", "namespace": "ns", "uid": "u", "finalizers": [METAL3_REMEDIATION_FINALIZER],
            "annotations": {BOOT_ANNOTATION: "boot-1"}},
        "spec": {"strategy": {"type": "Reboot", "retryLimit": 1, "timeoutSeconds": 100}},
        "status": {"phase": phase, "retryCount": retries, "lastRemediated": begun},
    }))
    .unwrap()
}

fn host(held: bool, on: bool) -> BareMetalHost {
    let annotations = if held { json!({"reboot.metal3.io/metal3-remediation-u": ""}) } else { json!({}) };
    serde_json::from_value(json!({
        "metadata": {"name": "h", "namespace": "ns", "annotations": annotations}, "spec": {"online": true},
        "status": {"poweredOn": on, "errorMessage": "", "provisioning": {"state": "provisioned"}},
    }))
    .unwrap()
}

fn node(out: bool, boot: &str, ready: &str) -> Seen {
    let taints = if out {
        json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}])
    } else {
        json!([])
    };
    let info = json!({"bootID": boot, "architecture": "", "containerRuntimeVersion": "", "kernelVersion": "",
        "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""});
    let conditions = json!([{"type": "Ready", "status": ready}]);
    Seen::Found(Arc::new(
        serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": {"taints": taints},
            "status": {"nodeInfo": info, "conditions": conditions}}))
        .unwrap(),
    ))
}

fn seen(host: BareMetalHost, node: Seen, left: Left) -> Observed {
    let machine: Value = json!({"metadata": {"name": "m", "namespace": "ns"}, "spec": {"clusterName": "c",
        "bootstrap": {}, "infrastructureRef": {"apiGroup": "g", "kind": "Metal3Machine", "name": "m"}}});
    let host = Arc::new(host);
    let held = vec![Arc::clone(&host)];
    let held =
        held.into_iter().filter(|host| host.annotation("reboot.metal3.io/metal3-remediation-u").is_some());
    Observed {
        machine: Some(Arc::new(serde_json::from_value(machine).unwrap())),
        held: held.collect(),
        host: Some(host),
        node,
        left,
        ..Observed::default()
    }
}

/// Phase, actions and what is waited for, in a line.
fn line(object: &Metal3Remediation, seen: &Observed) -> String {
    let plan = plan(object, seen, NOW.parse().unwrap());
    let action = |action: &Action| match action {
        Action::Claim => "claim".to_owned(),
        Action::Remember(boot) => format!("remember {boot}"),
        Action::PowerOff(_) => "off".to_owned(),
        Action::PowerOn(_) => "on".to_owned(),
        Action::TakeOut(node) => format!("{node} out"),
        Action::PutBack(node) => format!("{node} back"),
        Action::HandOver(..) => "hand over".to_owned(),
        Action::Condemn(_) => "condemn".to_owned(),
        Action::RemoveFinalizer => "done".to_owned(),
    };
    let actions: Vec<_> = plan.actions.iter().map(action).collect();
    let next = match &plan.next {
        Next::Settled => "settled".to_owned(),
        Next::After(time, why) => format!("{} for {} s", why.reason, time.as_secs()),
        Next::OnChange(why) | Next::Failed(why) => why.reason.to_string(),
    };
    let phase = plan.status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default();
    let tries = plan.status.retry_count.unwrap_or_default();
    format!("{phase} {tries}: {}; {next}", actions.join(", "))
}

const IN_TIME: &str = "2026-01-01T11:59:00Z";
const LATE: &str = "2026-01-01T11:58:00Z";

#[test]
fn a_server_goes_off_before_its_node_is_out_of_service_and_on_when_nothing_is_left_there() {
    let running = remediation("Running", 0, IN_TIME);
    let up = || node(false, "boot-1", "Unknown");
    let out = || node(true, "boot-1", "Unknown");
    let left = || Left::Something("Pod a/b".into());
    for (host, node, left, wanted) in [
        (host(false, true), up(), Left::NotAsked, "Running 0: off; PoweringOff"),
        (
            host(false, true),
            node(false, "boot-7", "True"),
            Left::NotAsked,
            "Running 0: remember boot-7, off; PoweringOff",
        ),
        (host(true, true), up(), Left::NotAsked, "Running 0: ; PoweringOff for 40 s"),
        (host(true, false), up(), Left::NotAsked, "Running 0: n out; Draining for 1 s"),
        (host(true, false), out(), Left::NotAsked, "Running 0: ; Draining for 1 s"),
        (host(true, false), out(), left(), "Running 0: ; Draining for 5 s"),
        (host(true, false), out(), Left::Nothing, "Waiting 0: on; PoweringOn"),
        (host(true, false), Seen::None, Left::NotAsked, "Waiting 0: on; PoweringOn"),
        (host(true, false), Seen::Unknown("silent".into()), Left::NotAsked, "Running 0: ; HeldUp"),
    ] {
        assert_eq!(line(&running, &seen(host, node, left)), wanted);
    }
}

#[test]
fn a_node_is_back_when_it_is_ready_by_another_boot() {
    let waiting = remediation("Waiting", 0, IN_TIME);
    let none = || Left::NotAsked;
    for (host, node, wanted) in [
        (host(true, false), node(true, "boot-1", "Unknown"), "Waiting 0: on; PoweringOn for 40 s"),
        (host(false, true), node(true, "boot-2", "True"), "Waiting 0: n back; WaitingForNode for 40 s"),
        (host(false, true), node(false, "boot-1", "True"), "Waiting 0: ; WaitingForNode for 40 s"),
        (host(false, true), node(false, "boot-2", "False"), "Waiting 0: ; WaitingForNode for 40 s"),
        (host(false, true), node(false, "boot-2", "True"), "Waiting 0: done; Remediated"),
        (host(false, true), Seen::None, "Waiting 0: ; WaitingForNode for 40 s"),
        (host(false, true), Seen::Unknown("silent".into()), "Waiting 0: ; HeldUp"),
    ] {
        assert_eq!(line(&waiting, &seen(host, node, none())), wanted);
    }
}

#[test]
fn a_try_that_is_late_is_followed_by_another_or_the_machine_is_given_up() {
    let late = |phase: &str, retries| remediation(phase, retries, LATE);
    let stuck = || seen(host(true, true), node(false, "boot-1", "False"), Left::NotAsked);
    let lost = || seen(host(false, true), node(true, "boot-1", "Unknown"), Left::NotAsked);
    assert_eq!(line(&late("Running", 0), &stuck()), "Running 1: ; Remediating");
    assert_eq!(
        line(&late("Running", 1), &stuck()),
        "DeletingMachine 1: condemn, hand over, on, done; DeletingMachine"
    );
    assert_eq!(line(&late("Waiting", 0), &lost()), "Running 1: n back; Remediating");
    let given_up = "DeletingMachine 1: condemn, n back, hand over, n back, done; DeletingMachine";
    assert_eq!(line(&late("Waiting", 1), &lost()), given_up);
    // Not of a tenant that nobody can ask, nor of a host that is to be left alone.
    let silent = seen(host(false, true), Seen::Unknown("silent".into()), Left::NotAsked);
    assert_eq!(line(&late("Waiting", 1), &silent), "Waiting 1: ; HeldUp");
    let mut paused = host(true, true);
    paused.metadata.annotations = Some([("baremetalhost.metal3.io/paused".to_owned(), String::new())].into());
    assert_eq!(line(&late("Running", 1), &seen(paused, Seen::None, Left::NotAsked)), "Running 1: ; HeldUp");
    // A Machine without a host is one that nothing helps.
    let mut hostless = stuck();
    (hostless.host, hostless.held) = (None, Vec::new());
    assert_eq!(line(&late("Running", 1), &hostless), "DeletingMachine 1: hand over, done; DeletingMachine");
}

#[test]
fn a_deletion_leaves_nothing_behind_and_waits_for_a_tenant_whose_node_may_be_out_of_service() {
    let mut object = remediation("Running", 0, IN_TIME);
    object.metadata.deletion_timestamp = Some(Time(NOW.parse().unwrap()));
    let out = seen(host(true, false), node(true, "boot-1", "Unknown"), Left::Nothing);
    assert_eq!(line(&object, &out), "Running 0: on, n back, done; settled");
    let mut silent = seen(host(true, false), Seen::Unknown("silent".into()), Left::NotAsked);
    // Without a Cluster there is no Node any more.
    assert_eq!(line(&object, &silent), "Running 0: on, done; settled");
    silent.cluster =
        Some(Arc::new(serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": {}})).unwrap()));
    assert_eq!(line(&object, &silent), "Running 0: on; HeldUp");
}
