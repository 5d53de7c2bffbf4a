//! Which objects belong to a move. Pure.

use std::collections::{BTreeMap, BTreeSet};

use scute_api::meta::{CLUSTER_NAME_LABEL, CLUSTER_SECRET_TYPE};
use serde_json::Value;

use crate::kinds::{HIERARCHY_LABEL, MOVE_LABEL};
use crate::object::Object;

/// What is to be moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The Clusters by name; `None` is all, with what their namespace has for any of them.
    pub clusters: Option<BTreeSet<String>>,
    /// Hosts that nobody consumes, too.
    pub hosts: bool,
}

impl Scope {
    /// Whether a Cluster of this name is meant.
    #[must_use]
    pub fn has(&self, cluster: &str) -> bool {
        self.clusters.as_ref().is_none_or(|names| names.contains(cluster))
    }
}

/// Last parts of the names of a Cluster's Secrets that need no owner.
const PURPOSES: [&str; 5] = ["kubeconfig", "ca", "etcd", "proxy", "sa"];

/// UIDs of what belongs to the move.
pub fn select(objects: &[Object], scope: &Scope, already_moved: &BTreeSet<String>) -> BTreeSet<String> {
    let mut chosen: BTreeSet<String> = objects
        .iter()
        .filter(|object| is_root(object, objects, scope) || already_moved.contains(object.uid()))
        .map(|object| object.uid().to_owned())
        .collect();
    // What belongs to what was chosen in the last turn; each turn adds one at least.
    loop {
        let mut names = Names::default();
        for object in objects.iter().filter(|object| chosen.contains(object.uid())) {
            names.add(object);
        }
        let found: Vec<String> = objects
            .iter()
            .filter(|object| !chosen.contains(object.uid()))
            .filter(|object| {
                object.owners().iter().any(|owner| chosen.contains(&owner.uid)) || names.has(object)
            })
            .map(|object| object.uid().to_owned())
            .collect();
        if found.is_empty() {
            return chosen;
        }
        chosen.extend(found);
    }
}

/// UIDs of the chosen that an object outside the move names, too.
pub fn used_outside(objects: &[Object], chosen: &BTreeSet<String>) -> BTreeSet<String> {
    let mut used = Names::default();
    for object in objects.iter().filter(|object| !chosen.contains(object.uid())) {
        used.refer(object);
    }
    let named = objects.iter().filter(|object| chosen.contains(object.uid()) && used.refers_to(object));
    named.map(|object| object.uid().to_owned()).collect()
}

fn is_root(object: &Object, all: &[Object], scope: &Scope) -> bool {
    match object.kind() {
        "Cluster" => scope.has(object.name()),
        "ClusterClass" | "ClusterResourceSet" if scope.clusters.is_none() => true,
        // Chosen with the Cluster that names it.
        "ClusterClass" => false,
        "ClusterResourceSet" => {
            all.iter().any(|other| binds(other, object.uid()) && scope.has(cluster_of_binding(other)))
        }
        "BareMetalHost" => scope.hosts && object.at("/spec/consumerRef").is_null(),
        // Chosen with its host, whose name it has.
        "HardwareData" => false,
        _ => {
            let moves = object.of.moves || object.label(MOVE_LABEL).is_some();
            (moves || object.label(HIERARCHY_LABEL).is_some()) && scope.clusters.is_none()
        }
    }
}

/// Whether a ClusterResourceSetBinding is of the ClusterResourceSet with this UID.
pub fn binds(object: &Object, set: &str) -> bool {
    object.kind() == "ClusterResourceSetBinding" && object.owners().iter().any(|owner| owner.uid == set)
}

/// The Cluster that a ClusterResourceSetBinding is for.
pub fn cluster_of_binding(object: &Object) -> &str {
    match object.text("/spec/clusterName") {
        "" => object.name(),
        name => name,
    }
}

/// What the chosen objects name.
#[derive(Default)]
struct Names {
    clusters: BTreeSet<String>,
    machines: BTreeSet<String>,
    hosts: BTreeSet<String>,
    /// Kind and name.
    references: BTreeSet<(String, String)>,
}

impl Names {
    fn add(&mut self, object: &Object) {
        let name = object.name().to_owned();
        match object.kind() {
            "Cluster" => self.clusters.insert(name),
            "Metal3Machine" => self.machines.insert(name),
            "BareMetalHost" => self.hosts.insert(name),
            _ => false,
        };
        self.refer(object);
    }

    fn refer(&mut self, object: &Object) {
        let mut refer = |kind: &str, name: &Value| {
            if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
                self.references.insert((kind.to_owned(), name.to_owned()));
            }
        };
        match object.kind() {
            "Cluster" => refer("ClusterClass", object.at("/spec/topology/classRef/name")),
            "BareMetalHost" => {
                refer("Secret", object.at("/spec/bmc/credentialsName"));
                refer("Secret", object.at("/spec/preprovisioningNetworkDataName"));
                for data in ["userData", "networkData", "metaData"] {
                    refer("Secret", object.at(&format!("/spec/{data}/name")));
                }
            }
            "Metal3Machine" => {
                refer("Metal3DataTemplate", object.at("/spec/dataTemplate/name"));
                for data in ["userData", "networkData", "metaData"] {
                    refer("Secret", object.at(&format!("/spec/{data}/name")));
                    refer("Secret", object.at(&format!("/status/{data}/name")));
                }
            }
            "Metal3MachineTemplate" => {
                refer("Metal3DataTemplate", object.at("/spec/template/spec/dataTemplate/name"));
            }
            "Metal3DataTemplate" => walk(&object.is.data, &mut |fields| {
                if fields.get("kind").is_some_and(|kind| kind == "IPPool")
                    && let Some(name) = fields.get("name")
                {
                    refer("IPPool", name);
                }
                if let Some(name) = fields.get("ipAddressFromIPPool") {
                    refer("IPPool", name);
                }
            }),
            "ClusterResourceSet" => {
                for resource in object.at("/spec/resources").as_array().into_iter().flatten() {
                    refer(resource["kind"].as_str().unwrap_or_default(), &resource["name"]);
                }
            }
            "KubeadmConfig"
            | "KubeadmConfigTemplate"
            | "KubeadmControlPlane"
            | "KubeadmControlPlaneTemplate" => {
                walk(&object.is.data, &mut |fields| {
                    for from in ["contentFrom", "passwdFrom"] {
                        let name = fields.get(from).and_then(|from| from.pointer("/secret/name"));
                        refer("Secret", name.unwrap_or(&Value::Null));
                    }
                });
                refer("Secret", object.at("/status/dataSecretName"));
            }
            "Machine" => refer("Secret", object.at("/spec/bootstrap/dataSecretName")),
            _ => {}
        }
    }

    fn refers_to(&self, object: &Object) -> bool {
        self.references.contains(&(object.kind().to_owned(), object.name().to_owned()))
    }

    fn has(&self, object: &Object) -> bool {
        let of_cluster = |name: Option<&str>| name.is_some_and(|name| self.clusters.contains(name));
        let by_kind = match object.kind() {
            "Secret" => {
                let purpose =
                    object.name().rsplit_once('-').filter(|(_, purpose)| PURPOSES.contains(purpose));
                let etcd = object.name().strip_suffix("-apiserver-etcd-client");
                let typed = object.text("/type") == CLUSTER_SECRET_TYPE;
                of_cluster(purpose.map(|(cluster, _)| cluster))
                    || of_cluster(etcd)
                    || (typed && of_cluster(object.label(CLUSTER_NAME_LABEL)))
            }
            "ConfigMap" => false,
            "BareMetalHost" => {
                let consumer = object.at("/spec/consumerRef");
                consumer["kind"] == "Metal3Machine"
                    && consumer["name"].as_str().is_some_and(|name| self.machines.contains(name))
            }
            _ => {
                of_cluster(object.label(CLUSTER_NAME_LABEL))
                    || of_cluster(object.at("/spec/clusterName").as_str())
                    || (object.of.resource.group == "metal3.io" && self.hosts.contains(object.name()))
            }
        };
        by_kind || self.refers_to(object)
    }
}

/// Every map within a value.
fn walk(value: &Value, visit: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            visit(fields);
            fields.values().for_each(|value| walk(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

/// How far each object of the move is from one that no other of the move owns; `None` where owners go round in a circle.
pub fn levels(objects: &[&Object]) -> Option<BTreeMap<String, usize>> {
    let mut levels: BTreeMap<String, usize> =
        objects.iter().map(|object| (object.uid().to_owned(), 0)).collect();
    // A chain is no longer than there are kinds that own others; no real one has ten.
    for _ in 0..32 {
        let mut settled = true;
        for object in objects {
            let above = object.owners().iter().filter_map(|owner| levels.get(&owner.uid)).max();
            let level = above.map_or(0, |above| above + 1);
            if levels.insert(object.uid().to_owned(), level) != Some(level) {
                settled = false;
            }
        }
        if settled {
            return Some(levels);
        }
    }
    None
}
