//! What is written to a BareMetalHost for a Metal3Machine, as merge patches. Pure.

use k8s_openapi::api::core::v1::SecretReference;
use kube::{Resource, ResourceExt};
use scute_api::infrastructure::{Metal3Data, Metal3DataClaim, Metal3Machine, NODE_REUSE_LABEL};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_api::metal3::{BareMetalHost, Image};
use scute_contract::owners::owner;
use serde_json::{Value, json};

/// `metal3://<namespace>/<host>/<machine>`.
#[must_use]
pub fn provider_id(object: &Metal3Machine, host: &BareMetalHost) -> String {
    let namespace = object.namespace().unwrap_or_default();
    format!("metal3://{namespace}/{}/{}", host.name_any(), object.name_any())
}

/// Whether the host says that this Metal3Machine has it, by whatever version of the API.
#[must_use]
pub fn is_consumer(host: &BareMetalHost, object: &Metal3Machine) -> bool {
    let Some(consumer) = &host.spec.consumer_ref else { return false };
    let group =
        consumer.api_version.as_deref().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    let namespace = consumer.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    consumer.kind.as_deref() == Some("Metal3Machine")
        && consumer.name == object.metadata.name
        && group.is_none_or(|group| group == Metal3Machine::group(&()))
        && namespace.is_none_or(|namespace| Some(namespace) == object.metadata.namespace.as_deref())
}

/// The host is this machine's from now on, and nobody else's: the patch fails if somebody has written in between.
#[must_use]
pub fn reservation(host: &BareMetalHost, object: &Metal3Machine, cluster: &str) -> Value {
    let consumer = json!({
        "apiVersion": Metal3Machine::api_version(&()), "kind": Metal3Machine::kind(&()),
        "namespace": object.namespace(), "name": object.name_any(),
    });
    json!({
        "metadata": {
            "resourceVersion": host.resource_version(),
            "labels": { CLUSTER_NAME_LABEL: cluster, NODE_REUSE_LABEL: null },
        },
        "spec": { "consumerRef": consumer },
    })
}

/// The Secrets that a server starts with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secrets {
    /// User data.
    pub user_data: Option<SecretReference>,
    /// Metadata.
    pub meta_data: Option<SecretReference>,
    /// Network data.
    pub network_data: Option<SecretReference>,
}

impl Secrets {
    /// Those that the Metal3Machine names; else the bootstrap data, and what was rendered.
    #[must_use]
    pub fn of(object: &Metal3Machine, bootstrap: &str, data: Option<&Metal3Data>) -> Self {
        let namespace = object.metadata.namespace.clone();
        let here = |secret: SecretReference| SecretReference { namespace: namespace.clone(), ..secret };
        let bootstrap = SecretReference { name: Some(bootstrap.to_owned()), namespace: None };
        let spec = &object.spec;
        Self {
            user_data: spec.user_data.clone().or(Some(bootstrap)).map(here),
            meta_data: spec.meta_data.clone().or_else(|| data?.spec.meta_data.clone()).map(here),
            network_data: spec.network_data.clone().or_else(|| data?.spec.network_data.clone()).map(here),
        }
    }
}

/// What shall be on the host's disk, and that it shall be on.
#[must_use]
pub fn provisioning(host: &BareMetalHost, object: &Metal3Machine, secrets: &Secrets) -> Value {
    let spec = &object.spec;
    let mut patch = json!({
        "image": spec.image.as_ref().map(Image::from),
        "customDeploy": spec.custom_deploy,
        "userData": secrets.user_data,
        "metaData": secrets.meta_data,
        "networkData": secrets.network_data,
        "online": true,
    });
    if let Some(mode) = spec.automated_cleaning_mode {
        patch["automatedCleaningMode"] = json!(mode);
    }
    json!({ "metadata": { "resourceVersion": host.resource_version() }, "spec": patch })
}

/// Nothing shall be on the host's disk, and it shall be off, unless that is forbidden.
#[must_use]
pub fn clearing(host: &BareMetalHost) -> Value {
    json!({
        "metadata": { "resourceVersion": host.resource_version() },
        "spec": {
            "image": null, "customDeploy": null, "userData": null, "metaData": null, "networkData": null,
            "online": host.spec.online && host.spec.disable_power_off,
        },
    })
}

/// The host is nobody's any more; it may be kept for the machines of `keeper`.
#[must_use]
pub fn liberation(host: &BareMetalHost, keeper: Option<&str>) -> Value {
    json!({
        "metadata": {
            "resourceVersion": host.resource_version(),
            "labels": { CLUSTER_NAME_LABEL: null, NODE_REUSE_LABEL: keeper },
        },
        "spec": { "consumerRef": null },
    })
}

/// The claim for metadata and network data.
#[must_use]
pub fn claim(object: &Metal3Machine, cluster: &str) -> Metal3DataClaim {
    let mut claim = Metal3DataClaim::default();
    claim.metadata.name = object.metadata.name.clone();
    claim.metadata.namespace = object.metadata.namespace.clone();
    claim.metadata.labels = Some([(CLUSTER_NAME_LABEL.to_owned(), cluster.to_owned())].into());
    claim.metadata.owner_references = Some(vec![owner(object, true)]);
    claim.spec.template = object.spec.data_template.clone();
    claim
}
