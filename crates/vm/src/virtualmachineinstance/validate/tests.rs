use serde_json::{Value, json};

use super::*;

/// A good spec with `change` merged over it.
fn errors_of(change: Value) -> Vec<String> {
    let mut spec = json!({
        "domain": {
            "memory": {"guest": "1Gi"},
            "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
        },
        "volumes": [{"name": "root", "containerDisk": {"image": "example.org/debian:12"}}],
    });
    merge(&mut spec, change);
    let spec = serde_json::from_value(spec).unwrap();
    validate(&spec, "spec").iter().map(ToString::to_string).collect()
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

fn seed(data: Value) -> Value {
    json!({"volumes": [
        {"name": "root", "containerDisk": {"image": "i"}},
        {"name": "seed", "cloudInitNoCloud": data},
    ]})
}

#[test]
fn a_good_spec_passes() {
    assert_eq!(errors_of(json!({})), [""; 0]);
    assert_eq!(errors_of(seed(json!({"userData": "x".repeat(2048)}))), [""; 0]);
}

#[test]
fn memory_is_needed_and_must_fit() {
    let none = errors_of(json!({"domain": {"memory": null}}));
    assert_eq!(
        none,
        [
            r#"spec.domain.memory.guest: Invalid value: "": memory.guest, resources.requests.memory or resources.limits.memory must be set"#
        ]
    );
    let small = errors_of(json!({"domain": {"memory": {"guest": "64Ki"}}}));
    assert_eq!(small, [r#"spec.domain.memory.guest: Invalid value: "64Ki": must be at least 1M"#]);
    let limited = errors_of(json!({"domain": {"resources": {"limits": {"memory": "512Mi"}}}}));
    assert_eq!(
        limited,
        [
            r#"spec.domain.resources.limits.memory: Invalid value: "512Mi": must not be below the memory of the guest or the request"#
        ]
    );
}

#[test]
fn vcpus_are_a_product() {
    let many = errors_of(json!({"domain": {"cpu": {"cores": 64, "sockets": 4, "threads": 2}}}));
    assert_eq!(
        many,
        [r#"spec.domain.cpu: Invalid value: "512": cores x sockets x threads must be at most 255"#]
    );
}

#[test]
fn disks_have_volumes_and_names_of_their_own() {
    let errors = errors_of(json!({"domain": {"devices": {"disks": [
        {"name": "root", "bootOrder": 1}, {"name": "root"}, {"name": "data", "bootOrder": 1},
    ]}}}));
    assert_eq!(
        errors,
        [
            r#"spec.domain.devices.disks[1].name: Invalid value: "root": is the name of another disk too"#,
            r#"spec.domain.devices.disks[2].name: Invalid value: "data": there is no volume of this name in spec.volumes"#,
            r#"spec.domain.devices.disks[2].bootOrder: Invalid value: "1": is the place of another disk too"#,
        ]
    );
}

fn many(count: usize, target: &Value) -> Vec<String> {
    let name = |index: usize| format!("d{index}");
    let disks: Vec<_> = (0..count)
        .map(|index| {
            let mut disk = target.clone();
            disk["name"] = json!(name(index));
            disk
        })
        .collect();
    let volumes: Vec<_> =
        (0..count).map(|index| json!({"name": name(index), "emptyDisk": {"capacity": "1Mi"}})).collect();
    errors_of(json!({"domain": {"devices": {"disks": disks}}, "volumes": volumes}))
}

#[test]
fn disks_that_do_not_fit_are_refused_with_the_number_that_does() {
    for (target, fit, what) in [
        (json!({"disk": {"bus": "virtio"}}), 224, "virtio disks"),
        (json!({}), 224, "virtio disks"),
        (json!({"disk": {"bus": "sata"}}), 174, "drives on SATA"),
        (json!({"cdrom": {"bus": "scsi"}}), 256, "drives on SCSI"),
    ] {
        assert_eq!(many(fit, &target), [""; 0], "{what}");
        let count = fit + 1;
        assert_eq!(
            many(count, &target),
            [format!(
                "spec.domain.devices: Invalid value: \"{count} disks\": {count} {what} do not fit, {fit} do beside the machine's other devices"
            )]
        );
    }
}

/// A volume that no disk names is a virtio disk.
#[test]
fn volumes_without_a_disk_take_room_and_have_names_of_their_own() {
    let volumes: Vec<_> = (0..225)
        .map(|index| json!({"name": format!("d{index}"), "emptyDisk": {"capacity": "1Mi"}}))
        .collect();
    let errors = errors_of(json!({"domain": {"devices": {"disks": []}}, "volumes": volumes}));
    assert!(errors[0].contains("225 virtio disks do not fit"), "{errors:?}");
    let twice = json!([{"name": "root", "containerDisk": {"image": "a"}},
        {"name": "root", "emptyDisk": {"capacity": "1Gi"}}]);
    assert_eq!(
        errors_of(json!({"volumes": twice})),
        [r#"spec.volumes[1].name: Invalid value: "root": is the name of another volume too"#]
    );
}

#[test]
fn inline_data_is_short_and_never_repeated() {
    let long = errors_of(seed(json!({"userData": "secret".repeat(400)})));
    assert_eq!(
        long,
        [
            r#"spec.volumes[1].cloudInitNoCloud.userData: Invalid value: "<2400 bytes>": inline data is limited to 2048 bytes; put it into a Secret and name it in secretRef"#
        ]
    );
    let encoded = errors_of(seed(json!({"userDataBase64": STANDARD.encode([0; 2049])})));
    assert!(encoded[0].contains("<2049 bytes>"), "{encoded:?}");
    let broken = errors_of(seed(json!({"networkDataBase64": "not base64!", "userData": "x"})));
    assert_eq!(
        broken,
        [
            r#"spec.volumes[1].cloudInitNoCloud.networkDataBase64: Invalid value: "<not shown>": is not base64"#
        ]
    );
}

#[test]
fn interfaces_and_networks_match() {
    let errors = errors_of(json!({
        "domain": {"devices": {"interfaces": [{"name": "default", "bridge": {}}]}},
        "networks": [{"name": "pod", "pod": {}}],
    }));
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("spec.domain.devices.interfaces[0].name"));
    assert!(errors[1].starts_with("spec.networks[0].name"));
}

#[test]
fn storage_must_hold_the_request_and_the_empty_disks() {
    let errors = |requests: Value, limits: Value, capacity: &str| {
        errors_of(json!({
            "domain": {"resources": {"requests": requests, "limits": limits}},
            "volumes": [
                {"name": "root", "containerDisk": {"image": "i"}},
                {"name": "data", "emptyDisk": {"capacity": capacity}},
            ],
        }))
    };
    let disk = |amount: &str| json!({"ephemeral-storage": amount});
    assert_eq!(errors(disk("4Gi"), disk("8Gi"), "8Gi"), [""; 0]);
    assert_eq!(errors(disk("400Gi"), json!({}), "8Gi"), [""; 0]);
    let path = "spec.domain.resources.limits.ephemeral-storage";
    let below = errors(disk("9Gi"), disk("8Gi"), "1Gi");
    assert!(below[0].starts_with(path) && below[0].contains("must not be below the request"), "{below:?}");
    let small = errors(json!({}), disk("2Gi"), "3Gi");
    assert!(small[0].starts_with(path) && small[0].contains("3221225472 bytes"), "{small:?}");
    let text = errors(json!({}), disk("much"), "1Gi");
    assert!(text[0].starts_with(path) && text[0].contains("is not a quantity"), "{text:?}");
}
