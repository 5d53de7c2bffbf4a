//! One case for each rule: what is wrong, the field that is named, a word of what would be right.

use serde_json::{Value, json};

use super::*;

fn host() -> Value {
    json!({
        "apiVersion": "metal3.io/v1alpha1",
        "kind": "BareMetalHost",
        "metadata": {"name": "server-1", "namespace": "metal"},
        "spec": {
            "online": true,
            "bmc": {"address": "redfish-virtualmedia://10.0.0.9/redfish/v1/Systems/1", "credentialsName": "server-1"},
            "bootMACAddress": "00:11:22:33:44:55",
        },
    })
}

/// A host that differs from a good one by one part: merged, null removes.
fn with(change: &Value) -> BareMetalHost {
    fn merge(into: &mut Value, change: &Value) {
        let Some(fields) = change.as_object() else {
            *into = change.clone();
            return;
        };
        for (name, value) in fields {
            if value.is_null() {
                into.as_object_mut().unwrap().remove(name);
            } else {
                let place = &mut into[name];
                if place.is_null() {
                    *place = json!({});
                }
                merge(place, value);
            }
        }
    }
    let mut host = host();
    merge(&mut host, change);
    serde_json::from_value(host).unwrap_or_else(|error| panic!("{change}: {error}"))
}

fn annotated(name: &str, value: &str) -> Value {
    json!({"metadata": {"annotations": {name: value}}})
}

fn refused(bad: &[Invalid], path: &str, word: &str) {
    let told: Vec<_> = bad.iter().map(ToString::to_string).collect();
    assert!(bad.iter().any(|bad| bad.path == path && bad.detail.contains(word)), "{path} {word}: {told:#?}");
}

const SHA256: &str = "97830b21ed272a3d854615beb54cf00497830b21ed272a3d854615beb54cf004";

#[test]
fn what_is_right_is_taken() {
    let image = |image: Value| json!({"spec": {"image": image}});
    for change in [
        json!({}),
        json!({"spec": {"bmc": null, "bootMACAddress": null}}),
        json!({"spec": {"bmc": {"address": "", "credentialsName": ""}}}),
        json!({"spec": {"bootMACAddress": null}}),
        json!({"spec": {"inspectionMode": "disabled"}}),
        json!({"spec": {"bootMode": "legacy", "architecture": "x86_64"}}),
        json!({"spec": {"hardwareProfile": "libvirt"}}),
        json!({"spec": {"userData": {"name": "u", "namespace": "metal"}, "metaData": {"name": "m"}}}),
        json!({"spec": {"raid": {"hardwareRAIDVolumes": [], "softwareRAIDVolumes": []}}}),
        json!({"spec": {"rootDeviceHints": {"deviceName": "/dev/disk/by-path/pci-0000:01:00.0-scsi-0:2:0:0"}}}),
        image(
            json!({"url": "http://images/a.qcow2", "checksum": "http://images/a.qcow2.md5sum", "format": "qcow2"}),
        ),
        image(json!({"url": "https://images/a", "checksum": SHA256, "checksumType": "sha256"})),
        image(json!({"url": "https://images/a", "checksum": SHA256, "checksumType": "auto"})),
        image(json!({"url": "https://images/a.iso", "format": "live-iso"})),
        annotated("reboot.metal3.io", ""),
        annotated("reboot.metal3.io/me", r#"{"mode":"hard","force":true}"#),
        annotated("reboot.metal3.io/me", r#"{"mode":""}"#),
        annotated("reboot.metal3.iox", "not ours"),
        annotated("inspect.metal3.io", ""),
        annotated("inspect.metal3.io", "disabled"),
        annotated("baremetalhost.metal3.io/detached", "because"),
        annotated("baremetalhost.metal3.io/paused", "metal3.io/capm3"),
        annotated("baremetalhost.metal3.io/status", ""),
    ] {
        assert_eq!(validate_host(&with(&change)), [], "{change}");
    }
}

#[test]
fn every_rule_names_the_field_and_what_would_be_right() {
    for (change, path, word) in [
        (json!({"metadata": {"name": "c0ffee00-1111-2222-3333-444455556666"}}), "metadata.name", "UUID"),
        (json!({"metadata": {"name": "a+b"}}), "metadata.name", "letters"),
        (
            json!({"spec": {"bmc": {"address": "ipmi://10.0.0.9"}}}),
            "spec.bmc.address",
            "redfish-virtualmedia://",
        ),
        (json!({"spec": {"bmc": {"address": "foo://10.0.0.9"}}}), "spec.bmc.address", "no known scheme"),
        (
            json!({"spec": {"bootMACAddress": null, "inspectionMode": "disabled"}}),
            "spec.bootMACAddress",
            "inspection is disabled",
        ),
        (
            json!({"spec": {"bootMACAddress": null}, "metadata": {"annotations": {"inspect.metal3.io": "disabled"}}}),
            "spec.bootMACAddress",
            "inspection is disabled",
        ),
        (
            json!({"spec": {"userData": {"name": "u", "namespace": "other"}}}),
            "spec.userData.namespace",
            "of the host",
        ),
        (
            json!({"spec": {"metaData": {"name": "u", "namespace": "other"}}}),
            "spec.metaData.namespace",
            "of the host",
        ),
        (
            json!({"spec": {"networkData": {"name": "u", "namespace": "other"}}}),
            "spec.networkData.namespace",
            "of the host",
        ),
        (json!({"spec": {"online": false, "disablePowerOff": true}}), "spec.disablePowerOff", "online"),
        (json!({"spec": {"bootMode": "UEFISecureBoot"}}), "spec.bootMode", "use UEFI"),
        (json!({"spec": {"inspectionMode": "fast"}}), "spec.inspectionMode", "agent"),
        (json!({"spec": {"customDeploy": {"method": "magic"}}}), "spec.customDeploy.method", "image"),
        (json!({"spec": {"architecture": "aarch64"}}), "spec.architecture", "x86_64"),
        (json!({"spec": {"hardwareProfile": "toaster"}}), "spec.hardwareProfile", "rootDeviceHints"),
        (
            json!({"spec": {"inspectionMode": "agent"}, "metadata": {"annotations": {"inspect.metal3.io": "disabled"}}}),
            "spec.inspectionMode",
            "contradicts",
        ),
        (
            json!({"spec": {"rootDeviceHints": {"deviceName": "sda"}}}),
            "spec.rootDeviceHints.deviceName",
            "/dev/sda",
        ),
        (
            json!({"spec": {"rootDeviceHints": {"deviceName": "/dev/mapper/x"}}}),
            "spec.rootDeviceHints.deviceName",
            "by-path",
        ),
    ] {
        refused(&validate_host(&with(&change)), path, word);
    }
}

#[test]
fn images() {
    for (image, field, word) in [
        (json!({"url": "ftp://images/a", "checksum": SHA256}), "url", "ftp:// is not served"),
        (json!({"url": "oci://images"}), "url", "oci://REGISTRY/REPOSITORY"),
        (json!({"url": "oci:///a"}), "url", "oci://REGISTRY/REPOSITORY"),
        (json!({"url": "oci://images/A:1"}), "url", "small letters"),
        (json!({"url": "oci://me:hunter2@images/a"}), "url", "oci://REGISTRY/REPOSITORY"),
        (json!({"url": "oci://images/a@sha256:0f"}), "url", "64"),
        (json!({"url": "oci://images/a?tag=1"}), "url", "oci://REGISTRY/REPOSITORY"),
        (json!({"url": "oci://images/a:1", "checksum": SHA256}), "checksum", "left out"),
        (json!({"url": "oci://images/a.iso", "format": "live-iso"}), "format", "HTTP or HTTPS"),
        (json!({"url": "oci+http://images/a", "ociAuthSecretName": "pull"}), "ociAuthSecretName", "TLS only"),
        (
            json!({"url": "http://images/a", "checksum": SHA256, "ociAuthSecretName": "pull"}),
            "ociAuthSecretName",
            "oci://",
        ),
        (json!({"url": "images/a"}), "url", "http://"),
        (json!({"url": "http://"}), "url", "host"),
        (json!({"url": "http://images/a b"}), "url", "white space"),
        (json!({"url": "http://images/a", "format": "vmdk"}), "format", "qcow2"),
        (json!({"url": "http://images/a"}), "checksum", "is needed"),
        (json!({"url": "http://images/a", "checksum": "ftp://images/a"}), "checksum", "not served"),
        (json!({"url": "http://images/a", "checksum": "<html>"}), "checksum", "hexadecimal"),
        (json!({"url": "http://images/a", "checksum": "abc"}), "checksum", "32 (md5)"),
        (json!({"url": "http://images/a", "checksum": SHA256, "checksumType": "sha512"}), "checksum", "128"),
    ] {
        refused(
            &validate_host(&with(&json!({"spec": {"image": image}}))),
            &format!("spec.image.{field}"),
            word,
        );
    }
    let digest = format!("oci://images/a:v1@sha256:{SHA256}");
    for url in ["oci://images:5000/a/b:v1", "oci+http://10.0.0.1:5000/a", &digest] {
        assert_eq!(validate_host(&with(&json!({"spec": {"image": {"url": url}}}))), [], "{url}");
    }
    let password = validate_host(&with(&json!({"spec": {"image": {"url": "oci://me:hunter2@images/a"}}})));
    assert!(!format!("{password:?}").contains("hunter2"), "{password:?}");
    let image = json!({"url": "oci://images/a", "ociAuthSecretName": "pull"});
    assert_eq!(validate_host(&with(&json!({"spec": {"image": image}}))), []);
}

#[test]
fn annotations_are_decoded() {
    for (name, value, word) in [
        ("reboot.metal3.io", "soon", r#"{"mode":"soft"}"#),
        ("reboot.metal3.io/me", r#"{"mode":"brutal"}"#, "hard"),
        ("inspect.metal3.io", "enabled", "disabled"),
        ("inspect.metal3.io/hardwaredetails", "{}", "inspectionMode"),
        ("baremetalhost.metal3.io/status", "{", "EOF"),
        ("baremetalhost.metal3.io/status", r#"{"provisioning":{"stat":"available"}}"#, "provisioning.stat"),
        ("baremetalhost.metal3.io/status", r#"{"provisioning":{"state":"asleep"}}"#, "asleep"),
        ("baremetalhost.metal3.io/status", r#"{"operationalStatus":"fine"}"#, "fine"),
    ] {
        refused(
            &validate_host(&with(&annotated(name, value))),
            &format!("metadata.annotations[{name}]"),
            word,
        );
    }
    let disabled = json!({"spec": {"inspectionMode": "disabled"},
        "metadata": {"annotations": {"inspect.metal3.io/hardwaredetails": r#"{"cpu":{"cores":1}}"#}}});
    refused(
        &validate_host(&with(&disabled)),
        "metadata.annotations[inspect.metal3.io/hardwaredetails]",
        "cpu.cores",
    );
}

/// As `clusterctl move` of upstream writes it: Go's zero values, empty texts, words newer than its own allow-list.
#[test]
fn a_status_of_upstream_is_read_from_its_annotation() {
    let status = json!({
        "operationalStatus": "servicing", "errorType": "", "errorMessage": "", "errorCount": 0, "poweredOn": true,
        "provisioningFailCount": 0, "lastUpdated": "2026-08-20T07:43:59Z", "hardwareProfile": "unknown",
        "goodCredentials": {"credentials": {"name": "c", "namespace": "n"}, "credentialsVersion": "12"},
        "triedCredentials": {}, "hardware": {"cpu": {"arch": "x86_64", "clockMegahertz": 2100.5, "count": 2},
            "firmware": {"bios": {}}, "hostname": "h", "nics": [{"mac": "00:11:22:33:44:55", "speedGbps": 10}],
            "ramMebibytes": 4096, "storage": [{"name": "/dev/sda", "type": "HDD", "sizeBytes": 1}], "systemVendor": {}},
        "operationHistory": {"register": {"start": "2026-08-20T07:43:59Z", "end": null}, "inspect": {"start": null, "end": null}},
        "provisioning": {"ID": "7", "state": "externally provisioned", "image": {"url": ""}, "bootMode": "UEFI",
            "raid": {"hardwareRAIDVolumes": null, "softwareRAIDVolumes": []}, "rootDeviceHints": {"deviceName": "/dev/sda"},
            "firmware": {"sriovEnabled": true}},
    });
    let host = with(&annotated("baremetalhost.metal3.io/status", &status.to_string()));
    assert_eq!(validate_host(&host), []);
    let read = annotation::read_status(&status.to_string()).unwrap();
    assert_eq!(read.provisioning.state, ProvisioningState::ExternallyProvisioned);
    assert_eq!((read.operational_status, read.error_type), (OperationalStatus::Servicing, None));
    assert_eq!(read.provisioning.deployed_image(), None);
    assert_eq!(read.hardware.unwrap().cpu.clock_megahertz, Some(2100.5));
}

#[test]
fn raid() {
    let mirror = json!({"level": "1", "rootVolume": true});
    let volume = json!({"level": "1+0", "numberOfPhysicalDisks": 3, "physicalDisks": ["a", "b"]});
    let raid = json!({"hardwareRAIDVolumes": [volume], "softwareRAIDVolumes": [mirror, {"level": "0", "rootVolume": true}]});
    let bad = validate_host(&with(&json!({"spec": {"raid": raid, "rootDeviceHints": {"model": "x"}}})));
    let hardware = "spec.raid.hardwareRAIDVolumes";
    let software = "spec.raid.softwareRAIDVolumes";
    for (path, word) in [
        ("spec.raid".to_owned(), "exclude each other"),
        (format!("{hardware}[0].physicalDisks"), "controller"),
        (format!("{hardware}[0].numberOfPhysicalDisks"), "which is 2"),
        (format!("{software}[1].rootVolume"), "only one"),
        (format!("{software}[0].rootVolume"), "rootDeviceHints"),
        (format!("{software}[1].level"), "must be 1"),
        (hardware.to_owned(), "not made yet"),
        (software.to_owned(), "not made yet"),
    ] {
        refused(&bad, &path, word);
    }
    assert_eq!(bad.len(), 9, "{bad:#?}");
}

#[test]
fn what_cannot_be_changed() {
    let provisioned = json!({"status": {"provisioning": {"state": "provisioned"}}});
    let registering = json!({"status": {"provisioning": {"state": "registering"}}});
    let detached =
        json!({"status": {"operationalStatus": "detached", "provisioning": {"state": "provisioned"}}});
    let moved = with(&json!({"spec": {"bmc": {"address": "redfish://10.0.0.10"}}}));
    refused(&validate_host_change(&with(&provisioned), &moved), "spec.bmc.address", "detached");
    for free in [registering, detached, json!({}), json!({"spec": {"bmc": null}})] {
        assert_eq!(validate_host_change(&with(&free), &moved), [], "{free}");
    }

    let mac = |mac: Value| with(&json!({"spec": {"bootMACAddress": mac}}));
    let upper = mac(json!("AA:BB:CC:DD:EE:FF"));
    assert_eq!(validate_host_change(&mac(Value::Null), &upper), []);
    assert_eq!(validate_host_change(&mac(json!("aa:bb:cc:dd:ee:ff")), &upper), []);
    for changed in [mac(json!("aa:bb:cc:dd:ee:00")), mac(Value::Null)] {
        refused(&validate_host_change(&upper, &changed), "spec.bootMACAddress", "AA:BB:CC:DD:EE:FF");
    }

    let adopted = with(&json!({"spec": {"externallyProvisioned": true}}));
    assert_eq!(validate_host(&adopted), [], "when it is made");
    let available = with(&json!({"status": {"provisioning": {"state": "available"}}}));
    assert_eq!(validate_host_change(&available, &adopted), []);
    refused(&validate_host_change(&with(&provisioned), &adopted), "spec.externallyProvisioned", "available");
    assert_eq!(validate_host_change(&adopted, &with(&provisioned)), [], "it may be taken back");
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    let bad =
        validate_host(&with(&json!({"spec": {"bmc": {"address": "redfish://admin:hunter2@10.0.0.9"}}})));
    refused(&bad, "spec.bmc.address", "credentialsName");
    assert!(!format!("{bad:?}").contains("hunter2"));
}
