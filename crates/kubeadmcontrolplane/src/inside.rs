//! What kubeadm left in the tenant and nobody but the control plane's owner keeps in step with the version: kubeadm's own
//! record, which those who join read, kube-proxy, and CoreDNS.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use kube::api::{Api, Patch};
use kube::{Client, ResourceExt};
use scute_api::controlplane::{KubeadmControlPlane, SKIP_COREDNS_ANNOTATION, SKIP_KUBE_PROXY_ANNOTATION};
use scute_kit::tenants::TenantKey;
use scute_kit::{Why, patch_params, said};
use serde_json::{Value, json};

use crate::context::Context;
use crate::inspect::KUBE_SYSTEM;
use crate::observe::Observed;

/// Kubeadm's record.
const RECORD: &str = "kubeadm-config";
/// Its key.
const CLUSTER_CONFIGURATION: &str = "ClusterConfiguration";

async fn client(seen: &Observed, context: &Context) -> Result<Client, Why> {
    let key = TenantKey::capi(&seen.key().namespace, &seen.cluster_name());
    context.tenants.client(&key).await.map_err(|error| Why::new("ConnectionDown", error.to_string()))
}

fn refused(what: &'static str) -> impl Fn(kube::Error) -> Why {
    move |error| Why::new("TenantNotWritten", format!("{what} of the tenant: {}", said(&error)))
}

/// Brings kubeadm's record to the version that the next Machine joins with: it renders its static Pods from it.
///
/// # Errors
/// What the tenant said.
pub async fn prepare_version(seen: &Observed, context: &Context) -> Result<(), Why> {
    let records = Api::<ConfigMap>::namespaced(client(seen, context).await?, KUBE_SYSTEM);
    let failed = refused("ConfigMap kubeadm-config");
    let Some(record) = records.get_opt(RECORD).await.map_err(&failed)? else { return Ok(()) };
    let text = record.data.as_ref().and_then(|data| data.get(CLUSTER_CONFIGURATION)).cloned();
    let Some(text) = text else { return Ok(()) };
    let unreadable = || {
        let message = "ConfigMap kubeadm-config of the tenant: ClusterConfiguration is not YAML that can be read; no Machine \
                       could join with it";
        Why::new("RecordUnreadable", message)
    };
    let before: Value = serde_saphyr::from_str(&text).map_err(|_| unreadable())?;
    let Some(after) = brought(&seen.kcp, &before).ok_or_else(unreadable)? else { return Ok(()) };
    let text = scute_kubeadm::to_yaml(&after).map_err(|_| unreadable())?;
    let patch = json!({
        "metadata": { "resourceVersion": record.resource_version() },
        "data": { CLUSTER_CONFIGURATION: text },
    });
    records.patch(RECORD, &patch_params(), &Patch::Merge(&patch)).await.map(drop).map_err(failed)
}

/// The record as it should be: `Some(None)` when it is, `None` when it is none.
fn brought(kcp: &KubeadmControlPlane, before: &Value) -> Option<Option<Value>> {
    let mut after = before.clone();
    let fields = after.as_object_mut()?;
    let version = match kcp.spec.version.strip_prefix('v') {
        Some(_) => kcp.spec.version.clone(),
        None => format!("v{}", kcp.spec.version),
    };
    fields.insert("kubernetesVersion".to_owned(), json!(version));
    let spec = kcp.spec.kubeadm_config_spec.as_ref().and_then(|spec| spec.cluster_configuration.as_ref());
    if let Some(repository) = spec.and_then(|spec| spec.image_repository.as_ref()) {
        fields.insert("imageRepository".to_owned(), json!(repository));
    }
    if let Some(gates) = spec.map(|spec| &spec.feature_gates).filter(|gates| !gates.is_empty()) {
        fields.insert("featureGates".to_owned(), json!(gates));
    }
    // Arguments and volumes have the same form in kubeadm's own configuration; it defaults what is absent.
    let parts = spec.map(|spec| {
        [
            ("apiServer", json!(spec.api_server)),
            ("controllerManager", json!(spec.controller_manager)),
            ("scheduler", json!(spec.scheduler)),
        ]
    });
    for (name, part) in parts.into_iter().flatten() {
        let Some(wanted) = part.as_object() else { continue };
        let known = fields.entry(name).or_insert_with(|| json!({}));
        for (field, value) in wanted {
            known[field.as_str()] = value.clone();
        }
    }
    Some((after != *before).then_some(after))
}

/// Brings kube-proxy and CoreDNS to the images that the version and the configuration ask for.
///
/// # Errors
/// What the tenant said.
pub async fn keep_addons(seen: &Observed, context: &Context) -> Result<(), Why> {
    let annotations = seen.kcp.annotations();
    let client = client(seen, context).await?;
    if !annotations.contains_key(SKIP_KUBE_PROXY_ANNOTATION) {
        let api = Api::<DaemonSet>::namespaced(client.clone(), KUBE_SYSTEM);
        let failed = refused("DaemonSet kube-proxy");
        // A CNI may have taken its place.
        if let Some(found) = api.get_opt("kube-proxy").await.map_err(&failed)?
            && let Some(template) = found.spec.as_ref().map(|spec| &spec.template)
            && let Some(image) = image(template, "kube-proxy")
            && let wanted = kube_proxy(&seen.kcp, image)
            && wanted != image
        {
            api.patch("kube-proxy", &patch_params(), &set_image("kube-proxy", &wanted))
                .await
                .map_err(failed)?;
        }
    }
    if !annotations.contains_key(SKIP_COREDNS_ANNOTATION) {
        let api = Api::<Deployment>::namespaced(client, KUBE_SYSTEM);
        let failed = refused("Deployment coredns");
        if let Some(found) = api.get_opt("coredns").await.map_err(&failed)?
            && let Some(template) = found.spec.as_ref().map(|spec| &spec.template)
            && let Some(image) = image(template, "coredns")
            && let wanted = coredns(&seen.kcp, image)
            && wanted != image
        {
            api.patch("coredns", &patch_params(), &set_image("coredns", &wanted)).await.map_err(failed)?;
        }
    }
    Ok(())
}

fn image<'a>(template: &'a PodTemplateSpec, container: &str) -> Option<&'a str> {
    let containers = &template.spec.as_ref()?.containers;
    containers.iter().find(|other| other.name == container)?.image.as_deref()
}

fn set_image(container: &str, image: &str) -> Patch<Value> {
    let containers = json!([{ "name": container, "image": image }]);
    Patch::Strategic(json!({ "spec": { "template": { "spec": { "containers": containers } } } }))
}

/// Repository without the last part, that part, and the tag.
fn parts(image: &str) -> (&str, &str, &str) {
    let (path, tag) = match image.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (image, ""),
    };
    let path = path.split_once('@').map_or(path, |(path, _)| path);
    let (repository, name) = path.rsplit_once('/').unwrap_or(("", path));
    (repository, name, tag)
}

fn joined(repository: &str, name: &str, tag: &str) -> String {
    match repository {
        "" => format!("{name}:{tag}"),
        _ => format!("{repository}/{name}:{tag}"),
    }
}

/// kube-proxy has the version of the control plane; `+` is not for tags.
fn kube_proxy(kcp: &KubeadmControlPlane, image: &str) -> String {
    let (repository, name, _) = parts(image);
    let spec = kcp.spec.kubeadm_config_spec.as_ref().and_then(|spec| spec.cluster_configuration.as_ref());
    let repository = spec.and_then(|spec| spec.image_repository.as_deref()).unwrap_or(repository);
    let version = kcp.spec.version.trim_start_matches('v').replace('+', "_");
    joined(repository, name, &format!("v{version}"))
}

/// CoreDNS has the image that is asked for, and its own where nothing is.
fn coredns(kcp: &KubeadmControlPlane, image: &str) -> String {
    let (repository, name, tag) = parts(image);
    let spec = kcp.spec.kubeadm_config_spec.as_ref().and_then(|spec| spec.cluster_configuration.as_ref());
    let dns = spec.and_then(|spec| spec.dns.as_ref());
    let asked = dns.and_then(|dns| dns.image_repository.clone());
    // kubeadm's default repository has a folder for it, one of somebody's own has none.
    let general = spec.and_then(|spec| spec.image_repository.clone()).filter(|_| asked.is_none());
    let repository = asked.or(general).unwrap_or_else(|| repository.to_owned());
    let tag = dns.and_then(|dns| dns.image_tag.as_deref()).unwrap_or(tag);
    joined(&repository, name, tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kcp(configuration: Value) -> KubeadmControlPlane {
        serde_json::from_value(json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1beta2", "kind": "KubeadmControlPlane",
            "metadata": {"name": "cp", "namespace": "ns"},
            "spec": {"version": "v1.35.4", "kubeadmConfigSpec": {"clusterConfiguration": configuration},
                "machineTemplate": {"spec": {"infrastructureRef":
                    {"apiGroup": "infra.io", "kind": "TestMachineTemplate", "name": "t1"}}}}
        }))
        .expect("a KubeadmControlPlane")
    }

    #[test]
    fn images_follow_the_version_and_the_configuration() {
        let plain = kcp(json!({"certificatesDir": "/etc/kubernetes/pki"}));
        assert_eq!(
            kube_proxy(&plain, "registry:5000/k/kube-proxy:v1.34.0"),
            "registry:5000/k/kube-proxy:v1.35.4"
        );
        assert_eq!(kube_proxy(&plain, "kube-proxy@sha256:abc"), "kube-proxy:v1.35.4");
        assert_eq!(coredns(&plain, "registry/coredns/coredns:v1.12.0"), "registry/coredns/coredns:v1.12.0");
        let asked = kcp(json!({"imageRepository": "mine", "dns": {"imageTag": "v1.13.1"}}));
        assert_eq!(kube_proxy(&asked, "registry/kube-proxy:v1.35.4"), "mine/kube-proxy:v1.35.4");
        assert_eq!(coredns(&asked, "registry/coredns/coredns:v1.12.0"), "mine/coredns:v1.13.1");
        let dns = kcp(json!({"imageRepository": "mine", "dns": {"imageRepository": "other"}}));
        assert_eq!(coredns(&dns, "registry/coredns/coredns:v1"), "other/coredns:v1");
    }

    #[test]
    fn kubeadms_record_is_brought_to_the_version_and_keeps_what_it_knows() {
        let asked = kcp(json!({"apiServer": {"extraArgs": [{"name": "v", "value": "4"}]}}));
        let before = json!({"kubernetesVersion": "v1.34.0", "clusterName": "c", "apiServer": {"timeoutForControlPlane": "4m"}});
        let after = brought(&asked, &before).flatten().expect("a change");
        assert_eq!(after["kubernetesVersion"], "v1.35.4");
        assert_eq!(after["clusterName"], "c");
        assert_eq!(
            after["apiServer"],
            json!({"timeoutForControlPlane": "4m", "extraArgs": [{"name": "v", "value": "4"}]})
        );
        assert_eq!(brought(&asked, &after), Some(None), "once");
        assert_eq!(brought(&asked, &json!("x")), None);
    }
}
