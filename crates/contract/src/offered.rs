//! Which version of a provider's kind suits who speaks v1beta1 of the Cluster API kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::core::Version;
use scute_kit::{Hub, Key};

use crate::served::{CONTRACT_LABELS, crd_name};

/// Answers by group and kind, from the contract labels of the kind's definition; nothing while definitions are not known.
pub fn offered(hub: &Arc<Hub>) -> impl Fn(&str, &str) -> Option<String> + Send + Sync + 'static {
    let crds = hub.watch_meta::<CustomResourceDefinition>();
    move |group, kind| version(crds.get(&Key::new("", crd_name(group, kind)))?.labels())
}

/// The newest version of contract v1beta1, or where there is none, of v1beta2.
fn version(labels: &BTreeMap<String, String>) -> Option<String> {
    let newest = |versions: &String| {
        let versions = versions.split('_').filter(|version| !version.is_empty());
        versions.max_by_key(|version| Version::parse(version).priority()).map(str::to_owned)
    };
    CONTRACT_LABELS.iter().rev().filter_map(|(_, label)| labels.get(*label)).find_map(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_contract_comes_first() {
        let of = |labels: &[(&str, &str)]| {
            version(&labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let (old, new) = ("cluster.x-k8s.io/v1beta1", "cluster.x-k8s.io/v1beta2");
        assert_eq!(of(&[(old, "v1alpha3_v1beta1"), (new, "v1beta2")]).as_deref(), Some("v1beta1"));
        assert_eq!(of(&[(new, "v1beta2_v1beta10")]).as_deref(), Some("v1beta10"));
        assert_eq!(of(&[(old, ""), (new, "v1")]).as_deref(), Some("v1"));
        assert_eq!(of(&[]), None);
    }
}
