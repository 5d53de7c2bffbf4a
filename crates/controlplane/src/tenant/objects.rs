//! The Secrets and the ConfigMap of a control plane, as objects.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use scute_api::kamaji::{CHECKSUM_ANNOTATION, ROTATE_ANNOTATION, TenantControlPlane};
use scute_kubeadm::{ClusterFacts, cluster_configuration};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::certificates::Data;
use super::endpoint::Endpoint;
use crate::names::{self, TenantSecret};

/// Digest of what a Secret or ConfigMap holds: SHA-256 over keys and values with their lengths, so that no two
/// contents run into each other. 32 digits, because label values are limited to 63.
pub fn checksum(data: &Data) -> String {
    let hash = data.iter().fold(Sha256::new(), |hash, (key, value)| {
        [key, value]
            .into_iter()
            .fold(hash, |hash, text| hash.chain_update((text.len() as u64).to_be_bytes()).chain_update(text))
    });
    hex::encode(hash.finalize())[..32].to_owned()
}

/// One Secret of the tenant. `rotated` is the answer to a request for rotation: when it was done.
pub fn secret(tcp: &TenantControlPlane, which: TenantSecret, data: &Data, rotated: Option<&str>) -> Secret {
    let name = which.name(&kube::ResourceExt::name_any(tcp));
    let mut meta = names::owned_meta(tcp, name, which.component(), which.lifecycle());
    let mut annotations = BTreeMap::from([(CHECKSUM_ANNOTATION.to_owned(), checksum(data))]);
    annotations.extend(rotated.map(|when| (ROTATE_ANNOTATION.to_owned(), when.to_owned())));
    meta.annotations = Some(annotations);
    Secret {
        metadata: meta,
        data: Some(
            data.iter().map(|(key, value)| (key.clone(), ByteString(value.clone().into_bytes()))).collect(),
        ),
        ..Secret::default()
    }
}

/// What the ConfigMap `T-kubeadmconfig` holds: kubeadm's configuration as JSON.
pub fn kubeadm_data(facts: &ClusterFacts, endpoint: &Endpoint) -> Data {
    let init = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "localAPIEndpoint": { "advertiseAddress": endpoint.address, "bindPort": endpoint.port },
    });
    BTreeMap::from([
        ("ClusterConfiguration".to_owned(), cluster_configuration(facts).to_string()),
        ("InitConfiguration".to_owned(), init.to_string()),
    ])
}

/// The ConfigMap `T-kubeadmconfig`.
pub fn kubeadm_config_map(tcp: &TenantControlPlane, data: &Data) -> ConfigMap {
    let name = names::kubeadm_config_map(&kube::ResourceExt::name_any(tcp));
    let mut meta = names::owned_meta(tcp, name, "kubeadmconfig", None);
    meta.annotations = Some(BTreeMap::from([(CHECKSUM_ANNOTATION.to_owned(), checksum(data))]));
    ConfigMap { metadata: meta, data: Some(data.clone()), ..ConfigMap::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_that_run_into_each_other_differ() {
        let data = |pairs: &[(&str, &str)]| -> Data {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert_ne!(checksum(&data(&[("a", "bc")])), checksum(&data(&[("ab", "c")])));
        assert_ne!(checksum(&data(&[("a", "b"), ("c", "d")])), checksum(&data(&[("a", "bcd")])));
        assert_eq!(checksum(&data(&[("a", "b")])).len(), 32);
    }
}
