use super::*;

fn kcp(change: Value) -> KubeadmControlPlane {
    let mut object = json!({"apiVersion": "controlplane.cluster.x-k8s.io/v1beta2", "kind": "KubeadmControlPlane",
        "metadata": {"name": "c"}, "spec": {"version": "v1.35.4", "replicas": 3, "machineTemplate": {"spec": {
            "infrastructureRef": {"apiGroup": "g", "kind": "K", "name": "n"}}},
            "kubeadmConfigSpec": {"clusterConfiguration": {"certificatesDir": "/pki"}, "initConfiguration": {"skipPhases": ["a"]}}}});
    json_patch(&mut object, &change);
    serde_json::from_value(object).expect("a KubeadmControlPlane")
}

/// A merge patch; null takes away.
fn json_patch(into: &mut Value, change: &Value) {
    let Value::Object(fields) = change else {
        *into = change.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().expect("an object");
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            json_patch(object.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn paths(bad: Vec<Invalid>) -> Vec<String> {
    bad.into_iter().map(|bad| bad.path).collect()
}

fn bad(spec: Value) -> Vec<String> {
    paths(validate_kubeadm_control_plane(&kcp(json!({ "spec": spec }))))
}

fn config(config: Value) -> Vec<String> {
    bad(json!({ "kubeadmConfigSpec": config }))
}

#[test]
fn what_is_left_out_is_filled_in() {
    let filled =
        default_kubeadm_control_plane(&kcp(json!({"spec": {"version": "1.35.4", "replicas": null}})));
    assert_eq!((filled.spec.version.as_str(), filled.spec.replicas), ("v1.35.4", Some(1)));
    let rollout = json!(filled.spec.rollout);
    assert_eq!(rollout, json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}));
    assert_eq!(default_kubeadm_control_plane(&filled), filled);
    assert!(validate_kubeadm_control_plane(&filled).is_empty());
}

#[test]
fn taints_that_are_somebody_elses_are_refused() {
    let taint = |key: &str| json!({"key": key, "effect": "NoSchedule", "propagation": "Always"});
    let taints = [taint("node-role.kubernetes.io/control-plane"), taint("node.kubernetes.io/not-ready")];
    assert_eq!(
        bad(json!({"machineTemplate": {"spec": {"taints": taints}}})),
        ["spec.machineTemplate.spec.taints[1].key"]
    );
}

#[test]
fn a_version_has_three_numbers() {
    for good in ["v1.35.4", "1.35.4", "v1.36.0-rc.1", "v1.35.4+build"] {
        assert!(bad(json!({ "version": good })).is_empty(), "{good}");
    }
    for wrong in ["latest", "v1.35", "v1.35.4.1", "v1.035.4", "v1.35.4-", "v1.35.x"] {
        assert_eq!(bad(json!({ "version": wrong })), ["spec.version"], "{wrong}");
    }
}

#[test]
fn going_down_to_come_up_needs_three() {
    let surge = |surge: Value, replicas: i32| {
        bad(
            json!({"replicas": replicas, "rollout": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge}}}}),
        )
    };
    assert!(surge(json!(0), 3).is_empty() && surge(json!(1), 1).is_empty());
    let path = "spec.rollout.strategy.rollingUpdate.maxSurge";
    assert_eq!((surge(json!(0), 1), surge(json!("0"), 1)), (vec![path.to_owned()], vec![path.to_owned()]));
}

#[test]
fn certificates_do_not_outlive_their_authority() {
    let days = |days: i32, authority: Option<i32>, before: Option<i32>| {
        let certificates =
            json!({"certificateValidityPeriodDays": days, "caCertificateValidityPeriodDays": authority});
        bad(
            json!({"kubeadmConfigSpec": {"clusterConfiguration": certificates}, "rollout": {"before": {"certificatesExpiryDays": before}}}),
        )
    };
    assert!(days(30, None, Some(7)).is_empty() && days(30, Some(30), None).is_empty());
    let certificates = "spec.kubeadmConfigSpec.clusterConfiguration.certificateValidityPeriodDays";
    assert_eq!(days(31, Some(30), None), [certificates]);
    assert_eq!(days(30, None, Some(30)), ["spec.rollout.before.certificatesExpiryDays"]);
}

#[test]
fn names_of_machines_differ_and_are_names() {
    let naming = |template: &str| bad(json!({"machineNaming": {"template": template}}));
    for good in [
        "{{ .random }}",
        "{{.cluster.name}}-{{ .kubeadmControlPlane.name }}-{{ .random }}",
        "a.b-{{ .random }}",
    ] {
        assert!(naming(good).is_empty(), "{good}");
    }
    for wrong in [
        "x",
        "{{ .cluster.name }}",
        "{{ .random }}-{{ .x }}",
        "{{ .random",
        "A-{{ .random }}",
        "-{{ .random }}",
        "a..{{ .random }}",
    ] {
        assert_eq!(naming(wrong), ["spec.machineNaming.template"], "{wrong}");
    }
}

#[test]
fn etcd_is_one_or_the_other_and_tags_are_tags() {
    let external = json!({"endpoints": ["https://e"], "caFile": "/a", "certFile": "/b", "keyFile": "/c"});
    let path = "spec.kubeadmConfigSpec.clusterConfiguration";
    let both = json!({"clusterConfiguration": {"etcd": {"local": {"dataDir": "/d"}, "external": external}}});
    assert_eq!(config(both), [format!("{path}.etcd.local")]);
    let tags = |dns: &str, etcd: &str| {
        config(
            json!({"clusterConfiguration": {"dns": {"imageTag": dns}, "etcd": {"local": {"imageTag": etcd}}}}),
        )
    };
    assert!(tags("v1.13.1", "3.6.5-0").is_empty() && tags("1.12_custom.1", "x").is_empty());
    assert_eq!(
        tags("v1.6.7/x", "3:5"),
        [format!("{path}.dns.imageTag"), format!("{path}.etcd.local.imageTag")]
    );
    assert_eq!(tags("latest", "3.6.5-0"), [format!("{path}.dns.imageTag")]);
}

#[test]
fn both_ways_into_the_cluster_wait_alike() {
    let both = |init: Value, join: Value| {
        let timeouts = |seconds: Value| json!({"timeouts": {"controlPlaneComponentHealthCheckSeconds": seconds, "discoverySeconds": 1}});
        config(json!({"initConfiguration": timeouts(init), "joinConfiguration": timeouts(join)})).len()
    };
    assert_eq!((both(json!(5), json!(5)), both(json!(5), json!(6)), both(json!(5), Value::Null)), (0, 2, 2));
}

#[test]
fn what_may_change_and_what_may_not() {
    let old = kcp(json!({}));
    let change =
        |spec: Value| paths(validate_kubeadm_control_plane_change(&old, &kcp(json!({ "spec": spec }))));
    let path = "spec.kubeadmConfigSpec";
    for good in [
        json!({"replicas": 5, "version": "v1.36.9"}),
        json!({"version": "v1.35.1"}),
        json!({"kubeadmConfigSpec": {"clusterConfiguration": {"apiServer": {"certSANs": ["a"]}, "encryptionAlgorithm": "RSA-4096"}}}),
        json!({"kubeadmConfigSpec": {"initConfiguration": {"nodeRegistration": {"name": "n"}}, "files": [{"path": "/x", "content": "x"}]}}),
        json!({"machineTemplate": {"spec": {"infrastructureRef": {"name": "other"}}}}),
    ] {
        assert!(change(good.clone()).is_empty(), "{good}");
    }
    for (wrong, field) in [
        (json!({"version": "v1.37.0"}), "spec.version".to_owned()),
        (json!({"version": "v2.0.0"}), "spec.version".to_owned()),
        (
            json!({"kubeadmConfigSpec": {"clusterConfiguration": {"certificatesDir": "/other"}}}),
            format!("{path}.clusterConfiguration.certificatesDir"),
        ),
        (
            json!({"kubeadmConfigSpec": {"clusterConfiguration": {"controlPlaneEndpoint": "x:1"}}}),
            format!("{path}.clusterConfiguration.controlPlaneEndpoint"),
        ),
        (
            json!({"kubeadmConfigSpec": {"clusterConfiguration": {"caCertificateValidityPeriodDays": 5}}}),
            format!("{path}.clusterConfiguration.caCertificateValidityPeriodDays"),
        ),
        (json!({"kubeadmConfigSpec": {"initConfiguration": null}}), format!("{path}.initConfiguration")),
        (
            json!({"kubeadmConfigSpec": {"clusterConfiguration": {"etcd": {"external": {"endpoints": ["e"], "caFile": "/a", "certFile": "/b", "keyFile": "/c"}}}}}),
            format!("{path}.clusterConfiguration.etcd.external"),
        ),
    ] {
        assert_eq!(change(wrong.clone()), [field], "{wrong}");
    }
}

#[test]
fn coredns_does_not_go_back_unless_it_is_left_alone() {
    let with = |tag: &str, annotations: Value| {
        kcp(
            json!({"metadata": {"annotations": annotations}, "spec": {"kubeadmConfigSpec": {"clusterConfiguration": {"dns": {"imageTag": tag}}}}}),
        )
    };
    let old = with("v1.13.1", json!({}));
    let change = |new| paths(validate_kubeadm_control_plane_change(&old, &new));
    assert!(change(with("v1.14.0", json!({}))).is_empty());
    assert_eq!(
        change(with("v1.12.0", json!({}))),
        ["spec.kubeadmConfigSpec.clusterConfiguration.dns.imageTag"]
    );
    assert!(change(with("v1.12.0", json!({ SKIP_COREDNS_ANNOTATION: "" }))).is_empty());
}

#[test]
fn a_template_is_checked_and_stays() {
    let template = |spec: Value| -> KubeadmControlPlaneTemplate {
        serde_json::from_value(json!({"metadata": {"name": "t"}, "spec": {"template": {"spec": spec}}}))
            .expect("a template")
    };
    let old = template(json!({"machineNaming": {"template": "{{ .random }}"}}));
    assert!(validate_kubeadm_control_plane_template(&old).is_empty());
    let new = template(json!({"machineNaming": {"template": "x"}}));
    assert_eq!(
        paths(validate_kubeadm_control_plane_template_change(&old, &new)),
        ["spec.template.spec.machineNaming.template", "spec.template.spec"]
    );
}
