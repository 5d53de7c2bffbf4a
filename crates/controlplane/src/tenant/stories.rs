//! The decisions of this room, told as stories: what is found, what is decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scute_api::kamaji::{Phase, TENANT_FINALIZER, TenantControlPlane, VersionStatus};
use scute_kit::Why;
use serde_json::{Value, json};

use super::fixture::{NOW, endpoint, tcp, wanted};
use super::progress::{Progress, Stage, Stop};
use super::rollout::{self, Rollout};
use super::{deployment, endpoint as endpoints, report, service, steps, validate};
use crate::holders::Holder;
use crate::names::TenantSecret;

fn render(tcp: &TenantControlPlane) -> Deployment {
    let checksums =
        TenantSecret::ALL.into_iter().map(|which| (which, format!("sum-of-{}", which.component())));
    let store = ["etcd-0:2379".to_owned(), "etcd-1:2379".to_owned()];
    deployment::deployment(tcp, &wanted(tcp), &endpoint(), &store, &checksums.collect()).deployment
}

#[test]
fn what_starts_pods_and_what_does_not() {
    let (seen, with) = (render(&tcp(json!({}))), |over: Value| {
        render(&tcp(json!({ "spec": { "controlPlane": { "deployment": over } } })))
    });
    let starts = |want: &Deployment| steps::starts_pods(Some(&seen), want);
    assert!(steps::starts_pods(None, &seen));
    assert!(!starts(&seen));
    assert!(starts(&with(json!({ "replicas": 3 }))) && !starts(&with(json!({ "replicas": 0 }))));
    assert!(!steps::starts_pods(None, &with(json!({ "replicas": 0 }))));
    assert!(starts(&with(json!({ "extraArgs": { "scheduler": ["--v=4"] } }))));
    assert!(!starts(&with(json!({ "additionalMetadata": { "labels": { "team": "a" } } }))), "no new Pods");
}

#[test]
fn the_deployment_of_a_minimal_tenant() {
    insta::assert_yaml_snapshot!(render(&tcp(json!({}))));
}

#[test]
fn what_the_user_asks_for_is_in_the_deployment() {
    let asked = tcp(json!({ "spec": {
        "controlPlane": { "deployment": {
            "replicas": 3,
            "registrySettings": { "registry": "registry.lab.example/k8s", "tagSuffix": "-lab", "schedulerImage": "sched" },
            "nodeSelector": { "rack": "1" },
            "tolerations": [{ "operator": "Exists" }],
            "topologySpreadConstraints": [
                { "maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule" },
            ],
            "runtimeClassName": "gvisor",
            "strategy": { "type": "Recreate" },
            "resources": { "apiServer": { "requests": { "cpu": "250m" } } },
            "extraArgs": {
                "apiServer": ["--profiling=true", "--secure-port=1", "--v=4"],
                "controllerManager": ["--bind-address=127.0.0.1"],
            },
            "additionalMetadata": { "labels": { "team": "a", "kamaji.clastix.io/name": "not-mine" } },
            "podAdditionalMetadata": { "annotations": { "scrape": "true" } },
            "probes": { "startup": { "periodSeconds": 2 } },
        } },
        "networkProfile": { "port": 443 },
    } }));
    let deployment = render(&asked);
    let spec = deployment.spec.clone().expect("a spec");
    let pod = spec.template.spec.expect("a Pod");
    let args = |index: usize| pod.containers[index].args.clone().unwrap_or_default();
    let has = |index, argument: &str| args(index).iter().any(|given| given == argument);
    assert!(has(0, "--profiling=true") && !has(0, "--profiling=false"), "a soft default gives way");
    assert!(has(0, "--secure-port=443") && !has(0, "--secure-port=1"), "a managed flag does not");
    assert!(has(0, "--v=4"));
    assert!(has(2, "--bind-address=127.0.0.1") && !has(2, "--bind-address=0.0.0.0"));
    let images: Vec<_> = pod.containers.iter().filter_map(|container| container.image.as_deref()).collect();
    assert_eq!(
        images,
        [
            "registry.lab.example/k8s/kube-apiserver:v1.35.4-lab",
            "registry.lab.example/k8s/sched:v1.35.4-lab",
            "registry.lab.example/k8s/kube-controller-manager:v1.35.4-lab",
        ]
    );
    let spread = &pod.topology_spread_constraints.as_ref().expect("constraints")[0];
    assert!(spread.label_selector.is_some(), "a constraint without a selector gets ours");
    let sysctls = pod.security_context.and_then(|context| context.sysctls).unwrap_or_default();
    assert_eq!(sysctls[0].name, "net.ipv4.ip_unprivileged_port_start", "port 443 without root");
    let labels = deployment.metadata.labels.expect("labels");
    assert_eq!((labels["team"].as_str(), labels["kamaji.clastix.io/name"].as_str()), ("a", "t"));
    let startup = pod.containers[0].startup_probe.clone().expect("a probe");
    assert_eq!((startup.period_seconds, startup.failure_threshold), (Some(2), Some(600)));
}

#[test]
fn only_the_controller_manager_sees_the_authoritys_key() {
    let pod = render(&tcp(json!({}))).spec.and_then(|spec| spec.template.spec).expect("a Pod");
    for volume in pod.volumes.expect("volumes") {
        let sources = volume.projected.expect("projected").sources.unwrap_or_default();
        let items = sources.into_iter().filter_map(|source| source.secret?.items).flatten();
        let sees = items.into_iter().any(|item| item.key == "ca.key");
        assert_eq!(sees, volume.name == "kube-controller-manager", "{}", volume.name);
    }
}

#[test]
fn services_by_type() {
    let with = |kind: &str, network: Value| {
        let tcp = tcp(json!({ "spec": {
            "controlPlane": { "service": {
                "serviceType": kind,
                "additionalMetadata": { "annotations": { "metallb.io/loadBalancerIPs": "10.77.0.171" } },
            } },
            "networkProfile": network,
        } }));
        service::service(&tcp, &wanted(&tcp)).spec.expect("a spec")
    };
    insta::assert_yaml_snapshot!(BTreeMap::from([
        ("1 ClusterIP", with("ClusterIP", json!({}))),
        (
            "2 ClusterIP, address as external IP",
            with("ClusterIP", json!({ "address": "10.0.0.9", "allowAddressAsExternalIP": true }),)
        ),
        ("3 NodePort", with("NodePort", json!({ "address": "10.0.0.9", "port": 31443 }))),
        (
            "4 LoadBalancer, address and class",
            with(
                "LoadBalancer",
                json!({ "address": "10.0.0.9", "loadBalancerClass": "x", "loadBalancerSourceRanges": ["10.0.0.0/8"] }),
            )
        ),
    ]));
}

#[test]
fn endpoints() {
    let service = |value: Value| -> Service { serde_json::from_value(value).expect("a Service") };
    let plain = service(json!({ "spec": { "clusterIP": "10.86.0.77", "clusterIPs": ["10.86.0.77"] } }));
    let with_ip = service(json!({
        "spec": { "clusterIP": "10.86.0.77" },
        "status": { "loadBalancer": { "ingress": [{ "ip": "172.30.0.128" }] } },
    }));
    let with_name =
        service(json!({ "status": { "loadBalancer": { "ingress": [{ "hostname": "elb.example" }] } } }));
    let clash = service(json!({ "status": { "conditions": [{
        "type": "LoadBalancerReady", "status": "False", "reason": "AddressTaken",
        "message": "172.30.0.128 belongs to Service b", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] } }));
    let at = |kind: &str, network: Value, service: &Service| {
        let tcp = tcp(json!({ "spec": {
            "controlPlane": { "service": { "serviceType": kind } }, "networkProfile": network,
        } }));
        match endpoints::endpoint(&wanted(&tcp), service) {
            Ok(endpoint) => format!("{} and {:?}", endpoint.text(), endpoint.others),
            Err(why) => format!("{}: {}", why.reason, why.message),
        }
    };
    let told = [
        at("ClusterIP", json!({}), &plain),
        at(
            "ClusterIP",
            json!({ "address": "fd00::1", "port": 8443, "serviceCidr": "fd00:9::/112", "podCidr": "fd00:8::/56" }),
            &plain,
        ),
        at("NodePort", json!({ "address": "10.0.0.9", "port": 31443 }), &plain),
        at("LoadBalancer", json!({}), &with_ip),
        at("LoadBalancer", json!({}), &plain),
        at("LoadBalancer", json!({}), &with_name),
        at("LoadBalancer", json!({}), &clash),
        at("LoadBalancer", json!({ "address": "172.30.0.128" }), &with_ip),
        at("LoadBalancer", json!({ "address": "172.30.0.128" }), &clash),
        at("LoadBalancer", json!({ "address": "172.30.0.128" }), &with_name),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn every_bad_field_is_named_at_once() {
    let bad = tcp(json!({ "metadata": { "name": "1bad" }, "spec": {
        "controlPlane": { "service": { "serviceType": "NodePort" } },
        "kubernetes": { "version": "latest" },
        "networkProfile": {
            "serviceCidrs": ["10.96.0.0/16", "10.97.0.0/16"],
            "podCidrs": ["10.96.128.0/17"],
            "dnsServiceIPs": ["10.98.0.10"],
            "certSANs": ["ok.example", "host:6443"],
        },
    } }));
    let errors = validate::validate(&bad, "default").expect_err("bad");
    insta::assert_snapshot!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn ranges_keep_the_order_that_was_asked_for() {
    let dual = tcp(json!({ "spec": { "networkProfile": {
        "serviceCidrs": ["fd00:1::/112", "10.96.0.0/16"], "podCidrs": ["fd00:2::/48", "10.244.0.0/16"],
    } } }));
    let wanted = wanted(&dual);
    let text: Vec<_> = wanted.service_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["fd00:1::/112", "10.96.0.0/16"]);
    let dns: Vec<_> = wanted.dns_ips.iter().map(ToString::to_string).collect();
    assert_eq!(dns, ["fd00:1::10", "10.96.0.10"]);
}

#[test]
fn node_restriction_cannot_be_left_out() {
    let few = tcp(json!({ "spec": { "kubernetes": { "admissionControllers": ["ResourceQuota"] } } }));
    assert_eq!(wanted(&few).admission, ["NodeRestriction", "ResourceQuota"]);
    assert_eq!(wanted(&tcp(json!({}))).admission.len(), 18);
}

/// The phases of a life, line by line: numbers of the Deployment and whether a request got through.
#[test]
fn phases_of_a_life() {
    let mut before = VersionStatus::default();
    let mut told = Vec::new();
    let mut step = |what: &str, spec: Value, rollout: Option<Rollout>, usable: bool, ca_changed: bool| {
        let tcp = tcp(json!({ "spec": spec }));
        before = rollout::version(&before, &wanted(&tcp), rollout.as_ref(), usable, ca_changed);
        let version = before.version.clone().unwrap_or_else(|| "-".to_owned());
        told.push(format!("{what:<44} {:?} {version}", before.status));
    };
    let pods = |wanted, replicas, updated, ready| {
        Some(Rollout { observed: true, wanted, replicas, updated, ready, trouble: None })
    };
    let (v34, v35) = (json!({ "kubernetes": { "version": "v1.34.2" } }), json!({}));
    step("waiting for an address", v34.clone(), None, false, false);
    step("Pods are made", v34.clone(), pods(2, 0, 0, 0), false, false);
    step("one is ready", v34.clone(), pods(2, 2, 2, 1), false, false);
    step("a request got through", v34.clone(), pods(2, 2, 2, 1), true, false);
    step("both are ready", v34.clone(), pods(2, 2, 2, 2), true, false);
    step("an upgrade starts", v35.clone(), pods(2, 3, 1, 2), true, false);
    step("an upgrade ends", v35.clone(), pods(2, 2, 2, 2), true, false);
    step("a certificate is rotated", v35.clone(), pods(2, 4, 2, 3), true, false);
    step("the authority is rotated", v35.clone(), pods(2, 2, 2, 2), true, true);
    step("Pods follow", v35.clone(), pods(2, 3, 1, 2), true, false);
    step("Pods have followed", v35.clone(), pods(2, 2, 2, 2), true, false);
    step("all Pods die", v35.clone(), pods(2, 2, 2, 0), false, false);
    step("they are back", v35.clone(), pods(2, 2, 2, 2), true, false);
    let asleep = json!({ "controlPlane": { "deployment": { "replicas": 0 } } });
    step("scaled to zero", asleep, pods(0, 0, 0, 0), false, false);
    step("woken up", v35.clone(), pods(2, 0, 0, 0), false, false);
    step("awake", v35.clone(), pods(2, 2, 2, 2), true, false);
    step("a change waits for something", v35, None, true, false);
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!(before.status, Phase::Ready);
}

#[test]
fn a_younger_tenant_does_not_get_the_prefix_of_an_older_one() {
    let with = |name: &str, uid: &str, born: &str, spec: Value| {
        let meta = json!({ "name": name, "uid": uid, "creationTimestamp": born });
        Arc::new(tcp(json!({ "metadata": meta, "spec": spec })))
    };
    let shared = json!({ "dataStoreSchema": "shared" });
    let old = with("old", "1", "2026-01-01T00:00:00Z", shared.clone());
    let young = with("young", "2", "2026-01-02T00:00:00Z", shared.clone());
    let elsewhere = with(
        "elsewhere",
        "3",
        "2026-01-03T00:00:00Z",
        json!({ "dataStoreSchema": "shared", "dataStore": "b" }),
    );
    let holder = |tcp: &TenantControlPlane| Holder::of(tcp, "default");
    let all = [holder(&old), holder(&young), holder(&elsewhere)];
    let conflict = |tcp: &TenantControlPlane| steps::conflict(&holder(tcp), &all);
    assert_eq!(conflict(&old), None, "the older one keeps it");
    assert_eq!(conflict(&elsewhere), None, "another DataStore is another world");
    let why = conflict(&young).expect("refused");
    assert!(why.message.contains("\"shared\" on DataStore default is taken"), "{}", why.message);
    assert!(!why.message.contains("old"), "whose it is, is nobody's business: {}", why.message);

    // Born in the same second: the one that may have keys keeps them.
    let mut settled = old.as_ref().clone();
    settled.metadata.finalizers = Some(vec![TENANT_FINALIZER.to_owned()]);
    settled.metadata.uid = Some("9".to_owned());
    let late = with("late", "0", "2026-01-01T00:00:00Z", json!({ "dataStoreSchema": "shared" }));
    let both = [holder(&settled), holder(&late)];
    let conflict = |tcp: &TenantControlPlane| steps::conflict(&holder(tcp), &both);
    assert_eq!(conflict(&settled), None, "it was first");
    assert!(conflict(&late).is_some(), "its UID is lower, but it came later");
}

#[test]
fn the_wait_for_an_address_is_told_once_it_is_one() {
    let mut tcp = tcp(json!({}));
    tcp.metadata.creation_timestamp = Some(Time(NOW));
    let stopped = |stage| {
        let why = Why::new("WaitingForLoadBalancer", "Service t has no address yet");
        Progress { stopped: Some(Stop::wait(stage, why)), ..Progress::default() }
    };
    let silent = |tcp: &TenantControlPlane, stage, seconds: i64| {
        let now = NOW + SignedDuration::from_secs(seconds);
        super::is_being_given_an_address(tcp, &stopped(stage), now).is_some()
    };
    assert!(silent(&tcp, Stage::Endpoint, 1));
    assert!(!silent(&tcp, Stage::Endpoint, 2), "a load balancer that does not answer is named");
    assert!(!silent(&tcp, Stage::Spec, 1));
    tcp.status = Some(Default::default());
    assert!(!silent(&tcp, Stage::Endpoint, 1), "what lost its address is told at once");
}

#[test]
fn the_stages_are_drawn_in_the_documentation() {
    let page = include_str!("../../../../docs/controlplane.md");
    let drawing = scute_kit::ladder::drawing::<Stage>();
    assert!(page.contains(&format!("```\n{drawing}\n```")), "docs/controlplane.md lacks:\n{drawing}");
}

/// What a person reads at each stage.
#[test]
fn conditions_of_a_start() {
    let tcp = tcp(json!({}));
    let told = |progress: Progress| {
        let status = report::status(&tcp, &progress, None, NOW);
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let lines = conditions.iter().map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            let line = format!(
                "  {:<22} {:<8} {:<24} {}",
                text("type"),
                text("status"),
                text("reason"),
                text("message")
            );
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let stopped = |stage, why| Progress { stopped: Some(Stop::wait(stage, why)), ..Progress::default() };
    let invalid = stopped(Stage::Spec, Why::new("UnsupportedVersion", "no such version"));
    let no_store = Progress {
        wanted: Some(wanted(&tcp)),
        ..stopped(Stage::DataStore, Why::new("DataStoreNotFound", "default DataStore does not exist"))
    };
    let no_address = Progress {
        wanted: Some(wanted(&tcp)),
        data_store: Some("default".to_owned()),
        ..stopped(Stage::Endpoint, Why::new("WaitingForLoadBalancer", "Service t has no address yet"))
    };
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": { "name": "t", "namespace": "default" }, "spec": { "replicas": 2, "selector": {}, "template": {} },
        "status": { "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1 },
    }))
    .expect("a Deployment");
    let starting = Progress {
        wanted: Some(wanted(&tcp)),
        data_store: Some("default".to_owned()),
        endpoint: Some(endpoint()),
        deployment: Some(Arc::new(deployment)),
        ..Progress::default()
    };
    let story = [
        ("a spec that cannot be", told(invalid)),
        ("no DataStore", told(no_store)),
        ("no address yet", told(no_address)),
        ("Pods start", told(starting)),
    ];
    let text: Vec<_> = story.iter().map(|(what, lines)| format!("{what}:\n{lines}")).collect();
    insta::assert_snapshot!(text.join("\n"));
}
