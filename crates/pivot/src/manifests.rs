//! The objects that a person gives, read and checked before anything is made. Pure.

use std::fmt;

use serde_json::Value;

/// What is to be made at the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifests {
    /// Every object, in the order of the files, each with its namespace.
    pub objects: Vec<Value>,
    /// The name of the Cluster.
    pub cluster: String,
    /// The namespace of all of them.
    pub namespace: String,
}

/// What is wrong with a file. Nothing of its content is repeated but names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The file.
    pub file: String,
    /// Kind and name of the object, or its number in the file.
    pub object: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object.as_str() {
            "" => write!(f, "{}: {}", self.file, self.why),
            object => write!(f, "{}: {object}: {}", self.file, self.why),
        }
    }
}

/// An object, and where it is from.
struct Found<'a> {
    file: &'a str,
    object: Value,
}

impl Found<'_> {
    fn error(&self, why: impl Into<String>) -> ManifestError {
        ManifestError { file: self.file.to_owned(), object: title(&self.object), why: why.into() }
    }
}

impl Manifests {
    /// Reads files, each with its name and its text. Objects without a namespace, the Cluster's too, are in `namespace`.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(files: &[(&str, &str)], namespace: &str) -> Result<Self, Vec<ManifestError>> {
        let mut errors = Vec::new();
        let mut found = Vec::new();
        for (file, text) in files {
            match documents(text) {
                Ok(objects) => found.extend(objects.into_iter().map(|object| Found { file, object })),
                Err(why) => {
                    errors.push(ManifestError { file: (*file).to_owned(), object: String::new(), why });
                }
            }
        }
        let clusters: Vec<&Found<'_>> =
            found.iter().filter(|found| is(&found.object, "cluster.x-k8s.io", "Cluster")).collect();
        let names: Vec<String> = clusters.iter().map(|cluster| title(&cluster.object)).collect();
        let (cluster, namespace) = match clusters.as_slice() {
            [one] => (name(&one.object), namespace_of(&one.object).unwrap_or(namespace).to_owned()),
            _ => {
                let why = match names.as_slice() {
                    [] => "there is no Cluster in these files; one is to become the management cluster"
                        .to_owned(),
                    names => format!(
                        "these files have {}; give one Cluster, and apply others afterwards",
                        names.join(", ")
                    ),
                };
                let files: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
                errors.push(ManifestError { file: files.join(", "), object: String::new(), why });
                (String::new(), namespace.to_owned())
            }
        };
        errors
            .extend(found.iter().filter_map(|found| Some(found.error(refusal(&found.object, &namespace)?))));
        if !errors.is_empty() {
            return Err(errors);
        }
        let placed = |Found { mut object, .. }: Found<'_>| {
            object["metadata"]["namespace"] = namespace.clone().into();
            object
        };
        let objects =
            found.into_iter().filter(|found| !is(&found.object, "", "Namespace")).map(placed).collect();
        Ok(Self { objects, cluster, namespace })
    }
}

/// Every object of a text; those of a List one by one, as kubectl has it.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    let documents = serde_saphyr::from_multiple::<Value>(text).map_err(|error| {
        // Not what stands there: it may be a password.
        let line = error.location().map_or(0, |location| location.line());
        format!("line {line} is not YAML")
    })?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).flat_map(items).collect())
}

fn items(document: Value) -> Vec<Value> {
    let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match document {
        Value::Object(mut fields) if is_list && fields.get("items").is_some_and(Value::is_array) => {
            match fields.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        document => vec![document],
    }
}

/// Why an object cannot be among them.
fn refusal(object: &Value, namespace: &str) -> Option<String> {
    for field in ["/apiVersion", "/kind", "/metadata/name"] {
        if object.pointer(field).and_then(Value::as_str).is_none_or(str::is_empty) {
            let path = field.trim_start_matches('/').replace('/', ".");
            return Some(format!("{path}: is missing; every object has one"));
        }
    }
    let kind = object["kind"].as_str().unwrap_or_default();
    if is(object, "", "Namespace") {
        let other = name(object);
        return (other != namespace).then(|| {
            format!("metadata.name: {other:?}; everything is in one namespace, here {namespace:?}")
        });
    }
    if let Some(other) = namespace_of(object).filter(|other| *other != namespace) {
        return Some(format!(
            "metadata.namespace: {other:?}; everything is in that of the Cluster, {namespace:?}"
        ));
    }
    let stays = scute_movement::stays(kind.strip_suffix("Template").unwrap_or(kind));
    stays.map(|why| format!("{why}; apply it to the new management cluster afterwards"))
}

fn is(object: &Value, group: &str, kind: &str) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    object["kind"] == kind && version.split_once('/').map_or("", |(group, _)| group) == group
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn namespace_of(object: &Value) -> Option<&str> {
    object["metadata"]["namespace"].as_str()
}

/// Kind and name, as far as there are any.
pub fn title(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or("object");
    format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or("without a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "apiVersion: cluster.x-k8s.io/v1beta2\nkind: Cluster\nmetadata: {name: foundry}\n";

    fn read(hosts: &str, cluster: &str) -> Result<Manifests, Vec<String>> {
        let read = Manifests::read(&[("hosts.yaml", hosts), ("cluster.yaml", cluster)], "default");
        read.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn all_objects_get_the_namespace_of_the_cluster() {
        let host = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n---\n";
        let cluster = CLUSTER.replace("foundry}", "foundry, namespace: metal}");
        let cluster =
            format!("---\n{cluster}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: metal}}\n");
        let read = read(host, &cluster).unwrap();
        assert_eq!((read.cluster.as_str(), read.namespace.as_str()), ("foundry", "metal"));
        let titles: Vec<_> = read.objects.iter().map(title).collect();
        assert_eq!(titles, ["Secret a", "Cluster foundry"]);
        assert!(read.objects.iter().all(|object| object["metadata"]["namespace"] == "metal"));
    }

    #[test]
    fn what_is_wrong_is_said_at_once_with_its_place() {
        let hosts = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: b}\n---\nkind: Secret\nmetadata: {name: c}\n";
        let vms = "---\napiVersion: infrastructure.cluster.x-k8s.io/v1alpha1\nkind: KubevirtMachineTemplate\nmetadata: {name: vm}\n";
        let errors = read(hosts, &format!("{CLUSTER}{vms}")).unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert_eq!(
            errors[0],
            "hosts.yaml: Secret a: metadata.namespace: \"b\"; everything is in that of the Cluster, \"default\""
        );
        assert_eq!(errors[1], "hosts.yaml: Secret c: apiVersion: is missing; every object has one");
        assert!(
            errors[2].starts_with("cluster.yaml: KubevirtMachineTemplate vm: a virtual machine runs"),
            "{errors:?}"
        );
    }

    #[test]
    fn one_cluster_is_to_become_the_management_cluster() {
        let none = read("", "").unwrap_err();
        assert!(none[0].starts_with("hosts.yaml, cluster.yaml: there is no Cluster"), "{none:?}");
        let two = read(CLUSTER, &CLUSTER.replace("foundry", "other")).unwrap_err();
        assert!(two[0].contains("Cluster foundry, Cluster other; give one"), "{two:?}");
    }

    #[test]
    fn a_file_that_is_no_yaml_is_named_and_not_quoted() {
        let errors = read("a: b\npassword: [hunter2\n", CLUSTER).unwrap_err();
        assert!(errors[0].starts_with("hosts.yaml: line "), "{errors:?}");
        assert!(!errors[0].contains("hunter2"), "{errors:?}");
    }

    #[test]
    fn the_example_is_taken() {
        let read = read("", include_str!("../../../examples/management-cluster.yaml")).unwrap();
        assert_eq!((read.cluster.as_str(), read.objects.len()), ("foundry", 5));
        let spec = &read.objects[4]["spec"]["kubeadmConfigSpec"];
        assert_eq!(spec["joinConfiguration"]["nodeRegistration"]["name"], "{{ ds.meta_data.name }}");
    }
}
