//! What is kept of a tenant's Nodes: of each what controllers read, and of all no more than fits.
//!
//! Nodes are written by strangers. Thousands of them with hundreds of kilobytes each must not be the end of a manager
//! that serves others too.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

/// Nodes of one tenant that are kept: what Kubernetes promises for one cluster.
pub(super) const MOST_NODES: usize = 5_000;
/// Bytes, as JSON, of the Nodes of one tenant that are kept.
pub(super) const MOST_BYTES: usize = 10 << 20;
/// Of a condition's message. Kubelets write a sentence.
const LONGEST_MESSAGE: usize = 1_024;

/// Whose labels and annotations are read: Cluster API's own, those that it copies from Machines, and what a server says of
/// itself.
const DOMAINS: [&str; 4] =
    ["cluster.x-k8s.io", "metal3.io", "node-restriction.kubernetes.io", "node-role.kubernetes.io"];

/// Leaves of a Node what controllers read: name, uid, version, labels and annotations of Cluster API, providerID,
/// taints, conditions and the kubelet's description of its machine.
pub(super) fn slim(node: &mut Node) {
    let meta = node.meta_mut();
    meta.managed_fields = None;
    meta.owner_references = None;
    meta.finalizers = None;
    keep_ours(&mut meta.labels);
    keep_ours(&mut meta.annotations);
    if let Some(spec) = node.spec.as_mut() {
        spec.config_source = None;
        spec.pod_cidr = None;
        spec.pod_cidrs = None;
    }
    if let Some(status) = node.status.take() {
        let mut conditions = status.conditions;
        for message in conditions.iter_mut().flatten().filter_map(|condition| condition.message.as_mut()) {
            crate::text::cut(message, LONGEST_MESSAGE);
        }
        node.status = Some(NodeStatus { conditions, node_info: status.node_info, ..NodeStatus::default() });
    }
}

fn keep_ours(map: &mut Option<BTreeMap<String, String>>) {
    if let Some(map) = map {
        map.retain(|key, _| {
            let domain = key.split_once('/').map_or("", |(domain, _)| domain);
            DOMAINS.iter().any(|ours| {
                domain.strip_suffix(ours).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
        });
    }
}

/// The sizes of what is kept.
#[derive(Default)]
pub(super) struct Kept {
    sizes: HashMap<String, usize>,
    bytes: usize,
    /// Whether the copy lacks some that did not fit.
    pub(super) is_partial: bool,
    left_out: bool,
}

impl Kept {
    /// The event as it shall reach the copy; `None` for a Node that does not fit.
    pub(super) fn admit(&mut self, event: Event<Node>) -> Option<Event<Node>> {
        match event {
            Event::Init => {
                // Until the listing is complete it is not known whether the copy is.
                *self = Self { is_partial: self.is_partial, ..Self::default() };
                Some(Event::Init)
            }
            Event::InitDone => {
                self.is_partial = self.left_out;
                Some(Event::InitDone)
            }
            Event::InitApply(node) => self.fits(&node).then_some(Event::InitApply(node)),
            // One that does not fit any more is better unknown than stale.
            Event::Apply(node) if !self.fits(&node) => {
                self.is_partial = true;
                Some(Event::Delete(node))
            }
            Event::Delete(node) => {
                self.remove(&node.name_any());
                Some(Event::Delete(node))
            }
            Event::Apply(node) => Some(Event::Apply(node)),
        }
    }

    fn fits(&mut self, node: &Node) -> bool {
        let name = node.name_any();
        let size = serde_json::to_vec(node).map_or(0, |json| json.len());
        self.remove(&name);
        let fits = self.sizes.len() < MOST_NODES && self.bytes + size <= MOST_BYTES;
        if fits {
            self.bytes += size;
            self.sizes.insert(name, size);
        }
        self.left_out |= !fits;
        fits
    }

    fn remove(&mut self, name: &str) {
        self.bytes -= self.sizes.remove(name).unwrap_or_default();
    }

    /// Bytes of all that is kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, padding: usize) -> Node {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "uid": "u", "resourceVersion": "7",
                "labels": {"team": "x", "node-role.kubernetes.io/worker": "", "a.node-restriction.kubernetes.io/b": "1",
                    "evil-node-restriction.kubernetes.io/b": "1"},
                "annotations": {"x": "y".repeat(padding), "cluster.x-k8s.io/machine": "m", "node.cluster.x-k8s.io/a": "b"},
                "managedFields": [{"manager": "m"}],
            },
            "spec": {"providerID": "kubevirt://m", "podCIDR": "10.0.0.0/24",
                "taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {
                "images": [{"names": ["i"]}], "addresses": [{"type": "Hostname", "address": "n"}],
                "conditions": [{"type": "Ready", "status": "False", "message": "m".repeat(padding)}],
                "nodeInfo": {"architecture": "amd64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
                    "kubeProxyVersion": "", "kubeletVersion": "v1.35.4", "machineID": "", "operatingSystem": "linux",
                    "osImage": "", "systemUUID": ""},
            },
        }))
        .expect("a Node")
    }

    #[test]
    fn a_node_is_left_with_what_is_read_of_it() {
        let mut slimmed = node("n", 300_000);
        slim(&mut slimmed);
        let value = json!(slimmed);
        let keys = |pointer: &str| -> Vec<String> {
            value.pointer(pointer).and_then(|map| map.as_object()).expect(pointer).keys().cloned().collect()
        };
        assert_eq!(
            keys("/metadata/labels"),
            ["a.node-restriction.kubernetes.io/b", "node-role.kubernetes.io/worker"]
        );
        assert_eq!(keys("/metadata/annotations"), ["cluster.x-k8s.io/machine", "node.cluster.x-k8s.io/a"]);
        assert_eq!(keys("/metadata"), ["annotations", "labels", "name", "resourceVersion", "uid"]);
        assert_eq!(keys("/spec"), ["providerID", "taints"]);
        assert_eq!(keys("/status"), ["conditions", "nodeInfo"]);
        assert!(value.to_string().len() < 3_000, "{value}");
    }

    #[test]
    fn more_than_fits_is_left_out_and_known_to_be() {
        let mut kept = Kept::default();
        kept.admit(Event::Init);
        for n in 0..MOST_NODES {
            assert!(kept.admit(Event::InitApply(node(&format!("n{n}"), 0))).is_some());
        }
        assert!(!kept.is_partial);
        assert!(
            matches!(kept.admit(Event::Apply(node("n0", 1))), Some(Event::Apply(_))),
            "a known one may change"
        );
        assert!(matches!(kept.admit(Event::Apply(node("more", 0))), Some(Event::Delete(_))));
        assert!(kept.is_partial);
        kept.admit(Event::Delete(node("n1", 0)));
        assert!(matches!(kept.admit(Event::Apply(node("more", 0))), Some(Event::Apply(_))), "room again");
    }

    #[test]
    fn a_node_that_grows_beyond_the_room_goes_and_gives_its_room_back() {
        let mut kept = Kept::default();
        let before = kept.bytes();
        kept.admit(Event::Init);
        assert!(kept.admit(Event::InitApply(node("n", 0))).is_some());
        assert!(matches!(kept.admit(Event::Apply(node("n", MOST_BYTES))), Some(Event::Delete(_))));
        assert_eq!((kept.bytes(), kept.is_partial), (before, true));
    }
}
