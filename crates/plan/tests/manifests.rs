//! What `scute plan apply` writes is taken by the API that Scute serves: every field is in the CRDs.

use scute_plan::input::{parse_demand, parse_fleet};
use scute_plan::planner::plan;
use scute_plan::render::manifests::{File, Settings, files};
use serde_json::Value;

fn written(fleet: &str, demand: &str) -> Vec<File> {
    let fleet = parse_fleet("fleet.yaml", fleet).unwrap();
    let demand = parse_demand("demand.yaml", demand).unwrap();
    let settings = Settings {
        namespace: "tenants".to_owned(),
        version: "v1.34.1".to_owned(),
        image: "scute.dev/node:v1.34.1".to_owned(),
    };
    files(&plan(&fleet, &demand, 0), &settings)
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

#[test]
fn every_object_is_one_that_the_api_takes() {
    let files = written(&example("fleet.yaml"), &example("demand.yaml"));
    let mut checked = 0;
    for object in files.iter().flat_map(|f| &f.documents) {
        if object["kind"] == "Node" {
            continue;
        }
        let schema = schema(object);
        known(&schema["properties"]["spec"], &object["spec"], object["kind"].as_str().unwrap());
        checked += 1;
    }
    assert!(
        checked >= 3 * 6,
        "a template of the VM, one of its bootstrap data and a MachineDeployment a pool"
    );
}

#[test]
fn what_is_not_served_yet_is_said_and_not_written() {
    let files = written(&example("fleet.yaml"), &example("demand.yaml"));
    let of = |name: &str| files.iter().find(|f| f.name == name).unwrap();
    assert!(of("telco.yaml").documents.is_empty());
    assert!(of("telco.yaml").left[0].contains("metal Nodes"));
    assert_eq!(of("lab.yaml").documents.len(), 3, "the pool without GPUs");
    assert!(of("lab.yaml").left[0].contains("GPUs"));
    assert!(of("hosts.yaml").left.iter().any(|l| l.contains("metal Node of telco")));
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
