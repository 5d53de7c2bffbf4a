//! Stories of a control plane: what is decided, without a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use scute_api::cluster::{Cluster, Machine};
use scute_api::controlplane::KubeadmControlPlane;
use scute_contract::certificates::{Certificates, KeyPair, Purpose};
use scute_contract::{Contract, External, Found, Served};
use scute_etcd::fake_members::Ring;
use serde_json::{Value, json};

use crate::clone;
use crate::inspect::{Inside, SeenNode, Tenant};
use crate::machines::health_conditions;
use crate::observe::{Observed, Source, Version};
use crate::plan::{Action, Plan, plan};
use crate::report::report;

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

/// The time of all stories.
fn now() -> Timestamp {
    at(1_000_000)
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn kcp(patch: Value) -> KubeadmControlPlane {
    let mut object = json!({
        "apiVersion": "controlplane.cluster.x-k8s.io/v1beta2", "kind": "KubeadmControlPlane",
        "metadata": {"name": "cp", "namespace": "ns", "uid": "u", "generation": 1,
            "finalizers": ["kubeadm.controlplane.cluster.x-k8s.io"]},
        "spec": {"version": "v1.35.4", "replicas": 3, "machineTemplate": {"spec": {"infrastructureRef":
            {"apiGroup": "infra.io", "kind": "TestMachineTemplate", "name": "t"}}}},
        "status": {"initialization": {"controlPlaneInitialized": true}}
    });
    merge(&mut object, patch);
    serde_json::from_value(object).expect("a KubeadmControlPlane")
}

fn cluster() -> Cluster {
    serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c", "namespace": "ns", "uid": "c"},
        "spec": {"controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}},
        "status": {"initialization": {"infrastructureProvisioned": true}}
    }))
    .expect("a Cluster")
}

/// A Machine that is as the control plane asks for, and well.
fn machine(kcp: &KubeadmControlPlane, name: &str, age: i64, patch: Value) -> Arc<Machine> {
    let new = clone::New { name: name.to_owned(), ..clone::New::default() };
    let made = clone::machine(kcp, "c", &new, scute_contract::owners::owner(kcp, true));
    let mut object = json!(made);
    let healthy: Vec<_> = health_conditions(true)
        .iter()
        .map(|type_| json!({"type": type_, "status": "True", "reason": "R", "message": "", "lastTransitionTime": at(0)}))
        .collect();
    merge(
        &mut object,
        json!({"metadata": {"creationTimestamp": now() - SignedDuration::from_secs(age), "uid": name},
            "spec": {"providerID": format!("test://{name}")}, "status": {"nodeRef": {"name": name}, "conditions": healthy}}),
    );
    merge(&mut object, patch);
    Arc::new(serde_json::from_value(object).expect("a Machine"))
}

/// A world with these Machines, all of whose members are in the ring.
async fn world(kcp: KubeadmControlPlane, machines: Vec<Arc<Machine>>, ring: &Ring) -> Observed {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("infra.io", "v1", "TestMachineTemplate"));
    let mut template = DynamicObject::new("t", &resource).within("ns");
    template.metadata.owner_references = Some(vec![scute_contract::owners::owner(&cluster(), false)]);
    template.metadata.labels = Some(BTreeMap::from([("cluster.x-k8s.io/cluster-name".into(), "c".into())]));
    let served = Served { resource: resource.clone(), contract: Contract::V1Beta2 };
    let pair = KeyPair { certificate: "c".into(), key: Some("k".into()) };
    let all = [Purpose::ClusterCa, Purpose::EtcdCa, Purpose::FrontProxyCa, Purpose::ServiceAccount];
    let pairs = all.into_iter().map(|purpose| (purpose, pair.clone())).collect();
    let mut inside = Inside { begun: true, ..Inside::default() };
    for machine in &machines {
        let name = machine.name_any();
        if machine.status.as_ref().is_some_and(|status| status.node_ref.is_some()) {
            inside.nodes.insert(name.clone(), SeenNode { made: at(0), heard: true });
            let view = ring.member(&name).look().await.map_err(|error| error.to_string());
            inside.etcd.insert(name, view);
        }
    }
    Observed {
        kcp: Arc::new(kcp),
        cluster: Some(Arc::new(cluster())),
        machines,
        workers: Vec::new(),
        configs: BTreeMap::new(),
        infrastructure: Source {
            template: Found::Object(External { served, object: Arc::new(template) }),
            resource: Some(resource),
            objects: BTreeMap::new(),
            problem: None,
        },
        certificates: Arc::new(Certificates { pairs, ..Certificates::default() }),
        strays: Vec::new(),
        kubeconfig: Some(Version { version: "1".into(), own: true, stray: false }),
        tenant: Tenant::Seen(Box::new(inside)),
    }
}

fn ring(names: &[&str]) -> Ring {
    let ring = Ring::new();
    for name in names {
        ring.add(name);
    }
    ring
}

fn decided(seen: &Observed) -> Plan {
    plan(seen, 7, now())
}

/// What is done to Machines and members, in words.
fn told(plan: &Plan) -> Vec<String> {
    let line = |action: &Action| match action {
        Action::Create(new) if new.begins => Some("begin".to_owned()),
        Action::Create(_) => Some("join".to_owned()),
        Action::Delete(name) => Some(format!("delete {name}")),
        Action::MoveLeader { from, to } => Some(format!("lead {from}>{to}")),
        Action::RemoveMembers { members, .. } => Some(format!(
            "remove {}",
            members.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(",")
        )),
        Action::ReleaseHook(name) => Some(format!("release {name}")),
        Action::PrepareVersion => Some("prepare".to_owned()),
        Action::Record(record) => Some(if record.is_some() { "record" } else { "unrecord" }.to_owned()),
        Action::MakeCertificates => Some("certificates".to_owned()),
        Action::RemoveFinalizer => Some("end".to_owned()),
        _ => None,
    };
    plan.actions.iter().filter_map(line).collect()
}

fn leaving(reason: &str) -> Value {
    json!({"metadata": {"deletionTimestamp": at(0)},
        "status": {"conditions": [{"type": "Deleting", "status": "True", "reason": reason, "message": "", "lastTransitionTime": at(0)}]}})
}

fn given_up(extra: Value) -> Value {
    let condition = |type_: &str| json!({"type": type_, "status": "False", "reason": "R", "message": "", "lastTransitionTime": at(0)});
    let mut all: Vec<_> = health_conditions(true)
        .iter()
        .map(|type_| json!({"type": type_, "status": "True", "reason": "R", "message": "", "lastTransitionTime": at(0)}))
        .collect();
    all.extend([condition("HealthCheckSucceeded"), condition("OwnerRemediated")]);
    let mut patch = json!({"status": { "conditions": all }});
    merge(&mut patch, extra);
    patch
}

#[tokio::test]
async fn the_first_one_begins_and_nothing_follows_before_it_has_begun() {
    let unborn = kcp(json!({"status": {"initialization": null}}));
    let seen = world(unborn.clone(), Vec::new(), &ring(&[])).await;
    assert_eq!(told(&decided(&seen)), ["begin"]);
    let coming = machine(&unborn, "a", 10, json!({"status": {"nodeRef": null}}));
    let mut seen = world(unborn, vec![coming], &ring(&[])).await;
    seen.tenant = Tenant::Down("connection refused".into());
    let plan = decided(&seen);
    assert_eq!(told(&plan), Vec::<String>::new());
    assert!(
        plan.blocked.iter().any(|why| why == "waiting for the control plane to be initialized"),
        "{plan:?}"
    );
}

#[tokio::test]
async fn what_a_machine_waits_for_in_vain_is_made_again() {
    let unborn = kcp(json!({"status": {"initialization": null}}));
    let first = machine(&unborn, "a", 10, json!({"status": {"nodeRef": null}}));
    let mut seen = world(unborn.clone(), vec![first], &ring(&[])).await;
    seen.tenant = Tenant::Down("connection refused".into());
    seen.infrastructure.resource =
        Some(ApiResource::from_gvk(&GroupVersionKind::gvk("infra.io", "v1", "TestMachine")));
    let again = |seen: &Observed| {
        let mut actions = decided(seen).actions;
        actions.retain(|action| matches!(action, Action::MakeAgain { .. }));
        actions
    };
    let both = Action::MakeAgain { name: "a".into(), config: Some(true), infrastructure: true };
    assert_eq!(again(&seen), [both], "the only one begins");
    seen.infrastructure.problem = Some("not listed yet".into());
    let config = Action::MakeAgain { name: "a".into(), config: Some(true), infrastructure: false };
    assert_eq!(again(&seen), [config], "what cannot be seen may be there");

    let used = json!({"spec": {"bootstrap": {"dataSecretName": "a"}},
        "status": {"initialization": {"infrastructureProvisioned": true}}});
    seen.infrastructure.problem = None;
    seen.machines = vec![machine(&unborn, "a", 10, used)];
    assert_eq!(again(&seen), [], "what was used is not made again");
    seen.machines = vec![machine(&unborn, "a", 10, leaving("Drain"))];
    assert_eq!(again(&seen), [], "what leaves needs nothing");
}

#[tokio::test]
async fn a_control_plane_that_lost_all_its_machines_does_not_begin_another_cluster() {
    let seen = world(kcp(json!({})), Vec::new(), &ring(&[])).await;
    let plan = decided(&seen);
    assert_eq!(told(&plan), Vec::<String>::new());
    assert!(plan.blocked[0].starts_with("all control plane Machines are gone"), "{plan:?}");
}

#[tokio::test]
async fn certificates_are_made_before_the_beginning_and_never_after_it() {
    let lost = |kcp: KubeadmControlPlane| async move {
        let mut seen = world(kcp, Vec::new(), &ring(&[])).await;
        seen.certificates =
            Arc::new(Certificates { missing: vec![Purpose::EtcdCa], ..Certificates::default() });
        seen
    };
    let unborn = decided(&lost(kcp(json!({"status": {"initialization": null}}))).await);
    assert!(told(&unborn).contains(&"certificates".to_owned()));
    let plan = decided(&lost(kcp(json!({}))).await);
    assert_eq!(told(&plan), Vec::<String>::new());
    let why = plan.stop.expect("stopped");
    assert!(why.message.contains("restore them from a backup"), "{}", why.message);
}

#[tokio::test]
async fn one_joins_after_the_other_when_all_are_well() {
    let cp = kcp(json!({}));
    let a = machine(&cp, "a", 10, json!({}));
    let seen = world(cp.clone(), vec![Arc::clone(&a)], &ring(&["a"])).await;
    assert_eq!(told(&decided(&seen)), ["join"]);
    let b = machine(&cp, "b", 5, json!({"status": {"nodeRef": null}}));
    let seen = world(cp, vec![a, b], &ring(&["a"])).await;
    let plan = decided(&seen);
    assert_eq!((told(&plan), plan.blocked), (Vec::new(), vec!["Machine b has no Node yet".to_owned()]));
}

#[tokio::test]
async fn a_rollout_makes_one_more_or_takes_one_first() {
    let old = kcp(json!({"spec": {"version": "v1.34.0"}}));
    let machines: Vec<_> =
        [("a", 30), ("b", 20), ("c", 10)].map(|(name, age)| machine(&old, name, age, json!({}))).to_vec();
    let three = ring(&["a", "b", "c"]);
    let seen = world(kcp(json!({})), machines.clone(), &three).await;
    assert_eq!(told(&decided(&seen)), ["prepare", "join"]);
    let surge = |surge: Value| {
        kcp(
            json!({"spec": {"rollout": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge}}}}}),
        )
    };
    let seen = world(surge(json!(0)), machines.clone(), &three).await;
    assert_eq!(told(&decided(&seen)), ["lead a>c", "delete a"], "the oldest goes, the newest leads");
    let seen = world(surge(json!("1")), machines, &three).await;
    assert_eq!(told(&decided(&seen)), ["prepare", "join"]);
}

#[tokio::test]
async fn what_changes_in_place_needs_no_new_machine() {
    let (was, names) = (kcp(json!({})), ["a"]);
    let machines = vec![machine(&was, "a", 100, json!({}))];
    let taint = json!({"key": "k", "effect": "NoSchedule", "propagation": "Always"});
    for change in [
        json!({"taints": [taint]}),
        json!({"deletion": {"nodeDrainTimeoutSeconds": 5}}),
        json!({"readinessGates": [{"conditionType": "a.b/c"}]}),
    ] {
        let now = kcp(json!({"spec": {"replicas": 1, "machineTemplate": {"spec": change}}}));
        let plan = decided(&world(now, machines.clone(), &ring(&names)).await);
        assert!(plan.actions.contains(&Action::SyncMachine("a".into())), "{change}: {:?}", plan.actions);
        assert!(told(&plan).iter().all(|line| line != "join" && !line.starts_with("delete")), "{change}");
    }
}

#[tokio::test]
async fn a_member_leaves_before_its_machine_and_no_sooner_than_the_last_hook_but_ours() {
    let cp = kcp(json!({}));
    let three = ring(&["a", "b", "c"]);
    let world_with = |patch: Value| {
        let (cp, three) = (cp.clone(), three.clone());
        async move {
            let machines = vec![
                machine(&cp, "a", 30, patch),
                machine(&cp, "b", 20, json!({})),
                machine(&cp, "c", 10, json!({})),
            ];
            world(cp, machines, &three).await
        }
    };
    assert_eq!(told(&decided(&world_with(leaving("DrainingNode")).await)), Vec::<String>::new());
    let seen = world_with(leaving("WaitingForPreTerminateHook")).await;
    assert_eq!(told(&decided(&seen)), ["lead a>b", "remove a", "release a"]);
    let mut others = leaving("WaitingForPreTerminateHook");
    merge(
        &mut others,
        json!({"metadata": {"annotations": {"pre-terminate.delete.hook.machine.cluster.x-k8s.io/x": ""}}}),
    );
    assert_eq!(
        told(&decided(&world_with(others).await)),
        Vec::<String>::new(),
        "whoever needs the Node goes first"
    );
    three.kill("b");
    three.kill("c");
    let plan = decided(&world_with(leaving("WaitingForPreTerminateHook")).await);
    assert_eq!(told(&plan), Vec::<String>::new(), "without a quorum the Machine stays");
    assert!(plan.lost_quorum.is_some());
}

#[tokio::test]
async fn the_last_machine_takes_its_member_along() {
    let cp = kcp(json!({"spec": {"replicas": 1}}));
    let last = machine(&cp, "a", 30, leaving("WaitingForPreTerminateHook"));
    let seen = world(cp, vec![last], &ring(&["a"])).await;
    assert_eq!(told(&decided(&seen)), ["release a"]);
}

#[tokio::test]
async fn remediation_keeps_to_the_rules() {
    let cp = kcp(json!({}));
    let three = ring(&["a", "b", "c"]);
    let machines = |cp: &KubeadmControlPlane, patch: Value| {
        vec![machine(cp, "a", 30, patch), machine(cp, "b", 20, json!({})), machine(cp, "c", 10, json!({}))]
    };
    let seen = world(cp.clone(), machines(&cp, given_up(json!({}))), &three).await;
    assert_eq!(told(&decided(&seen)), ["lead a>c", "record", "delete a"], "the record comes first");
    let said = |plan: &Plan| {
        plan.said.first().map(|(_, draft)| format!("{} {}", draft.reason, draft.message)).unwrap_or_default()
    };

    let one = kcp(json!({"spec": {"replicas": 1}}));
    let seen = world(one.clone(), vec![machine(&one, "a", 30, given_up(json!({})))], &ring(&["a"])).await;
    let plan = decided(&seen);
    assert_eq!(told(&plan), Vec::<String>::new());
    assert_eq!(
        said(&plan),
        "CannotBeRemediated KCP can't remediate if current replicas are less or equal to 1"
    );

    let two = ring(&["a", "b"]);
    let pair = vec![machine(&cp, "a", 30, given_up(json!({}))), machine(&cp, "b", 20, json!({}))];
    let seen = world(cp.clone(), pair, &two).await;
    assert_eq!(told(&decided(&seen))[1..], ["record", "delete a"], "one of one that is left is a majority");

    // A replacement that failed soon after the last one waits, and is not tried for ever.
    let limits = json!({"spec": {"remediation": {"maxRetry": 1, "retryPeriodSeconds": 60}}});
    let limited = kcp(limits);
    let replaced = |seconds: i64, retries: i32| {
        let record = json!({"machine": "x", "timestamp": now() - SignedDuration::from_secs(seconds), "retryCount": retries});
        given_up(
            json!({"metadata": {"annotations": {"controlplane.cluster.x-k8s.io/remediation-for": record.to_string()}}}),
        )
    };
    for (patch, word) in [(replaced(30, 0), "RemediationDeferred"), (replaced(90, 1), "CannotBeRemediated")] {
        let plan = decided(&world(limited.clone(), machines(&limited, patch), &three).await);
        assert_eq!(told(&plan), Vec::<String>::new());
        assert!(said(&plan).starts_with(word), "{}", said(&plan));
        assert!(plan.due.is_some(), "it is tried again when its time has come");
    }
    let again = decided(&world(limited.clone(), machines(&limited, replaced(90, 0)), &three).await);
    let record = again.actions.iter().find_map(|action| match action {
        Action::Record(Some(record)) => Some(record.retry_count),
        _ => None,
    });
    assert_eq!(record, Some(1), "counted");
    let fresh = decided(&world(limited.clone(), machines(&limited, replaced(4000, 1)), &three).await);
    assert!(told(&fresh).contains(&"delete a".to_owned()), "well for long enough: a new failure");
}

#[tokio::test]
async fn a_remediation_that_was_cut_short_goes_on_and_ends_with_the_new_machine() {
    let record = json!({"machine": "a", "timestamp": now() - SignedDuration::from_secs(5), "retryCount": 2})
        .to_string();
    let cp = kcp(
        json!({"metadata": {"annotations": {"controlplane.cluster.x-k8s.io/remediation-in-progress": record}}}),
    );
    let three = ring(&["a", "b", "c"]);
    let others = || vec![machine(&cp, "b", 20, json!({})), machine(&cp, "c", 10, json!({}))];
    let mut before = others();
    before.insert(0, machine(&cp, "a", 30, given_up(json!({}))));
    let plan = decided(&world(cp.clone(), before, &three).await);
    assert!(
        told(&plan).ends_with(&["record".to_owned(), "delete a".to_owned()]),
        "the record was there, the Machine still is"
    );
    let gone = ring(&["b", "c"]);
    let plan = decided(&world(cp.clone(), others(), &gone).await);
    assert_eq!(told(&plan), ["join", "unrecord"]);
    let handed = plan.actions.iter().find_map(|action| match action {
        Action::Create(new) => new.remediation.clone(),
        _ => None,
    });
    assert!(handed.is_some_and(|record| record.contains(r#""retryCount":2"#)));
}

#[tokio::test]
async fn workers_go_first_and_then_all_at_once() {
    let cp = kcp(json!({"metadata": {"deletionTimestamp": at(0)}}));
    let machines: Vec<_> = ["a", "b", "c"].map(|name| machine(&cp, name, 10, json!({}))).to_vec();
    let mut seen = world(cp, machines, &ring(&["a", "b", "c"])).await;
    seen.workers = vec!["w".into()];
    let plan = decided(&seen);
    assert_eq!(told(&plan), Vec::<String>::new());
    assert_eq!(plan.stop.map(|why| why.reason.into_owned()).as_deref(), Some("WaitingForWorkersDeletion"));
    seen.workers.clear();
    let all = ["release a", "delete a", "release b", "delete b", "release c", "delete c"];
    assert_eq!(told(&decided(&seen)), all);
    seen.machines.clear();
    assert_eq!(told(&decided(&seen)), ["end"]);
}

#[tokio::test]
async fn what_is_said_of_the_whole() {
    let cp = kcp(json!({}));
    let three = ring(&["a", "b", "c"]);
    let machines: Vec<_> = ["a", "b", "c"].map(|name| machine(&cp, name, 10, json!({}))).to_vec();
    let seen = world(cp, machines, &three).await;
    let plan = decided(&seen);
    let status = report(&seen, &seen.machines, &plan, None, now());
    let said: Vec<_> = status
        .conditions
        .iter()
        .map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason))
        .collect();
    assert_eq!(
        said,
        [
            "Available=True Available",
            "CertificatesAvailable=True Available",
            "ControlPlaneComponentsHealthy=True Healthy",
            "Deleting=False NotDeleting",
            "EtcdClusterHealthy=True Healthy",
            "Initialized=True Initialized",
            "MachinesReady=Unknown ReadyUnknown",
            "MachinesUpToDate=Unknown UpToDateUnknown",
            "Paused=False NotPaused",
            "Remediating=False NotRemediating",
            "RollingOut=False NotRollingOut",
            "ScalingDown=False NotScalingDown",
            "ScalingUp=False NotScalingUp",
        ]
    );
    assert_eq!(
        (status.replicas, status.up_to_date_replicas, status.observed_generation),
        (Some(3), Some(3), Some(1))
    );
    // The same again is the same: nothing is written at rest.
    let mut again = Observed { kcp: Arc::clone(&seen.kcp), ..seen };
    Arc::make_mut(&mut again.kcp).status = Some(status.clone());
    let later = report(&again, &again.machines, &plan, None, now() + SignedDuration::from_secs(60));
    assert_eq!(json!(later), json!(status));
}
