//! What is put into a management cluster: custom resources, DNS, the manager with its rights, webhooks and
//! configuration, the default DataStore. In: a client and [`Facts`]. Out: objects, applied. Applying them again changes
//! nothing. Never: knows how the cluster was made.

mod anywhere;
mod apply;
mod chart;
pub mod etcd;
mod kept;
mod manager;
mod manager_config;
mod monitoring;
mod parts;
mod policies;
mod rbac;
mod storage;
mod tenants_etcd;
mod webhook_secret;
mod webhooks;

pub use anywhere::{Installation, Options};
pub use chart::Chart;
pub use kept::UpkeepError;
pub use manager::{CERTIFICATE_FOLDER, LEADER_LABEL, WEBHOOK_SECRET};
pub use manager_config::{
    LoadBalancerConfig, ManagementNetworks, ManagerConfig, ManagerConfigError, MetalConfig,
};
pub use policies::{NAME as NETWORK_POLICIES, warn as warn_of_network_policies};
pub use storage::StorageVersions;
pub use webhook_secret::WebhookSecret;
pub use webhooks::NAME as WEBHOOKS;

use manager::Manager;
use parts::Choice;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{
    api::apps::v1::Deployment,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client};
use scute_api::engines::{Engine, crds_without};
use scute_kubeadm::{ClusterFacts, IMAGE_REPOSITORY, addons};
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep, timeout};

/// Namespace of everything that belongs to Scute itself.
pub const NAMESPACE: &str = scute_api::conversion::WEBHOOK[0];
/// Handler and RuntimeClass of containers that may use KVM.
pub const KVM_RUNTIME: &str = "scute-kvm";
/// The version of the images that are installed.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Name of the manager's Deployment, ServiceAccount and configuration.
pub const MANAGER: &str = "scute-manager";

/// How long the manager may take to become available.
const PATIENCE: Duration = Duration::from_secs(180);
/// Requests under way at once.
const AT_ONCE: usize = 8;

/// Why something is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The API server refused.
    #[error("{object} could not be applied")]
    Apply {
        /// Kind and name.
        object: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// The API server did not say what is there.
    #[error("{object} could not be looked for")]
    Look {
        /// Kind and name.
        object: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// The kind is somebody else's, who is not there.
    #[error("{0} could not be applied: the cluster does not serve this kind")]
    NoKind(String),
    /// An object of ours is not one.
    #[error("{0} is not an object")]
    Malformed(String),
    /// Watching what was applied.
    #[error("{what} cannot be watched")]
    Watch {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: kube::runtime::wait::Error,
    },
    /// It took too long.
    #[error("{what} after {} s; see `kubectl -n {namespace} describe pods`", PATIENCE.as_secs())]
    Late {
        /// What has not happened.
        what: &'static str,
        /// Where to look.
        namespace: String,
    },
}

impl InstallError {
    /// Whether the API server, or a webhook that it called, failed, and not what we asked for.
    fn is_servers_fault(&self) -> bool {
        matches!(self, Self::Apply { source: kube::Error::Api(status), .. } if status.code >= 500)
    }
}

/// Where Scute's own images are unless told otherwise.
pub const REGISTRY: &str = "scute.dev";
const SCUTE: &str = "scute";
const LAUNCHER: &str = "launcher";
const RAMDISK: &str = "ramdisk";
const NODE: &str = "node";

fn image(registry: &str, name: &str, tag: &str) -> String {
    format!("{registry}/{name}:{tag}")
}

/// The image of the manager.
pub fn scute_image() -> String {
    image(REGISTRY, SCUTE, VERSION)
}

/// The image in which virtual machines run.
pub fn launcher_image() -> String {
    image(REGISTRY, LAUNCHER, VERSION)
}

/// The image with the ISO that bare-metal servers start from.
pub fn ramdisk_image() -> String {
    image(REGISTRY, RAMDISK, VERSION)
}

/// The image with the disk of Nodes.
pub fn node_image() -> String {
    image(REGISTRY, NODE, scute_kubeadm::KUBERNETES_VERSION)
}

/// Images that the installed objects need, and the one that says what guests run on.
pub fn images() -> Vec<String> {
    let coredns = format!("{IMAGE_REPOSITORY}/coredns/coredns:{}", scute_kubeadm::COREDNS_VERSION);
    vec![launcher_image(), scute_image(), coredns]
}

/// What differs from one management cluster to the other.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the manager is told.
    pub configuration: ManagerConfig,
    /// Digests of the manager's images: another image of the same name makes its Pod new.
    pub image_digest: String,
    /// The webhooks' authority and certificate.
    pub webhook: Pem,
    /// The cluster, for its DNS.
    pub dns: ClusterFacts,
    /// The etcd of the default DataStore.
    pub tenants_etcd: TenantsEtcd,
}

/// A certificate with its key and the authority that issued it, as PEM.
#[derive(Clone)]
pub struct Pem {
    /// The authority's certificate.
    pub ca: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's business.
        f.debug_struct("Pem").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The etcd that tenants' control planes keep their data in.
#[derive(Clone)]
pub struct TenantsEtcd {
    /// `host:port`.
    pub endpoint: String,
    /// Key of its authority, which signs tenants' certificates.
    pub authority_key: String,
    /// Its root user's certificate, and its authority.
    pub root: Pem,
}

impl std::fmt::Debug for TenantsEtcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantsEtcd").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Applies every CustomResourceDefinition, but for those of engines that are off, and waits until the API server serves them.
/// `webhook_ca` is the authority of the webhook that converts between versions: PEM.
pub async fn definitions(client: &Client, webhook_ca: &str, without: &[Engine]) -> Result<(), InstallError> {
    let definitions = webhooks::trusting(crds_without(without), webhook_ca);
    serve(client, definitions.iter().map(apply::to_value).collect::<Result<_, _>>()?).await
}

/// Both webhook configurations of a site, trusting an authority (PEM).
///
/// # Errors
/// When they cannot be rendered.
pub fn webhook_configurations(ca: Option<&str>, without: &[Engine]) -> Result<Vec<Value>, InstallError> {
    let configuration = ManagerConfig { without: without.to_vec(), ..ManagerConfig::default() };
    Choice::new(&Options::site(configuration))?.resolve(&webhooks::configurations(ca))
}

/// Applies definitions and waits until the API server serves them.
async fn serve(client: &Client, definitions: Vec<Value>) -> Result<(), InstallError> {
    let names: Vec<_> = definitions.iter().filter_map(|crd| crd["metadata"]["name"].as_str()).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    apply_all(client, definitions).await?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    stream::iter(names)
        .map(|name| established(&api, name))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}

async fn established(api: &Api<CustomResourceDefinition>, name: String) -> Result<(), InstallError> {
    let condition = kube::runtime::conditions::is_crd_established();
    let wait = kube::runtime::wait::await_condition(api.clone(), &name, condition);
    let late =
        |_| InstallError::Late { what: "a custom resource is not served", namespace: NAMESPACE.to_owned() };
    let done = timeout(PATIENCE, wait).await.map_err(late)?;
    done.map(drop).map_err(|source| InstallError::Watch { what: name, source })
}

/// Applies DNS and the manager, waits until the manager is available, then what needs its webhooks.
pub async fn manager(client: &Client, facts: &Facts) -> Result<(), InstallError> {
    let Facts { configuration, image_digest, webhook, dns, tenants_etcd } = facts;
    apply_all(client, vec![apply::namespace(NAMESPACE)]).await?;
    policies::warn(client).await?;
    let options = Options::site(configuration.clone());
    let choice = Choice::new(&options)?;
    let mut objects = rbac::objects();
    objects.push(rbac::kubelets());
    objects.extend(Manager { certificate: Some(webhook), image_digest }.objects());
    let mut objects = choice.resolve(&objects)?;
    objects.extend(coredns(dns));
    objects.extend(tenants_etcd::secrets(tenants_etcd));
    apply_all(client, objects).await?;
    available(client, NAMESPACE).await?;
    apply_all(client, choice.resolve(&webhooks::configurations(Some(&webhook.ca)))?).await?;
    through_webhooks(client, tenants_etcd::datastore(std::slice::from_ref(&tenants_etcd.endpoint), NAMESPACE))
        .await
}

/// Applies an object of ours as soon as its webhooks answer. After a restart of the site the Deployment still counts as
/// available for a while, and nobody tells when the manager can be called through its Service again.
async fn through_webhooks(client: &Client, object: Value) -> Result<(), InstallError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match apply::apply(client, object.clone()).await {
            Err(e) if e.is_servers_fault() && Instant::now() < until => {
                sleep(Duration::from_millis(250)).await
            }
            done => return done,
        }
    }
}

async fn available(client: &Client, namespace: &str) -> Result<(), InstallError> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let rolled_out = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|d| {
            let status = d.status.clone().unwrap_or_default();
            status.observed_generation >= d.metadata.generation
                && status.updated_replicas.unwrap_or(0) > 0
                && status.available_replicas == status.updated_replicas
                && status.replicas == status.updated_replicas
        })
    };
    let wait = kube::runtime::wait::await_condition(api, MANAGER, rolled_out);
    let late =
        |_| InstallError::Late { what: "the manager is not available", namespace: namespace.to_owned() };
    let done = timeout(PATIENCE, wait).await.map_err(late)?;
    done.map(drop).map_err(|source| InstallError::Watch { what: MANAGER.to_owned(), source })
}

/// CoreDNS as kubeadm installs it, with one replica: a site has one Node.
fn coredns(facts: &ClusterFacts) -> Vec<Value> {
    let mut objects = addons::coredns(facts, &addons::ImageOverride::default());
    for object in &mut objects {
        if object["kind"] == "Deployment" {
            object["spec"]["replicas"] = 1.into();
        }
        // Tenants' add-ons carry a label by which they are found; ours is no tenant's.
        if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
            labels.remove(addons::PROJECT_LABEL.0);
        }
    }
    objects
}

async fn apply_all(client: &Client, objects: Vec<Value>) -> Result<(), InstallError> {
    stream::iter(objects)
        .map(|object| apply::apply(client, object))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}
