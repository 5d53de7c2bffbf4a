//! What users of Metal3 write, in files as they write them: read, and nothing wrong with it. That a real API server takes
//! the same files is a test of scute-testkit.

use scute_api::Invalid;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn check<K: DeserializeOwned>(object: &Value, rules: fn(&K) -> Vec<Invalid>) -> Vec<String> {
    match serde_json::from_value(object.clone()) {
        Ok(object) => rules(&object).iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn wrong(object: &Value) -> Vec<String> {
    use scute_api::{infrastructure as infra, ipam, metal3};
    match (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()) {
        ("v1", "Secret") => Vec::new(),
        (_, "BareMetalHost") => check(object, metal3::validate_host),
        (_, "DataImage") => check(object, metal3::validate_data_image),
        (_, "HostFirmwareSettings") => check(object, metal3::validate_firmware_settings),
        (_, "HostFirmwareComponents") => check(object, metal3::validate_firmware_components),
        (_, "HostUpdatePolicy") => check(object, metal3::validate_update_policy),
        (_, "HardwareData") => check::<metal3::HardwareData>(object, |_| Vec::new()),
        (_, "FirmwareSchema") => check::<metal3::FirmwareSchema>(object, |_| Vec::new()),
        (_, "Metal3Cluster") => check(object, infra::validate_metal3_cluster),
        (_, "Metal3ClusterTemplate") => check(object, infra::validate_metal3_cluster_template),
        (_, "Metal3Machine") => check(object, infra::validate_metal3_machine),
        (_, "Metal3MachineTemplate") => check(object, infra::validate_metal3_machine_template),
        (_, "Metal3DataTemplate") => check(object, infra::validate_data_template),
        (_, "Metal3DataClaim") => check(object, infra::validate_data_claim),
        (_, "Metal3Data") => check(object, infra::validate_data),
        (_, "Metal3Remediation") => check(object, infra::validate_remediation),
        (_, "Metal3RemediationTemplate") => check(object, infra::validate_remediation_template),
        ("ipam.metal3.io/v1alpha1", "IPPool") => check(object, ipam::validate_pool),
        ("ipam.metal3.io/v1alpha1", "IPClaim") => check(object, ipam::validate_claim),
        ("ipam.metal3.io/v1alpha1", "IPAddress") => check(object, ipam::validate_address),
        (_, "IPAddressClaim") => check::<ipam::IPAddressClaim>(object, |_| Vec::new()),
        (_, "IPAddress") => check::<ipam::contract::IPAddress>(object, |_| Vec::new()),
        other => panic!("{other:?} has no type here"),
    }
}

#[test]
fn nothing_is_wrong_with_the_samples() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples");
    let mut objects = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for document in text.split("\n---\n") {
            let mut object: Value = serde_saphyr::from_str(document).unwrap();
            if object["kind"] == "BareMetalHost" && object["spec"].is_null() {
                // The schema's default.
                object["spec"] = json!({"online": false});
            }
            objects += 1;
            assert_eq!(
                wrong(&object),
                Vec::<String>::new(),
                "{}: {}",
                path.display(),
                object["metadata"]["name"]
            );
        }
    }
    assert!(objects >= 26, "{objects} objects only");
}
