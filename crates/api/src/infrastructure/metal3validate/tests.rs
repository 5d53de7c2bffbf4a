//! One case for each rule: what is wrong, the field that is named, a word of what would be right.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::infrastructure::Metal3DataTemplate;

fn object<K: DeserializeOwned>(name: &str, spec: &Value) -> K {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "metal"}, "spec": spec}))
        .unwrap_or_else(|error| panic!("{spec}: {error}"))
}

fn refused(bad: &[Invalid], path: &str, word: &str) {
    assert!(bad.iter().any(|bad| bad.path == path && bad.detail.contains(word)), "{path} {word}: {bad:#?}");
}

#[test]
fn an_endpoint_is_whole_or_empty() {
    let cluster =
        |endpoint: Value| validate_metal3_cluster(&object("c", &json!({"controlPlaneEndpoint": endpoint})));
    assert_eq!(validate_metal3_cluster(&object("c", &json!({}))), []);
    for right in [json!({}), json!({"host": "", "port": 0}), json!({"host": "10.0.0.1", "port": 6443})] {
        assert_eq!(cluster(right), []);
    }
    refused(&cluster(json!({"host": "10.0.0.1"})), "spec.controlPlaneEndpoint.port", "hosted control plane");
    refused(&cluster(json!({"port": 6443})), "spec.controlPlaneEndpoint.host", "hosted control plane");
    let template = object("t", &json!({"template": {"spec": {"controlPlaneEndpoint": {"port": 1}}}}));
    refused(
        &validate_metal3_cluster_template(&template),
        "spec.template.spec.controlPlaneEndpoint.host",
        "needed",
    );
}

#[test]
fn a_machine_has_an_image() {
    let image = json!({"url": "http://images/a.qcow2", "checksum": "http://images/a.qcow2.sha256sum", "diskFormat": "qcow2"});
    let with = |field: &str, value: Value| {
        let mut spec = json!({"image": image});
        spec[field] = value;
        validate_metal3_machine(&object("m", &spec))
    };
    assert_eq!(validate_metal3_machine(&object("m", &json!({"image": image}))), []);
    let custom = validate_metal3_machine(&object("m", &json!({"customDeploy": {"method": "x"}})));
    refused(&custom, "spec.customDeploy.method", "give an image");
    refused(&with("customDeploy", json!({"method": "x"})), "spec.customDeploy.method", "give an image");
    assert_eq!(with("userData", json!({"name": "u", "namespace": "metal"})), []);
    refused(&validate_metal3_machine(&object("m", &json!({}))), "spec.image", "needed");
    refused(&with("image", json!({"url": "http://a"})), "spec.image.checksum", "is needed");
    refused(&with("image", json!({"url": "a", "diskFormat": "vdi"})), "spec.image.diskFormat", "qcow2");
    refused(&with("image", json!({"url": "a"})), "spec.image.url", "http://");
    refused(
        &with("networkData", json!({"name": "n", "namespace": "other"})),
        "spec.networkData.namespace",
        "itself",
    );
    let expressions = |operator: &str| {
        json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]},
        {"key": "a", "operator": operator, "values": ["b"]}]})
    };
    assert_eq!(with("hostSelector", expressions("NOTIN")), []);
    refused(
        &with("hostSelector", expressions("like")),
        "spec.hostSelector.matchExpressions[1].operator",
        "notin",
    );
    refused(
        &with("hostSelector", expressions("gt")),
        "spec.hostSelector.matchExpressions[1].values",
        "number",
    );
    let template =
        |spec: Value| validate_metal3_machine_template(&object("t", &json!({"template": {"spec": spec}})));
    refused(&template(json!({})), "spec.template.spec.image", "needed");
    let custom = template(json!({"customDeploy": {"method": "x"}}));
    refused(&custom, "spec.template.spec.customDeploy.method", "give an image");
}

#[test]
fn data_and_its_claim_stay_what_they_are() {
    let claim = |name: &str, namespace: &str| -> Metal3DataClaim {
        object("c", &json!({"template": {"name": name, "namespace": namespace}}))
    };
    assert_eq!(validate_data_claim(&claim("t", "metal")), []);
    refused(&validate_data_claim(&claim("", "")), "spec.template.name", "needed");
    refused(&validate_data_claim(&claim("t", "other")), "spec.template.namespace", "itself");
    refused(&validate_data_claim_change(&claim("t", ""), &claim("u", "")), "spec.template", "it is /t");

    let data = |index: i32, claim: &str| -> Metal3Data {
        object("t-3", &json!({"template": {"name": "t"}, "index": index, "claim": {"name": claim}}))
    };
    assert_eq!(validate_data(&data(3, "c")), []);
    refused(&validate_data(&data(4, "c")), "metadata.name", "must be t-4");
    refused(&validate_data_change(&data(3, "c"), &data(4, "c")), "spec.index", "it is 3");
    refused(&validate_data_change(&data(3, "c"), &data(3, "d")), "spec.claim", "it is /c");
}

#[test]
fn a_remediation_takes_its_time() {
    let with = |timeout: i32, retries: i32| {
        let strategy = json!({"type": "Reboot", "timeoutSeconds": timeout, "retryLimit": retries});
        validate_remediation(&object("r", &json!({"strategy": strategy})))
    };
    assert_eq!(with(100, 1), []);
    assert_eq!(validate_remediation(&object("r", &json!({"strategy": {}}))), [], "the defaults are right");
    refused(&with(99, 1), "spec.strategy.timeoutSeconds", "at least 100");
    refused(&with(100, 0), "spec.strategy.retryLimit", "at least 1");
    let template = object("t", &json!({"template": {"spec": {"strategy": {"timeoutSeconds": 5}}}}));
    refused(&validate_remediation_template(&template), "spec.template.spec.strategy.timeoutSeconds", "100");
}

fn template() -> Value {
    json!({
        "metaData": {"fromHostInterfaces": [{"key": "mac", "interface": "eth0"}, {"key": "boot", "fromBootMAC": true}]},
        "networkData": {
            "links": {
                "ethernets": [{"id": "eth0", "type": "phy", "macAddress": {"fromHostInterface": "eth0"}}],
                "bonds": [{"id": "bond0", "bondMode": "802.3ad", "bondLinks": ["eth0"],
                    "macAddress": {"string": "00:11:22:33:44:55"}, "parameters": [{"name": "miimon", "value": 100}]}],
                "vlans": [{"id": "vlan7", "vlanID": 7, "vlanLink": "bond0",
                    "macAddress": {"fromAnnotation": {"object": "baremetalhost", "annotation": "mac"}}}],
            },
            "networks": {
                "ipv4": [{"id": "a", "link": "vlan7", "ipAddressFromIPPool": "p",
                    "routes": [{"network": "0.0.0.0", "prefix": 0, "gateway": {"fromIPPool": "p"}, "services": {"dns": ["8.8.8.8"]}}]}],
                "ipv6SLAAC": [{"id": "b", "link": "bond0"}],
            },
            "services": {"dns": ["8.8.8.8", "fd00::1"]},
        },
    })
}

#[test]
fn a_template_says_where_everything_comes_from() {
    let of = |spec: &Value| validate_data_template(&object::<Metal3DataTemplate>("t", spec));
    assert_eq!(of(&template()), []);
    for (pointer, value, path, word) in [
        (
            "/metaData/fromHostInterfaces/0",
            json!({"key": "mac"}),
            "metaData.fromHostInterfaces[0].interface",
            "fromBootMAC",
        ),
        (
            "/metaData/fromHostInterfaces/1",
            json!({"key": "mac", "interface": "eth0", "fromBootMAC": true}),
            "metaData.fromHostInterfaces[1].interface",
            "must be empty",
        ),
        (
            "/networkData/links/ethernets/0/macAddress",
            json!({}),
            "networkData.links.ethernets[0].macAddress",
            "fromHostInterface",
        ),
        (
            "/networkData/links/bonds/0/macAddress/string",
            json!("x"),
            "networkData.links.bonds[0].macAddress.string",
            "MAC",
        ),
        (
            "/networkData/links/bonds/0/bondLinks",
            json!(["eth1"]),
            "networkData.links.bonds[0].bondLinks[0]",
            "bond0, eth0, vlan7",
        ),
        (
            "/networkData/links/bonds/0/parameters/0/name",
            json!("mode"),
            "networkData.links.bonds[0].parameters",
            "bondMode",
        ),
        ("/networkData/links/vlans/0/vlanLink", json!("x"), "networkData.links.vlans[0].vlanLink", "no link"),
        (
            "/networkData/networks/ipv4/0/ipAddressFromIPPool",
            json!(""),
            "networkData.networks.ipv4[0].fromPoolRef.name",
            "pool",
        ),
        ("/networkData/networks/ipv4/0/link", json!("x"), "networkData.networks.ipv4[0].link", "no link"),
        (
            "/networkData/networks/ipv6SLAAC/0/link",
            json!("x"),
            "networkData.networks.ipv6SLAAC[0].link",
            "no link",
        ),
        (
            "/networkData/networks/ipv4/0/routes/0/network",
            json!("::"),
            "networkData.networks.ipv4[0].routes[0].network",
            "IPv4",
        ),
        (
            "/networkData/networks/ipv4/0/routes/0/prefix",
            json!(33),
            "networkData.networks.ipv4[0].routes[0].prefix",
            "0 to 32",
        ),
        (
            "/networkData/networks/ipv4/0/routes/0/gateway",
            json!({"string": "x"}),
            "networkData.networks.ipv4[0].routes[0].gateway.string",
            "IPv4",
        ),
        (
            "/networkData/networks/ipv4/0/routes/0/services/dns",
            json!(["x"]),
            "networkData.networks.ipv4[0].routes[0].services.dns[0]",
            "IPv4",
        ),
        ("/networkData/services/dns", json!(["x"]), "networkData.services.dns[0]", "an IP address"),
    ] {
        let mut spec = template();
        *spec.pointer_mut(pointer).unwrap() = value;
        refused(&of(&spec), &format!("spec.{path}"), word);
    }
}

#[test]
fn a_template_does_not_change() {
    let old = object("t", &template());
    let with = |pointer: &str, value: Value| -> Metal3DataTemplate {
        let mut spec = template();
        *spec.pointer_mut(pointer).unwrap() = value;
        object("t", &spec)
    };
    assert_eq!(validate_data_template_change(&old, &old), []);
    refused(&validate_data_template_change(&old, &with("/metaData", json!({}))), "spec.metaData", "another");
    refused(
        &validate_data_template_change(&old, &with("/networkData/services", json!({}))),
        "spec.networkData",
        "another",
    );
}
