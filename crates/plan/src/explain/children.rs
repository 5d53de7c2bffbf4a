//! What an object waits for: references, owned objects, and pairs that providers couple by name.

use serde_json::Value;

use super::{namespace, str_at, title};

/// Something below an object.
pub enum Child<'a> {
    /// It exists.
    Found(&'a Value),
    /// It is referred to and does not.
    Missing {
        /// What.
        object: String,
        /// By which field.
        field: String,
    },
}

/// References to follow: kind, pointer to the mapping with kind and name.
const REFERENCES: [(&str, &str); 6] = [
    ("Cluster", "/spec/controlPlaneRef"),
    ("Cluster", "/spec/infrastructureRef"),
    ("Machine", "/spec/bootstrap/configRef"),
    ("Machine", "/spec/infrastructureRef"),
    ("MachineDeployment", "/spec/template/spec/bootstrap/configRef"),
    ("MachineDeployment", "/spec/template/spec/infrastructureRef"),
];

/// Names to follow: kind, pointer to the name, kind of what it names.
const NAMES: [(&str, &str, &str); 8] = [
    ("KamajiControlPlane", "/spec/dataStoreName", "DataStore"),
    ("TenantControlPlane", "/spec/dataStore", "DataStore"),
    ("Metal3MachineTemplate", "/spec/template/spec/dataTemplate/name", "Metal3DataTemplate"),
    ("Metal3Machine", "/spec/dataTemplate/name", "Metal3DataTemplate"),
    ("Metal3DataClaim", "/spec/template/name", "Metal3DataTemplate"),
    ("Metal3DataClaim", "/status/renderedData/name", "Metal3Data"),
    ("IPClaim", "/spec/pool/name", "IPPool"),
    ("BareMetalHost", "/spec/bmc/credentialsName", "Secret"),
];

/// Kinds below by ownerReference, in the order in which they block each other.
const OWNED: [(&str, &[&str]); 9] = [
    ("KamajiControlPlane", &["TenantControlPlane"]),
    ("KubeadmControlPlane", &["Machine"]),
    ("TenantControlPlane", &["Deployment", "Service"]),
    ("MachineDeployment", &["MachineSet"]),
    ("MachineSet", &["Machine"]),
    ("KubevirtMachine", &["VirtualMachine"]),
    ("Metal3Data", &["IPClaim", "IPAddressClaim"]),
    ("VirtualMachine", &["VirtualMachineInstance"]),
    ("VirtualMachineInstance", &["Pod"]),
];

/// Children in the order in which they block.
pub fn of<'a>(objects: &'a [Value], parent: &'a Value) -> Vec<Child<'a>> {
    let kind = str_at(parent, "/kind");
    let space = namespace(parent);
    let mut found = Vec::new();
    for (_, pointer) in REFERENCES.iter().filter(|(k, _)| *k == kind) {
        let Some(reference) = parent.pointer(pointer) else { continue };
        found.extend(named(objects, str_at(reference, "/kind"), space, str_at(reference, "/name"), pointer));
    }
    for (_, pointer, child) in NAMES.iter().filter(|(k, _, _)| *k == kind) {
        found.extend(named(objects, child, space, str_at(parent, pointer), pointer));
    }
    for (_, kinds) in OWNED.iter().filter(|(k, _)| *k == kind) {
        for child in *kinds {
            found.extend(
                objects.iter().filter(|o| str_at(o, "/kind") == *child && owned(o, parent)).map(Child::Found),
            );
        }
    }
    coupled(objects, parent, &mut found);
    found
}

fn named<'a>(objects: &'a [Value], kind: &str, space: &str, name: &str, pointer: &str) -> Option<Child<'a>> {
    if kind.is_empty() || name.is_empty() {
        return None;
    }
    let same = |o: &&Value| {
        str_at(o, "/kind") == kind
            && str_at(o, "/metadata/name") == name
            && (namespace(o).is_empty() || namespace(o) == space)
    };
    match objects.iter().find(same) {
        Some(object) => Some(Child::Found(object)),
        // Secrets are seldom recorded: their absence says nothing.
        None if kind == "Secret" => None,
        None => {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            // A DataStore belongs to no namespace.
            let space = if kind == "DataStore" { "" } else { space };
            Some(Child::Missing { object: title(kind, space, name), field })
        }
    }
}

fn owned(object: &Value, parent: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.is_some_and(|owners| {
        owners.iter().any(|o| {
            str_at(o, "/kind") == str_at(parent, "/kind")
                && str_at(o, "/name") == str_at(parent, "/metadata/name")
        })
    }) && (namespace(object) == namespace(parent) || namespace(object).is_empty())
}

/// What belongs together by name or label.
fn coupled<'a>(objects: &'a [Value], parent: &'a Value, found: &mut Vec<Child<'a>>) {
    let (kind, name, space) = (str_at(parent, "/kind"), str_at(parent, "/metadata/name"), namespace(parent));
    let of = |kind: &'static str| {
        objects.iter().filter(move |o| str_at(o, "/kind") == kind && namespace(o) == space)
    };
    match kind {
        "Cluster" => {
            let mine = |o: &&Value| str_at(o, "/spec/clusterName") == name;
            let orphan = |m: &&Value| {
                str_at(m, "/spec/clusterName") == name
                    && m.pointer("/metadata/ownerReferences")
                        .and_then(Value::as_array)
                        .is_none_or(Vec::is_empty)
            };
            found.extend(of("MachineDeployment").filter(mine).map(Child::Found));
            found.extend(of("Machine").filter(orphan).map(Child::Found));
        }
        "MachineDeployment" => {
            // Recorded sets sometimes lack MachineSets: Machines carry the label of their deployment.
            let label = |m: &&Value| {
                m.pointer("/metadata/labels")
                    .and_then(|l| l.get("cluster.x-k8s.io/deployment-name"))
                    .and_then(Value::as_str)
                    == Some(name)
            };
            found.extend(of("Machine").filter(label).map(Child::Found));
        }
        "Metal3Machine" => {
            let claims = |h: &&Value| str_at(h, "/spec/consumerRef/name") == name;
            found.extend(of("BareMetalHost").filter(claims).map(Child::Found));
            let same = |c: &&Value| str_at(c, "/metadata/name") == name;
            found.extend(of("Metal3DataClaim").filter(same).map(Child::Found));
        }
        "KubevirtMachine" => {
            found.extend(
                of("VirtualMachine").filter(|v| str_at(v, "/metadata/name") == name).map(Child::Found),
            );
        }
        "VirtualMachine" => {
            found.extend(
                of("VirtualMachineInstance")
                    .filter(|v| str_at(v, "/metadata/name") == name)
                    .map(Child::Found),
            );
        }
        "VirtualMachineInstance" => {
            let label = |p: &&Value| {
                p.pointer("/metadata/labels")
                    .and_then(|l| l.get("vm.kubevirt.io/name"))
                    .and_then(Value::as_str)
                    == Some(name)
            };
            found.extend(of("Pod").filter(label).map(Child::Found));
        }
        _ => {}
    }
}
