//! No conversion there and back loses anything, for any object that a schema lets through; and what is written by hand
//! comes out as it should.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use proptest::prelude::*;
use scute_api::conversion::{Conversion, LEFTOVERS, conversions, convert};
use serde_json::{Map, Value, json};

/// The schema of a version of a kind.
fn schema(crds: &[CustomResourceDefinition], conversion: &Conversion, version: &str) -> JSONSchemaProps {
    let mut crds = crds.iter().map(|crd| crd.spec.clone());
    let crd = crds.find(|crd| crd.group == conversion.group && crd.names.kind == conversion.kind);
    let found = crd.and_then(|crd| crd.versions.into_iter().find(|found| found.name == version));
    let schema = found.and_then(|found| found.schema?.open_api_v3_schema);
    schema.unwrap_or_else(|| panic!("{} has no {version}", conversion.kind))
}

/// Numbers that look random and follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        // Steele and others' splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }
}

/// Something that a schema lets through. Lists and maps are short; texts come from a few, so that some are equal.
fn something(dice: &mut Dice, name: &str, schema: &JSONSchemaProps) -> Value {
    if let Some(values) = &schema.enum_ {
        let values: Vec<_> = values.iter().map(|value| &value.0).filter(|value| !value.is_null()).collect();
        return values[dice.below(values.len() as u64) as usize].clone();
    }
    match schema.type_.as_deref() {
        Some("boolean") => json!(dice.below(2) == 0),
        Some("integer") => {
            let bound = |bound: Option<f64>| bound.expect("a bound").clamp(0.0, 100_000.0) as u64;
            let (least, most) = (bound(schema.minimum), bound(schema.maximum));
            json!(least + dice.below(most - least + 1))
        }
        Some("string") if schema.format.as_deref() == Some("date-time") => json!("2026-01-01T00:00:00Z"),
        Some("string") if schema.pattern.as_deref().is_some_and(|pattern| pattern.contains("ns|us")) => {
            json!(dice.one_of(&["100s", "5m", "5m0s", "1h0m1s", "1500ms", "0s"]))
        }
        Some("string") if name == "namespace" => json!("ns"),
        Some("string")
            if schema.pattern.as_deref().is_some_and(|pattern| pattern.starts_with("^[^/]+/v")) =>
        {
            let ours = "infrastructure.cluster.x-k8s.io/v1beta1";
            json!(dice.one_of(&["a/v1", "a/v1beta1", "controlplane.cluster.x-k8s.io/v1alpha1", ours]))
        }
        Some("string") => json!(dice.one_of(&["a", "b", "c.d/e", "~f"])),
        Some("array") => list(dice, name, schema),
        Some("object") => match &schema.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(values)) => {
                let keys =
                    (0..dice.below(3)).map(|_| dice.one_of(&["a", "b", "c.d/e", "~f"])).collect::<Vec<_>>();
                keys.into_iter().map(|key| (key.to_owned(), something(dice, "", values))).collect()
            }
            _ => object(dice, schema),
        },
        _ => [json!(1), json!("x"), json!(true)][dice.below(3) as usize].clone(),
    }
}

/// A list that is a map by one of its fields has each key once.
fn list(dice: &mut Dice, name: &str, schema: &JSONSchemaProps) -> Value {
    let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items else { panic!("{name} has no items") };
    let mut found: Vec<_> = (0..dice.below(4)).map(|_| something(dice, name, items)).collect();
    for key in schema.x_kubernetes_list_map_keys.iter().flatten() {
        let mut seen = Vec::new();
        found.retain(|item| {
            let new = !seen.contains(&item[key]);
            seen.push(item[key].clone());
            new
        });
    }
    Value::Array(found)
}

fn object(dice: &mut Dice, schema: &JSONSchemaProps) -> Value {
    let mut fields = Map::new();
    for (name, field) in schema.properties.iter().flatten() {
        let required = schema.required.iter().flatten().any(|required| required == name);
        // The API server fills in what has a default.
        if required || field.default.is_some() || dice.below(3) > 0 {
            fields.insert(name.clone(), something(dice, name, field));
        }
    }
    Value::Object(fields)
}

fn an_object(dice: &mut Dice, conversion: &Conversion, version: &str, schema: &JSONSchemaProps) -> Value {
    let mut object = object(dice, schema);
    object["apiVersion"] = json!(format!("{}/{version}", conversion.group));
    object["kind"] = json!(conversion.kind);
    object["metadata"] = json!({"name": "n"});
    if dice.below(2) == 0 {
        object["metadata"]["namespace"] = json!("ns");
    }
    if dice.below(2) == 0 {
        object["metadata"]["annotations"] = json!({"a": "b"});
    }
    object
}

/// The first field of an object that a schema does not know.
fn unknown(path: &str, value: &Value, schema: &JSONSchemaProps) -> Option<String> {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return None;
    }
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match (
                schema.properties.as_ref().and_then(|known| known.get(name)),
                &schema.additional_properties,
            ) {
                (Some(field), _) => unknown(&path, value, field),
                (None, Some(JSONSchemaPropsOrBool::Schema(values))) => unknown(&path, value, values),
                (None, _) => Some(path),
            }
        }),
        Value::Array(items) => {
            let Some(JSONSchemaPropsOrArray::Schema(known)) = &schema.items else {
                return Some(path.to_owned());
            };
            items.iter().find_map(|item| unknown(&format!("{path}[]"), item, known))
        }
        _ => None,
    }
}

/// References of v1beta1 without a namespace, with it.
fn with_namespaces(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_reference = ["apiVersion", "kind", "name"].iter().all(|name| fields.contains_key(*name));
            if is_reference && fields["apiVersion"] != "v1" {
                fields.entry("namespace").or_insert(json!("ns"));
            }
            fields.values_mut().for_each(with_namespaces);
        }
        Value::Array(items) => items.iter_mut().for_each(with_namespaces),
        _ => {}
    }
}

/// Arguments, sorted.
fn with_sorted_arguments(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let ("extraArgs" | "kubeletExtraArgs", Value::Array(items)) = (name.as_str(), &mut *value)
                {
                    items.sort_by_key(|item| item["name"].as_str().unwrap_or_default().to_owned());
                }
                with_sorted_arguments(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(with_sorted_arguments),
        _ => {}
    }
}

/// Lists whose order says nothing, sorted, and with namespaces where the object has one.
fn ordered(mut object: Value) -> Value {
    with_sorted_arguments(&mut object["spec"]);
    if object.pointer("/metadata/namespace").is_some() {
        with_namespaces(&mut object["spec"]);
    }
    let lists = [
        "/spec/failureDomains",
        "/spec/template/spec/failureDomains",
        "/status/failureDomains",
        "/status/indexes",
    ];
    for list in lists {
        if let Some(Value::Array(items)) = object.pointer_mut(list) {
            items.sort_by_key(|item| item["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    let bonds = object.pointer_mut("/spec/networkData/links/bonds").and_then(Value::as_array_mut);
    for parameters in bonds.into_iter().flatten().filter_map(|bond| bond["parameters"].as_array_mut()) {
        parameters.sort_by_key(|item| item["name"].as_str().unwrap_or_default().to_owned());
    }
    object
}

#[test]
fn there_and_back_is_the_same_for_every_kind() {
    let crds = scute_api::crds();
    for conversion in conversions() {
        let both = [(conversion.old, conversion.new), (conversion.new, conversion.old)];
        for (from, to) in both {
            let (here, there) = (schema(&crds, &conversion, from), schema(&crds, &conversion, to));
            let api = |version: &str| format!("{}/{version}", conversion.group);
            let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) };
            proptest!(config, |(seed: u64)| {
                let given = an_object(&mut Dice(seed), &conversion, from, &here);
                let converted = convert(&given, &api(to)).unwrap();
                let mut plain = converted.clone();
                plain.as_object_mut().unwrap().retain(|name, _| name == "spec" || name == "status");
                prop_assert_eq!(unknown("", &plain, &there), None, "{} {}: {}", conversion.kind, to, converted);
                prop_assert_eq!(&converted["metadata"]["name"], "n");
                let back = convert(&converted, &api(from)).unwrap();
                prop_assert_eq!(ordered(back), ordered(given), "{} by way of {}", conversion.kind, converted);
            });
        }
    }
}

const OLD: &str = "infrastructure.cluster.x-k8s.io/v1beta1";
const NEW: &str = "infrastructure.cluster.x-k8s.io/v1beta2";

fn object_of(api_version: &str, kind: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "n"}, "spec": spec, "status": status})
}

fn without_leftovers(mut object: Value) -> Value {
    object["metadata"] = json!({"name": "n"});
    object
}

#[test]
fn a_cluster_of_v1beta1() {
    let old = object_of(
        OLD,
        "Metal3Cluster",
        json!({"controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}, "noCloudProvider": true,
            "failureDomains": {"rack-2": {"controlPlane": true}, "rack-1": {"attributes": {"a": "b"}}}}),
        json!({"ready": true, "failureReason": "R", "failureMessage": "m",
            "conditions": [{"type": "Old", "status": "True", "severity": "Info"}],
            "v1beta2": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    let new = object_of(
        NEW,
        "Metal3Cluster",
        json!({"controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}, "cloudProviderEnabled": false,
            "failureDomains": [{"name": "rack-1", "attributes": {"a": "b"}}, {"name": "rack-2", "controlPlane": true}]}),
        json!({"initialization": {"provisioned": true}, "conditions": [{"type": "Ready", "status": "True"}],
            "deprecated": {"v1beta1": {"failureReason": "R", "failureMessage": "m",
                "conditions": [{"type": "Old", "status": "True", "severity": "Info"}]}}}),
    );
    assert_eq!(without_leftovers(convert(&old, NEW).unwrap()), new);
    let mut both = old.clone();
    both["spec"]["cloudProviderEnabled"] = json!(false);
    assert_eq!(convert(&new, OLD).unwrap(), both, "nothing of a v1beta2 object is left over here");
}

#[test]
fn a_machine_of_v1beta1() {
    let old = object_of(
        OLD,
        "Metal3Machine",
        json!({"image": {"url": "http://i", "checksum": "c", "format": "qcow2"}, "dataTemplate": {"name": "t", "kind": "K"}}),
        json!({"ready": false, "phase": "p"}),
    );
    let new = convert(&old, NEW).unwrap();
    assert_eq!(
        new["spec"],
        json!({"image": {"url": "http://i", "checksum": "c", "diskFormat": "qcow2"}, "dataTemplate": {"name": "t"}})
    );
    assert_eq!(new["status"], json!({"initialization": {"provisioned": false}}));
    assert_eq!(convert(&new, OLD).unwrap(), old);

    let mut edited = new;
    edited["spec"]["image"]["diskFormat"] = json!("raw");
    edited["spec"].as_object_mut().unwrap().remove("dataTemplate");
    let back = convert(&edited, OLD).unwrap();
    assert_eq!(
        back["spec"],
        json!({"image": {"url": "http://i", "checksum": "c", "format": "raw"}}),
        "an edit wins"
    );
    assert_eq!(back["status"]["phase"], "p", "what the edit does not touch is kept");
    assert!(back["metadata"].get("annotations").is_none());
}

#[test]
fn what_the_old_version_has_no_word_for_is_kept() {
    let spec = json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"customDeploy": {"method": "m"}}}, "nodeReuse": true});
    let new = object_of(NEW, "Metal3MachineTemplate", spec, Value::Null);
    let old = convert(&new, OLD).unwrap();
    assert_eq!(old["spec"]["template"], json!({"spec": {"customDeploy": {"method": "m"}}}));
    let kept = old["metadata"]["annotations"][LEFTOVERS].as_str().unwrap();
    assert_eq!(kept, r#"{"set":{"/spec/template/metadata":{"labels":{"a":"b"}}}}"#);
    assert_eq!(convert(&old, NEW).unwrap(), new);
    let mut edited = old;
    edited["spec"]["nodeReuse"] = json!(false);
    assert_eq!(convert(&edited, NEW).unwrap()["spec"]["template"], new["spec"]["template"]);
}

#[test]
fn a_template_and_a_remediation_of_v1beta1() {
    let pool = json!([{"key": "k", "name": "p", "apiGroup": "ipam.metal3.io", "kind": "IPPool"}]);
    let links = |parameters: Value| json!({"links": {"bonds": [{"id": "b", "parameters": parameters}]}});
    let old = object_of(
        OLD,
        "Metal3DataTemplate",
        json!({"metaData": {"ipAddressesFromIPPool": pool}, "networkData": links(json!({"miimon": 100, "lacp_rate": "fast"}))}),
        json!({"indexes": {"b": 0, "a": 1}}),
    );
    let new = convert(&old, NEW).unwrap();
    let parameters = json!([{"name": "lacp_rate", "value": "fast"}, {"name": "miimon", "value": 100}]);
    assert_eq!(
        new["spec"],
        json!({"metaData": {"ipAddressesFromPool": pool}, "networkData": links(parameters)})
    );
    assert_eq!(new["status"], json!({"indexes": [{"name": "a", "index": 1}, {"name": "b", "index": 0}]}));
    assert_eq!(convert(&new, OLD).unwrap(), old);

    let old = object_of(OLD, "Metal3Remediation", json!({"strategy": {"timeout": "5m"}}), Value::Null);
    let new = convert(&old, NEW).unwrap();
    assert_eq!(new["spec"], json!({"strategy": {"timeoutSeconds": 300}}));
    assert_eq!(convert(&new, OLD).unwrap(), old, "as it was written");
    let mut edited = new;
    edited["spec"]["strategy"]["timeoutSeconds"] = json!(400);
    assert_eq!(convert(&edited, OLD).unwrap()["spec"], json!({"strategy": {"timeout": "6m40s"}}));
}

#[test]
fn what_is_not_ours_is_refused_and_bad_leftovers_say_nothing() {
    let object = object_of(OLD, "Metal3Cluster", json!({}), Value::Null);
    assert!(convert(&object, "infrastructure.cluster.x-k8s.io/v1alpha5").is_err());
    assert!(convert(&json!({"kind": "Metal3Cluster"}), NEW).is_err());
    assert_eq!(convert(&object, OLD).unwrap(), object);
    for bad in
        ["", "[]", r#"{"set":{"/metadata/name":"x","/spec":"x","nowhere":1}}"#, r#"{"unset":["","/spec/9"]}"#]
    {
        let mut object = object_of(OLD, "Metal3Cluster", json!({"cloudProviderEnabled": true}), Value::Null);
        object["metadata"]["annotations"] = json!({LEFTOVERS: bad});
        let new = convert(&object, NEW).unwrap();
        assert_eq!(
            (&new["spec"], &new["metadata"]["name"]),
            (&json!({"cloudProviderEnabled": true}), &json!("n")),
            "{bad}"
        );
    }
}
