//! The objects that a tenant shall have inside.

use scute_api::kamaji::{AddonImage, PROJECT_LABEL, TenantControlPlane};
use scute_kit::Why;
use scute_kubeadm::addons::{ImageOverride, coredns, kube_proxy};
use scute_kubeadm::{ClusterFacts, join_objects, kubelet_config, patch_kubelet_config};
use serde_json::{Value, json};

use crate::Config;

/// `scute.dev/pod-network: embedded` on a TenantControlPlane: the embedded Pod network is installed.
pub const POD_NETWORK_ANNOTATION: &str = "scute.dev/pod-network";
/// The value that asks for it.
pub const EMBEDDED: &str = "embedded";

/// All objects, in an order that can be applied, each with the label by which it is known as ours.
///
/// # Errors
/// Which field cannot be rendered.
pub fn objects(tcp: &TenantControlPlane, facts: &ClusterFacts, config: &Config) -> Result<Vec<Value>, Why> {
    let broken = |error: String| Why::new("RenderFailed", error);
    let kubelet = &tcp.spec.kubernetes.kubelet;
    let mut configuration = kubelet_config(facts);
    if !kubelet.configuration_json_patches.is_empty() {
        configuration = patch_kubelet_config(&configuration, &json!(kubelet.configuration_json_patches))
            .map_err(|error| Why::new("InvalidKubeletPatch", format!("spec.kubernetes.kubelet.{error}")))?;
    }
    let mut objects = join_objects(facts, &configuration).map_err(|error| broken(error.to_string()))?;
    if let Some(image) = &tcp.spec.addons.core_dns {
        objects.extend(coredns(facts, &image_override(image)));
    }
    if let Some(image) = &tcp.spec.addons.kube_proxy {
        objects.extend(kube_proxy(facts, &image_override(image)).map_err(|error| broken(error.to_string()))?);
    }
    let network =
        tcp.metadata.annotations.as_ref().and_then(|annotations| annotations.get(POD_NETWORK_ANNOTATION));
    if network.is_some_and(|network| network == EMBEDDED) {
        // At the endpoint rather than at the Service: a Node needs its network before kube-proxy runs there.
        let api_server = (facts.endpoint_host.as_str(), facts.endpoint_port);
        objects.extend(scute_podnet::manifests(&config.scute_image, Some(api_server)));
    }
    for object in &mut objects {
        object["metadata"]["labels"][PROJECT_LABEL] = json!("kamaji");
    }
    Ok(objects)
}

fn image_override(image: &AddonImage) -> ImageOverride {
    ImageOverride { repository: image.image_repository.clone(), tag: image.image_tag.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::kinds::{KINDS, Place};
    use crate::tenant::facts;
    use crate::tenant::fixture;

    /// What is made and never listed would never be repaired, nor removed when it is no longer wanted.
    #[test]
    fn every_object_is_of_a_kind_and_in_a_place_that_is_listed() {
        let tcp = fixture::tcp(json!({
            "metadata": { "annotations": { POD_NETWORK_ANNOTATION: EMBEDDED } },
            "spec": { "addons": { "coreDNS": {}, "kubeProxy": {} } },
        }));
        let facts = facts(&tcp, &fixture::wanted(&tcp), &fixture::endpoint(), "ca");
        let objects = objects(&tcp, &facts, &Config::default()).expect("rendered");
        assert!(objects.len() > 15, "all of them");
        for object in objects {
            let place = |place: &Place| match place {
                Place::Cluster => object["metadata"]["namespace"].is_null(),
                Place::Namespace(name) => object["metadata"]["namespace"] == *name,
            };
            let listed = |(version, kind, at): &(&str, &str, Place)| {
                object["apiVersion"] == *version && object["kind"] == *kind && place(at)
            };
            assert!(KINDS.iter().any(listed), "{} {}", object["kind"], object["metadata"]);
        }
    }
}
