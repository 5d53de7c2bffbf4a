use scute_api::cluster::clusterclass::ClusterClassVariable;
use serde_json::{Value, json};

use super::*;

fn variables(schemas: Value) -> Vec<ClusterClassVariable> {
    let all = schemas.as_object().expect("schemas").iter().map(|(name, schema)| {
        let variable = json!({"name": name, "required": schema["required"] == true,
            "schema": {"openAPIV3Schema": schema["schema"]}});
        serde_json::from_value(variable).expect("a variable")
    });
    all.collect()
}

fn topology(values: Value) -> Topology {
    let all: Vec<_> = values
        .as_object()
        .expect("values")
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    serde_json::from_value(json!({"classRef": {"name": "c"}, "version": "v1.35.4", "variables": all}))
        .expect("a topology")
}

fn faults(schemas: Value, values: Value) -> Vec<String> {
    let variables = variables(schemas);
    let filled = with_defaults(&topology(values), &variables);
    check_values(&filled, &variables).iter().map(ToString::to_string).collect()
}

fn proxy() -> Value {
    json!({"proxy": {"schema": {"type": "object", "required": ["url"], "properties": {
        "url": {"type": "string", "format": "uri", "maxLength": 30},
        "skip": {"type": "array", "maxItems": 2, "items": {"type": "string", "default": ""}},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 3128}}}}})
}

#[test]
fn defaults_are_filled_in_where_there_is_a_place_for_them() {
    let variables = variables(proxy());
    let filled = with_defaults(&topology(json!({"proxy": {"url": "http://p"}})), &variables);
    assert_eq!(filled.variables[0].value, json!({"url": "http://p", "port": 3128}));
    let none = with_defaults(&topology(json!({})), &variables);
    assert!(none.variables.is_empty(), "an object without a default of its own is not made: {none:?}");
}

#[test]
fn a_default_is_a_value_of_a_required_variable() {
    let schemas = json!({"image": {"required": true, "schema": {"type": "string", "default": "kindest"}}});
    assert!(faults(schemas, json!({})).is_empty());
    let none = faults(json!({"image": {"required": true, "schema": {"type": "string"}}}), json!({}));
    assert!(none[0].contains("requires a value"), "{none:?}");
}

#[test]
fn what_is_wrong_is_told_with_its_path() {
    let cases = [
        (json!({"proxy": {"skip": []}}), "spec.topology.variables[0].value.url"),
        (json!({"proxy": {"url": 1}}), "must be a text"),
        (json!({"proxy": {"url": "nowhere"}}), "must be a uri"),
        (json!({"proxy": {"url": "http://p", "port": 0}}), "must be at least 1"),
        (json!({"proxy": {"url": "http://p", "port": 1.5}}), "must be a whole number"),
        (json!({"proxy": {"url": "http://p", "skip": ["a", "b", "c"]}}), "at most 2 items"),
        (json!({"proxy": {"url": "http://p", "uri": "x"}}), "no such field; it has port, skip, url"),
        (json!({"prox": {}}), "the class has no such variable; it has proxy"),
    ];
    for (values, want) in cases {
        let faults = faults(proxy(), values.clone());
        assert!(
            faults.iter().any(|fault| fault.contains(want)),
            "{values}: {want:?} is missing in {faults:?}"
        );
    }
    assert!(faults(proxy(), json!({"proxy": {"url": "http://p", "skip": ["a"]}})).is_empty());
}

#[test]
fn combinations_of_schemas() {
    let schema = json!({"x": {"schema": {"type": "integer", "anyOf": [{"maximum": 2}, {"minimum": 9}], "not": {"enum": [1]}}}});
    for (value, fits) in [(2, true), (9, true), (5, false), (1, false)] {
        assert_eq!(faults(schema.clone(), json!({ "x": value })).is_empty(), fits, "{value}");
    }
    let either = json!({"x": {"schema": {"x-kubernetes-int-or-string": true}}});
    assert!(
        faults(either.clone(), json!({"x": "50%"})).is_empty()
            && !faults(either, json!({"x": true})).is_empty()
    );
}

#[test]
fn a_class_with_variables_that_nobody_could_use_is_refused() {
    let cases = [
        (json!({"builtin": {"schema": {"type": "string"}}}), "builtin is what every class has"),
        (json!({"a.b": {"schema": {"type": "string"}}}), "must not contain '.'"),
        (json!({"x": {"schema": {"type": "text"}}}), "must be one of object"),
        (json!({"x": {"schema": {}}}), "type"),
        (json!({"x": {"schema": {"type": "string", "pattern": "("}}}), "pattern"),
        (json!({"x": {"schema": {"type": "string", "default": 1}}}), "must be a text"),
        (json!({"x": {"schema": {"type": "integer", "enum": [1, "2"]}}}), "enum[1]"),
        (json!({"x": {"schema": {"type": "array"}}}), "a list needs a schema"),
        (json!({"x": {"schema": {"type": "object", "required": ["a"]}}}), "no such property"),
        (json!({"x": {"schema": {"type": "string", "maxLenght": 1}}}), "unknown field `maxLenght`"),
        (
            json!({"x": {"schema": {"type": "string", "x-kubernetes-validations": [{"rule": "true"}]}}}),
            "rules in CEL are not served",
        ),
    ];
    for (schemas, want) in cases {
        let faults: Vec<_> =
            check_class(&variables(schemas.clone())).iter().map(ToString::to_string).collect();
        assert!(
            faults.iter().any(|fault| fault.contains(want)),
            "{schemas}: {want:?} is missing in {faults:?}"
        );
    }
    assert!(check_class(&variables(proxy())).is_empty());
}

#[test]
fn values_are_found_by_their_path() {
    let values = json!({"proxy": {"skip": ["a", {"b": 1}]}});
    let values = values.as_object().expect("values");
    assert_eq!(find(values, "proxy.skip[1].b"), Ok(&json!(1)));
    assert!(find(values, "proxy.url").expect_err("none").contains("url is missing"));
    assert!(find(values, "proxy..url").is_err() && find(values, "[0]").is_err() && root("a[x]").is_err());
}
