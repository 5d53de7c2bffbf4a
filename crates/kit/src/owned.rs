//! Whether an apply would change who owns what, from an object's `metadata.managedFields`. Pure, and without a schema: the
//! API server's record says by itself which lists have keys, which are sets and what is one value.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Map, Value};

/// Whether the last apply of `manager` had exactly the fields of `body`, so that the same again takes nothing away and adds
/// no owner. What has no entry was never applied.
#[must_use]
pub fn is_applied(entries: &[ManagedFieldsEntry], manager: &str, body: &Value) -> bool {
    let own = entries.iter().find(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
            && entry.api_version.as_deref() == body.get("apiVersion").and_then(Value::as_str)
    });
    let Some(Value::Object(owned)) = own.and_then(|entry| entry.fields_v1.as_ref()).map(|fields| &fields.0)
    else {
        return false;
    };
    let mut body = body.clone();
    for field in ["apiVersion", "kind"] {
        remove(&mut body, field);
    }
    // They say which object it is.
    if let Some(metadata) = body.get_mut("metadata") {
        for field in ["name", "namespace", "uid", "resourceVersion"] {
            remove(metadata, field);
        }
        if metadata.as_object().is_some_and(Map::is_empty) {
            remove(&mut body, "metadata");
        }
    }
    same(owned, &body)
}

fn remove(of: &mut Value, field: &str) {
    if let Some(of) = of.as_object_mut() {
        of.remove(field);
    }
}

/// Whether the fields of a record are those of a value. `.` stands for the value itself.
fn same(owned: &Map<String, Value>, value: &Value) -> bool {
    let mut below = owned.iter().filter(|(path, _)| *path != ".").peekable();
    // One value, whatever is in it.
    if below.peek().is_none() {
        return true;
    }
    let count = owned.len() - usize::from(owned.contains_key("."));
    match value {
        Value::Object(members) => {
            members.len() == count
                && below.all(|(path, owned)| {
                    path.strip_prefix("f:")
                        .and_then(|name| members.get(name))
                        .is_some_and(|member| inner(owned, member))
                })
        }
        Value::Array(items) => {
            items.len() == count
                && below
                    .all(|(path, owned)| items.iter().any(|item| is_item(path, item) && inner(owned, item)))
        }
        _ => false,
    }
}

fn inner(owned: &Value, value: &Value) -> bool {
    owned.as_object().is_some_and(|owned| same(owned, value))
}

/// Whether a path element of a list means this item: `k:` its keys, `v:` its value, `i:` its place (which no apply uses).
fn is_item(path: &str, item: &Value) -> bool {
    let Some((kind, text)) = path.split_once(':') else { return false };
    let Ok(said) = serde_json::from_str::<Value>(text) else { return false };
    match kind {
        // A key that the schema gives a default may be missing in what was applied.
        "k" => said
            .as_object()
            .is_some_and(|keys| keys.iter().all(|(key, value)| item.get(key).is_none_or(|own| own == value))),
        "v" => *item == said,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.into()),
            operation: Some("Apply".into()),
            api_version: Some("v1".into()),
            fields_v1: Some(FieldsV1(fields)),
            ..Default::default()
        }
    }

    fn fields() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:a": {}}, "f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}},
            "f:spec": {
                "f:one": {},
                "f:whole": {},
                "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}},
                "f:set": {"v:\"x\"": {}},
            },
        })
    }

    fn body() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Any",
            "metadata": {
                "name": "n", "namespace": "ns", "uid": "1",
                "labels": {"a": "1"},
                "ownerReferences": [{"uid": "u", "kind": "Cluster", "name": "c"}],
            },
            "spec": {
                "one": 1,
                "whole": {"a": [1, 2]},
                "ports": [{"port": 80, "name": "http"}],
                "set": ["x"],
            },
        })
    }

    fn applied(change: impl Fn(&mut Value)) -> bool {
        let mut body = body();
        change(&mut body);
        is_applied(&[entry("other", json!({})), entry("me", fields())], "me", &body)
    }

    #[test]
    fn the_same_again_is_known() {
        assert!(applied(|_| {}));
        assert!(applied(|body| body["spec"]["one"] = json!(2)), "values are not its business");
    }

    #[test]
    fn what_is_not_wanted_any_more_or_newly_wanted_is_seen() {
        assert!(!applied(|body| remove(&mut body["spec"], "one")));
        assert!(!applied(|body| body["spec"]["more"] = json!(1)));
        assert!(!applied(|body| remove(&mut body["metadata"], "labels")));
        assert!(!applied(|body| body["metadata"]["labels"]["b"] = json!("1")));
        assert!(!applied(|body| body["spec"]["ports"] = json!([])));
        assert!(!applied(|body| body["spec"]["ports"][0]["port"] = json!(81)));
        assert!(!applied(|body| remove(&mut body["spec"]["ports"][0], "name")));
        assert!(!applied(|body| body["spec"]["set"] = json!(["x", "y"])));
        assert!(!applied(|body| body["apiVersion"] = json!("v2")), "another version has other fields");
    }

    #[test]
    fn what_somebody_else_applied_is_not_ours() {
        assert!(!is_applied(&[entry("other", fields())], "me", &body()));
        assert!(!is_applied(&[], "me", &body()));
        let mut update = entry("me", fields());
        update.operation = Some("Update".into());
        assert!(!is_applied(&[update], "me", &body()));
    }
}
