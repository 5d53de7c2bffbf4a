//! What `scute plan apply` writes is taken by the API that Scute serves: every field is in the CRDs.

use scute_api::infrastructure::{
    Metal3Cluster, Metal3MachineTemplate, validate_metal3_cluster, validate_metal3_machine_template,
};
use scute_api::metal3::{BareMetalHost, validate_host};
use scute_plan::input::{parse_demand, parse_fleet};
use scute_plan::metal::hosts::{Offer, offers, selector};
use scute_plan::planner::plan;
use scute_plan::render::manifests::{File, Refusal, Settings, files};
use serde_json::Value;

fn settings() -> Settings {
    Settings {
        namespace: "tenants".to_owned(),
        version: "v1.34.1".to_owned(),
        image: "scute.dev/node:v1.34.1".to_owned(),
        metal_image: None,
        clusters: true,
        data_store: "default".to_owned(),
        pods: "10.245.0.0/16".to_owned(),
        services: "10.93.0.0/16".to_owned(),
    }
}

fn asked(fleet: &str, demand: &str, settings: &Settings) -> Result<Vec<File>, Vec<Refusal>> {
    let fleet = parse_fleet("fleet.yaml", fleet).unwrap();
    let demand = parse_demand("demand.yaml", demand).unwrap();
    files(&plan(&fleet, &demand, 0), settings)
}

fn written(fleet: &str, demand: &str) -> Vec<File> {
    asked(fleet, demand, &settings()).unwrap()
}

fn example(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The schema of a kind's version, from the generated CRDs.
fn schema(object: &Value) -> Value {
    let folder = format!("{}/../../deploy/crds", env!("CARGO_MANIFEST_DIR"));
    let crds =
        std::fs::read_dir(folder).unwrap().map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap());
    for crd in crds {
        let crd: Value = serde_saphyr::from_str(&crd).unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let api =
                format!("{}/{}", crd["spec"]["group"].as_str().unwrap(), version["name"].as_str().unwrap());
            if crd["spec"]["names"]["kind"] == object["kind"] && object["apiVersion"] == api.as_str() {
                return version["schema"]["openAPIV3Schema"].clone();
            }
        }
    }
    panic!("{} {} is not served", object["apiVersion"], object["kind"]);
}

fn known(schema: &Value, value: &Value, path: &str) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let at = format!("{path}.{name}");
                let inner = match (&schema["properties"][name], &schema["additionalProperties"]) {
                    (Value::Null, Value::Null) => panic!("{at} is no field"),
                    (Value::Null, any) => any,
                    (named, _) => named,
                };
                known(inner, field, &at);
            }
        }
        Value::Array(items) => items.iter().for_each(|i| known(&schema["items"], i, path)),
        _ => {}
    }
}

/// What the webhook says of an object, for kinds that have rules beyond their schema.
fn judged(object: &Value) -> Vec<String> {
    fn of<K: serde::de::DeserializeOwned>(
        object: &Value,
        rules: impl Fn(&K) -> Vec<scute_api::Invalid>,
    ) -> Vec<String> {
        let read = serde_json::from_value(object.clone()).unwrap();
        rules(&read).iter().map(ToString::to_string).collect()
    }
    match object["kind"].as_str().unwrap() {
        "Metal3Cluster" => of::<Metal3Cluster>(object, validate_metal3_cluster),
        "Metal3MachineTemplate" => of::<Metal3MachineTemplate>(object, validate_metal3_machine_template),
        "BareMetalHost" => {
            let mut host = object.clone();
            host["spec"] = serde_json::json!({"online": false});
            of::<BareMetalHost>(&host, validate_host)
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_object_is_one_that_the_api_takes() {
    let files = written(&example("fleet.yaml"), &example("demand.yaml"));
    let mut kinds = std::collections::BTreeMap::<&str, u32>::new();
    for object in files.iter().flat_map(|f| &f.documents) {
        let kind = object["kind"].as_str().unwrap();
        *kinds.entry(kind).or_default() += 1;
        assert_eq!(judged(object), Vec::<String>::new(), "{object}");
        if kind != "Node" {
            known(&schema(object)["properties"]["spec"], &object["spec"], kind);
        }
    }
    for (kind, least) in [
        ("Node", 3),
        ("BareMetalHost", 1),
        ("Cluster", 8),
        ("KamajiControlPlane", 8),
        ("KubevirtCluster", 7),
        ("Metal3Cluster", 1),
        ("Metal3MachineTemplate", 1),
        ("KubevirtMachineTemplate", 6),
        ("KubeadmConfigTemplate", 7),
        ("MachineDeployment", 7),
    ] {
        assert!(kinds.get(kind).is_some_and(|n| *n >= least), "{kind}: {kinds:?}");
    }
}

#[test]
fn what_is_not_served_yet_is_said_and_not_written() {
    let files = written(&example("fleet.yaml"), &example("demand.yaml"));
    let of = |name: &str| files.iter().find(|f| f.name == name).unwrap();
    let pools = |name: &str| of(name).documents.iter().filter(|d| d["kind"] == "MachineDeployment").count();
    assert_eq!(pools("lab.yaml"), 1, "the pool without GPUs");
    assert!(of("lab.yaml").left[0].contains("GPUs"));
    assert_eq!((pools("telco.yaml"), of("telco.yaml").left.len()), (1, 0));
}

const FLEET: &str = "hosts:\n- {name: a, count: 2, class: small, cores: 16, memory: 64Gi}\n- {name: b, count: 3, class: big, cores: 64, memory: 512Gi}\n";
const DEMAND: &str = "tenants:\n- {name: iron, nodes: [{size: 32/256, count: 2, on: metal}]}\n";
const IMAGE: &str = "policy:\n  metalImage: {url: http://images/node.qcow2, checksum: http://images/node.qcow2.sha256sum, format: qcow2}\n";

#[test]
fn metal_nodes_without_an_image_are_refused_and_one_of_the_command_line_serves() {
    let refused = asked(FLEET, DEMAND, &settings()).unwrap_err();
    assert_eq!(refused, [Refusal::NoImage { tenant: "iron".into(), pools: vec!["iron-pool-1".into()] }]);
    assert!(refused[0].to_string().contains("metalImage (url, checksum)"), "{}", refused[0]);
    let image = |checksum: Option<&str>, format: Option<&str>| {
        serde_json::from_value(
            serde_json::json!({"url": "http://images/node", "checksum": checksum, "format": format}),
        )
        .ok()
    };
    let with = |metal_image| asked(FLEET, DEMAND, &Settings { metal_image, ..settings() });
    let refused = with(image(None, None)).unwrap_err();
    assert!(
        refused[0].to_string().starts_with("iron: metalImage.checksum: \"\" is needed"),
        "{}",
        refused[0]
    );
    assert!(with(image(None, Some("live-iso"))).is_ok(), "a live ISO needs no checksum");
    assert!(with(image(Some(&"a".repeat(64)), None)).is_ok());
}

#[test]
fn an_image_that_no_server_can_take_is_refused_where_it_is_written() {
    let text = format!(
        "policy:\n  metalImage:\n    url: ftp://images/node\n    checksum: abc\n    format: iso\n{DEMAND}"
    );
    let errors: Vec<String> =
        parse_demand("d.yaml", &text).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("d.yaml:5: policy.metalImage.format: \"iso\""), "{errors:?}");
    let text = text.replace("format: iso", "format: raw");
    let errors: Vec<String> =
        parse_demand("d.yaml", &text).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(errors[0].starts_with("d.yaml:3: policy.metalImage.url: \"ftp://images/node\""), "{errors:?}");
    assert!(errors[1].starts_with("d.yaml:4: policy.metalImage.checksum: \"abc\""), "{errors:?}");
}

/// The hosts that a pool's template may take, once the labels of the plan are on them.
fn taken(files: &[File], tenant: &str) -> Vec<String> {
    let file = |name: &str| files.iter().find(|f| f.name == name).unwrap();
    let tenant = file(&format!("{tenant}.yaml"));
    let template = tenant.documents.iter().find(|d| d["kind"] == "Metal3MachineTemplate").unwrap();
    let selector = selector(&template["spec"]["template"]["spec"]).unwrap();
    let mut hosts = file("hosts.yaml").documents.clone();
    hosts.iter_mut().for_each(|h| h["status"] = serde_json::json!({"provisioning": {"state": "available"}}));
    let offers = offers(&hosts, "tenants", &selector);
    let mut free: Vec<String> = offers.into_iter().filter(Offer::free).map(|o| o.name).collect();
    free.sort();
    free
}

#[test]
fn a_pool_of_servers_takes_those_of_its_class_and_the_spare() {
    let survive = IMAGE.replace("policy:", "policy:\n  survive: {hosts: 1}\n  managementReplicas: 0");
    let other = "- {name: soft, controlPlane: none, nodes: [{size: 2/4, count: 1}]}\n";
    let demand =
        format!("{survive}{}{other}", DEMAND.replace("{name: iron", "{name: iron, controlPlane: none"));
    let files = written(FLEET, &demand);
    let hosts = &files[0].documents;
    let role = |kind: &str, role: &str| {
        hosts
            .iter()
            .filter(|h| h["kind"] == kind && h["metadata"]["labels"]["scute.dev/role"] == role)
            .count()
    };
    assert_eq!((role("BareMetalHost", "metal"), role("BareMetalHost", "spare")), (2, 1), "{hosts:#?}");
    assert_eq!(taken(&files, "iron"), ["b-01", "b-02", "b-03"], "{hosts:#?}");
    assert!(hosts.iter().all(|h| h["kind"] == "Node" || h["metadata"]["labels"]["scute.dev/class"] == "big"));
}

#[test]
fn servers_of_one_name_that_differ_are_told_apart() {
    let fleet = "hosts:\n- {name: a, count: 2, class: epyc, cores: 96, memory: 512Gi}\n- {name: b, count: 2, class: epyc, cores: 32, memory: 256Gi}\n";
    let demand = format!(
        "{IMAGE}tenants:\n- {{name: large, controlPlane: none, nodes: [{{size: 64/300, count: 1, on: metal}}]}}\n- {{name: small, controlPlane: none, nodes: [{{size: 16/64, count: 2, on: metal}}]}}\n"
    )
    .replace("policy:", "policy:\n  managementReplicas: 0");
    let files = written(fleet, &demand);
    let large = taken(&files, "large");
    assert!(!large.is_empty() && large.iter().all(|name| name.starts_with("a-")), "{large:?}");
}

#[test]
fn the_first_infracluster_is_that_of_vms_where_there_are_any() {
    let tenants = "tenants:\n- {name: iron, nodes: [{size: 32/256, count: 1, on: metal}]}\n- {name: both, nodes: [{size: 32/256, count: 1, on: metal}, {size: 2/4, count: 1}]}\n- {name: soft, nodes: [{size: 2/4, count: 1}]}\n";
    let fleet = FLEET.replace("count: 2", "count: 4");
    let demand = format!("{IMAGE}{tenants}");
    let files = written(&fleet, &demand);
    let infra = |tenant: &str| {
        let file = files.iter().find(|f| f.name == format!("{tenant}.yaml")).unwrap();
        let cluster = file.documents.iter().find(|d| d["kind"] == "Cluster").unwrap();
        let kind = cluster["spec"]["infrastructureRef"]["kind"].as_str().unwrap();
        let object = file.documents.iter().find(|d| d["kind"] == kind).unwrap();
        assert!(object["spec"].get("controlPlaneEndpoint").is_none(), "the hosted control plane fills it in");
        kind.to_owned()
    };
    assert_eq!(["iron", "both", "soft"].map(infra), ["Metal3Cluster", "KubevirtCluster", "KubevirtCluster"]);
    let pools = asked(&fleet, &demand, &Settings { clusters: false, ..settings() }).unwrap();
    assert!(pools.iter().flat_map(|f| &f.documents).all(|d| d["kind"] != "Cluster"));
}

#[test]
fn vms_keep_the_isolation_and_reach_the_spares() {
    let files = written(&example("fleet.yaml"), &example("demand.yaml"));
    let affinity = |tenant: &str| -> String {
        let file = files.iter().find(|f| f.name == format!("{tenant}.yaml")).unwrap();
        let template = file.documents.iter().find(|d| d["kind"] == "KubevirtMachineTemplate").unwrap();
        let spec =
            &template["spec"]["template"]["spec"]["virtualMachineTemplate"]["spec"]["template"]["spec"];
        spec["affinity"].to_string()
    };
    for tenant in ["bank", "shop", "press"] {
        assert!(affinity(tenant).contains(r#""key":"scute.dev/role","operator":"In","values":["spare"]"#));
    }
    assert!(affinity("bank").contains(r#""key":"scute.dev/tenant","operator":"In","values":["bank"]"#));
    assert!(affinity("bank").contains(r#""operator":"NotIn","values":["bank"]"#));
    assert!(affinity("shop").contains(r#""key":"scute.dev/tenant","operator":"DoesNotExist""#));
    assert!(affinity("press").contains(r#""operator":"In","values":["shop"]"#));
    assert!(!affinity("shop").contains("podAntiAffinity"), "the scheduler keeps press away from both sides");
}
