//! What is in a ConfigMap or Secret: its hash, and the objects in the order in which they are made. Pure.

use std::collections::BTreeMap;

use kube::api::GroupVersionKind;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Values of a ConfigMap or Secret, by key.
pub type Data = BTreeMap<String, Vec<u8>>;

/// One object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Where it stands, for messages: `calico.yaml, document 3`.
    pub place: String,
    /// Its kind.
    pub kind: GroupVersionKind,
    /// Name.
    pub name: String,
    /// Namespace, where it has one.
    pub namespace: Option<String>,
    /// The object.
    pub object: Value,
}

/// Objects of one ConfigMap or Secret. They fit into a MiB; the smallest objects would be many all the same.
const MOST_OBJECTS: usize = 2_000;

/// `sha256:<hex>` of all values, one after the other in the order of their keys: what upstream writes into bindings.
#[must_use]
pub fn hash(data: &Data) -> String {
    let mut hash = Sha256::new();
    for value in data.values() {
        hash.update(value);
    }
    format!("sha256:{}", hex::encode(hash.finalize()))
}

/// The objects in all values, key by key, and of each key those first that others need; and what cannot be read, by its place.
/// Faults name places and never repeat what stands there: it may be a Secret's.
#[must_use]
pub fn objects(data: &Data) -> (Vec<Manifest>, Vec<String>) {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for (key, value) in data {
        let mut of_key = Vec::new();
        match documents(value) {
            Err(why) => faults.push(format!("{key} {why}")),
            Ok(documents) => {
                for (index, document) in documents.into_iter().enumerate() {
                    let place = format!("{key}, document {}", index + 1);
                    for object in flattened(document) {
                        match manifest(&place, object) {
                            Ok(manifest) => of_key.extend(manifest),
                            Err(fault) => faults.push(fault),
                        }
                    }
                }
            }
        }
        of_key.sort_by_key(|manifest: &Manifest| rank(&manifest.kind.kind));
        all.extend(of_key);
    }
    if all.len() > MOST_OBJECTS {
        faults.push(format!("{} objects are more than the {MOST_OBJECTS} that are taken", all.len()));
        all.truncate(MOST_OBJECTS);
    }
    (all, faults)
}

/// Documents of YAML, or one of JSON.
fn documents(value: &[u8]) -> Result<Vec<Value>, &'static str> {
    let text = std::str::from_utf8(value).map_err(|_| "is no text")?;
    if text.trim_start().starts_with(['{', '['])
        && let Ok(document) = serde_json::from_str(text)
    {
        return Ok(vec![document]);
    }
    serde_saphyr::from_multiple::<Value>(text).map_err(|_| "is neither YAML nor JSON")
}

/// The objects of a document: itself, those of a JSON list, or those of a `List`.
fn flattened(document: Value) -> Vec<Value> {
    match document {
        Value::Array(objects) => objects,
        Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
            match list.remove("items") {
                Some(Value::Array(objects)) => objects,
                _ => Vec::new(),
            }
        }
        object => vec![object],
    }
}

/// `None` for an empty document.
fn manifest(place: &str, object: Value) -> Result<Option<Manifest>, String> {
    if object.is_null() {
        return Ok(None);
    }
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    let need = |path: &str, what: &str| {
        text(path)
            .map(str::to_owned)
            .ok_or_else(|| format!("{place} has no {what}: it is no object of Kubernetes"))
    };
    let (api_version, kind) = (need("/apiVersion", "apiVersion")?, need("/kind", "kind")?);
    let name = need("/metadata/name", "metadata.name")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    Ok(Some(Manifest {
        place: place.to_owned(),
        kind: GroupVersionKind::gvk(group, version, &kind),
        name,
        namespace: text("/metadata/namespace").map(str::to_owned),
        object,
    }))
}

/// Kinds that others need, in the order in which upstream makes them.
const FIRST: [&str; 12] = [
    "Namespace",
    "CustomResourceDefinition",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Secret",
    "ConfigMap",
    "ServiceAccount",
    "LimitRange",
    "Pod",
    "ReplicaSet",
    "Endpoint",
];

fn rank(kind: &str) -> usize {
    FIRST.iter().position(|first| *first == kind).unwrap_or(FIRST.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> Data {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn read(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let (objects, faults) = objects(&data(pairs));
        (objects.iter().map(|object| format!("{} {}", object.kind.kind, object.name)).collect(), faults)
    }

    const CNI: &str = "\
# a comment alone is no document
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: cni, namespace: cni}
---
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: cni, namespace: cni}
---
apiVersion: v1
kind: Namespace
metadata: {name: cni}
";

    #[test]
    fn what_others_need_comes_first_within_a_key_and_keys_keep_their_order() {
        let (objects, faults) = read(&[
            ("a.yaml", CNI),
            (
                "b.json",
                r#"[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}},
                {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"late"}}]"#,
            ),
            ("c.json", r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"}}"#),
            (
                "d.yaml",
                "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: s}}]",
            ),
        ]);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(
            objects,
            [
                "Namespace cni",
                "ServiceAccount cni",
                "DaemonSet cni",
                "Namespace late",
                "Pod p",
                "ConfigMap one",
                "Secret s"
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_place_and_the_rest_is_read() {
        let (objects, faults) = read(&[
            ("a", "kind: Password\npassword: swordfish\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}"),
            ("b", "swordfish: [unclosed"),
            ("c", ""),
        ]);
        assert_eq!(objects, ["Pod p"]);
        assert_eq!(
            faults,
            ["a, document 1 has no apiVersion: it is no object of Kubernetes", "b is neither YAML nor JSON",]
        );
        assert!(!faults.join("").contains("swordfish"));
    }

    #[test]
    fn the_hash_is_that_of_upstream() {
        assert_eq!(
            hash(&data(&[("b", "lo"), ("a", "hel")])),
            "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "sha256 of `hello`"
        );
    }
}
