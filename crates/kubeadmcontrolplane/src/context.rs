//! What the controller works with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::bootstrap::KubeadmConfig;
use scute_api::cluster::{Cluster, Machine};
use scute_contract::Externals;
use scute_contract::certificates::{Certificates, KeyPair, Purpose, Wanted, look_up};
use scute_kit::tenants::Tenants;
use scute_kit::{Error, Hub, Key, Watch};
use scute_pki::{Ca, KeyAlgorithm, LeafRequest, issue};

use crate::etcd::{ClientCertificate, Reach};

/// What the controller works with.
pub struct Context {
    /// Client, clock and watches.
    pub hub: Arc<Hub>,
    /// Tenants' API servers.
    pub tenants: Arc<Tenants>,
    /// Providers' objects.
    pub externals: Externals,
    /// Clusters.
    pub clusters: Watch<Cluster>,
    /// Machines.
    pub machines: Watch<Machine>,
    /// Their configurations.
    pub configs: Watch<KubeadmConfig>,
    /// The way to etcd.
    pub etcd: Arc<dyn Reach>,
    kept: Mutex<HashMap<Key, Kept>>,
}

/// What is kept of one control plane between runs, so that Secrets are read when they change and not at every look.
#[derive(Default)]
struct Kept {
    /// Versions of the certificates' Secrets that were read, and what was in them.
    read: Option<(Vec<Option<String>>, Arc<Certificates>)>,
    /// Versions of Secrets without an owner that are their user's.
    users: HashMap<String, String>,
    /// A client certificate for etcd, and when it is made anew.
    client: Option<(Timestamp, ClientCertificate)>,
    /// Version of the kubeconfig's Secret and of that of its authority that were found to fit, and until when.
    kubeconfig: Option<(String, String, Timestamp)>,
}

impl Context {
    /// What the controller works with.
    pub fn new(hub: Arc<Hub>, tenants: Arc<Tenants>, externals: Externals, etcd: Arc<dyn Reach>) -> Self {
        Self {
            clusters: hub.watch(),
            machines: hub.watch(),
            configs: hub.watch(),
            hub,
            tenants,
            externals,
            etcd,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a control plane that is gone.
    pub fn forget(&self, kcp: &Key) {
        self.kept().remove(kcp);
        self.externals.forget(kcp);
    }

    /// The certificates of a Cluster; read when one of their Secrets is another than before.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn certificates(
        &self,
        kcp: &Key,
        cluster: &str,
        wanted: &Wanted,
    ) -> Result<Arc<Certificates>, Error> {
        let secrets = self.hub.watch_meta::<Secret>();
        let version = |purpose: &Purpose| {
            let key = Key::new(kcp.namespace.clone(), purpose.secret_name(cluster));
            secrets.get(&key).and_then(|found| found.resource_version())
        };
        let versions: Vec<_> = wanted.purposes().iter().map(version).collect();
        if let Some((seen, read)) = self.kept().get(kcp).and_then(|kept| kept.read.as_ref())
            && *seen == versions
        {
            return Ok(Arc::clone(read));
        }
        let read = Arc::new(look_up(&self.hub, &kcp.namespace, cluster, wanted).await?);
        self.kept().entry(kcp.clone()).or_default().read = Some((versions, Arc::clone(&read)));
        Ok(read)
    }

    /// Whether a Secret of this version was found to be its user's.
    pub fn is_users(&self, kcp: &Key, secret: &str, version: &str) -> bool {
        let kept = self.kept();
        kept.get(kcp).and_then(|kept| kept.users.get(secret)).is_some_and(|seen| seen == version)
    }

    /// A Secret of this version is its user's.
    pub fn keep_users(&self, kcp: &Key, secret: String, version: String) {
        self.kept().entry(kcp.clone()).or_default().users.insert(secret, version);
    }

    /// Whether a kubeconfig of this version, with an authority of this one, was found to fit.
    pub fn kubeconfig_fits(&self, kcp: &Key, version: &str, authority: &str) -> bool {
        let now = self.hub.now();
        self.kept()
            .get(kcp)
            .and_then(|kept| kept.kubeconfig.as_ref())
            .is_some_and(|(seen, of, due)| seen == version && of == authority && now < *due)
    }

    /// A kubeconfig of this version fits until then.
    pub fn kubeconfig_is_right(&self, kcp: &Key, version: String, authority: String, due: Timestamp) {
        self.kept().entry(kcp.clone()).or_default().kubeconfig = Some((version, authority, due));
    }

    /// A client certificate for etcd, made anew when its authority changes and before it ends.
    ///
    /// # Errors
    /// When the authority cannot sign.
    pub fn etcd_client(&self, kcp: &Key, authority: &KeyPair) -> Result<ClientCertificate, String> {
        let now = self.hub.now();
        if let Some((due, client)) = self.kept().get(kcp).and_then(|kept| kept.client.as_ref())
            && client.ca_pem == authority.certificate
            && now < *due
        {
            return Ok(client.clone());
        }
        let unusable = |error: scute_pki::Error| format!("the authority of etcd cannot be used: {error}");
        let key = authority.key.as_deref().unwrap_or_default();
        let ca = Ca::load(&authority.certificate, key).map_err(unusable)?;
        let request = LeafRequest {
            algorithm: KeyAlgorithm::EcdsaP256,
            ..LeafRequest::client("scute-kubeadmcontrolplane", None)
        };
        let pair = issue(&request, &ca, now).map_err(unusable)?;
        let client = ClientCertificate { ca_pem: authority.certificate.clone(), pair };
        let due = now + request.validity / 2;
        self.kept().entry(kcp.clone()).or_default().client = Some((due, client.clone()));
        Ok(client)
    }
}
