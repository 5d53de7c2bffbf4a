//! CoreDNS and kube-proxy as kubeadm installs them, labelled as Kamaji's add-ons.

mod coredns;
mod kube_proxy;

pub use coredns::coredns;
pub use kube_proxy::kube_proxy;

use serde_json::{Value, json};

/// Label on every object of an add-on: only objects that carry it may be deleted with the add-on.
pub const PROJECT_LABEL: (&str, &str) = ("kamaji.clastix.io/project", "kamaji");

/// `imageRepository` and `imageTag` of an add-on, each optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOverride {
    /// Repository in place of the cluster's.
    pub repository: Option<String>,
    /// Tag in place of the one that belongs to the version.
    pub tag: Option<String>,
}

fn labelled(mut object: Value) -> Value {
    let (label, value) = PROJECT_LABEL;
    object["metadata"]["labels"][label] = json!(value);
    object
}
