//! Everything that a KubeadmConfig's reconcile looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, ResourceExt};
use scute_api::bootstrap::ContentFormat;
use scute_api::bootstrap::{FileSource, KubeadmConfig};
use scute_api::cluster::{Cluster, Machine};
use scute_contract::certificates::{self, Certificates, Wanted};
use scute_contract::{Found, fields, named as name_of};
use scute_kit::{Key, Occupied, occupied};
use scute_kubeadm::Version;
use scute_pki::Certificate;

use crate::Context;
use crate::lock::{self, Lock};
use crate::plan::{self, Task};

/// A KubeadmConfig and what surrounds it.
pub struct Observed {
    /// The configuration.
    pub config: Arc<KubeadmConfig>,
    /// The Machine that owns it.
    pub machine: Option<Arc<Machine>>,
    /// The Machine's Cluster.
    pub cluster: Option<Arc<Cluster>>,
    /// What is known of the Cluster's CA.
    pub ca: Ca,
    /// The key pairs of a control plane, where the Machine is to be one of it.
    pub certificates: Certificates,
    /// Who begins the Cluster, where the Machine could.
    pub lock: Option<Lock>,
    /// Version of the control plane, where a file's template may ask for it.
    pub control_plane_version: Option<String>,
    /// Text of Secrets that files and users take, by Secret and key.
    pub sources: BTreeMap<(String, String), Vec<u8>>,
    /// Whether a Secret with the configuration's name exists, and whether it is the configuration's.
    pub secret: Occupied,
}

/// What is known of a Cluster's CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ca {
    /// Its Secret does not exist.
    Missing,
    /// Its Secret has no usable certificate under `tls.crt`.
    Unusable,
    /// It can be trusted.
    Known {
        /// `sha256:…` of its public key.
        hash: String,
        /// The certificate.
        pem: String,
    },
}

/// Reads, and writes nothing.
///
/// # Errors
/// When the API server does not answer.
pub async fn observe(config: Arc<KubeadmConfig>, context: &Context) -> Result<Observed, scute_kit::Error> {
    let key = Key::of(config.as_ref());
    let machine = owner_machine(&config, context);
    let cluster = machine.as_ref().and_then(|machine| {
        context.clusters.get(&Key::new(key.namespace.clone(), machine.spec.cluster_name.clone()))
    });
    let secret = secret_of(&config, context);
    let mut seen = Observed {
        config,
        machine,
        cluster,
        ca: Ca::Missing,
        certificates: Certificates::default(),
        lock: None,
        control_plane_version: None,
        sources: BTreeMap::new(),
        secret,
    };
    if seen.config.metadata.deletion_timestamp.is_some() {
        context.externals.forget(&key);
    }
    // Secrets are read only when they are about to be used.
    if let Some(task) = plan::task(&seen) {
        match (task, &seen.cluster) {
            (Task::Worker, _) => seen.ca = ca(&seen, context).await?,
            (Task::Init | Task::Join, Some(cluster)) => {
                let wanted = Wanted::of(seen.config.spec.cluster_configuration.as_ref());
                seen.certificates =
                    certificates::look_up(&context.hub, &key.namespace, &cluster.name_any(), &wanted).await?;
                seen.ca = ca(&seen, context).await?;
            }
            (Task::Init | Task::Join, None) => {}
        }
        seen.sources = sources(&seen.config, context).await?;
        seen.control_plane_version = control_plane_version(&seen, context).await;
    }
    if let (true, Some(cluster), Some(machine)) = (plan::may_hold_lock(&seen), &seen.cluster, &seen.machine) {
        seen.lock = Some(lock::look(&context.hub, cluster, &machine.name_any()).await?);
    }
    Ok(seen)
}

/// `spec.version` of the control plane object, if some file's template may ask for it and it is known.
async fn control_plane_version(seen: &Observed, context: &Context) -> Option<String> {
    let asks = |file: &scute_api::bootstrap::File| file.content_format == Some(ContentFormat::Template);
    if !seen.config.spec.files.iter().any(asks) {
        return None;
    }
    let reference = seen.cluster.as_ref()?.spec.control_plane_ref.as_ref()?;
    let namespace = seen.config.namespace().unwrap_or_default();
    let found = context.externals.get(&Key::of(seen.config.as_ref()), &namespace, reference).await;
    let Found::Object(external) = found else {
        tracing::debug!(reference = %name_of(reference), "the control plane is not known");
        return None;
    };
    let version = fields::wanted_version(&external.object)?;
    Some(version.parse::<Version>().map_or(version, |version| version.to_string()))
}

fn owner_machine(config: &KubeadmConfig, context: &Context) -> Option<Arc<Machine>> {
    let owner = config.owner_references().iter().find(|owner| {
        owner.kind == Machine::kind(&()) && owner.api_version.starts_with("cluster.x-k8s.io/")
    })?;
    let machine =
        context.machines.get(&Key::new(config.namespace().unwrap_or_default(), owner.name.clone()))?;
    (machine.metadata.uid.as_deref() == Some(owner.uid.as_str())).then_some(machine)
}

/// Bootstrap data is taken over from nobody: whoever made a Secret of this name meant something else by it.
fn secret_of(config: &KubeadmConfig, context: &Context) -> Occupied {
    let found = context.hub.watch_meta::<Secret>().get(&Key::of(config));
    occupied(found.as_deref().map(Resource::meta), &config.uid().unwrap_or_default(), None)
}

async fn ca(seen: &Observed, context: &Context) -> Result<Ca, scute_kit::Error> {
    let Some(cluster) = &seen.cluster else { return Ok(Ca::Missing) };
    let key = Key::new(cluster.namespace().unwrap_or_default(), format!("{}-ca", cluster.name_any()));
    let Some(secret) = context.hub.get::<Secret>(&key).await? else { return Ok(Ca::Missing) };
    let pem = secret.data.as_ref().and_then(|data| data.get("tls.crt"));
    let pem = pem.and_then(|pem| std::str::from_utf8(&pem.0).ok()).unwrap_or_default();
    Ok(Certificate::parse(pem).map_or(Ca::Unusable, |certificate| Ca::Known {
        hash: certificate.public_key_hash(),
        pem: pem.to_owned(),
    }))
}

async fn sources(
    config: &KubeadmConfig,
    context: &Context,
) -> Result<BTreeMap<(String, String), Vec<u8>>, scute_kit::Error> {
    let mut found = BTreeMap::new();
    for FileSource { secret } in named(config) {
        let key = Key::new(config.namespace().unwrap_or_default(), secret.name.clone());
        let data = context.hub.get::<Secret>(&key).await?.and_then(|secret| secret.data);
        if let Some(content) = data.and_then(|mut data| data.remove(&secret.key)) {
            found.insert((secret.name.clone(), secret.key.clone()), content.0);
        }
    }
    Ok(found)
}

/// The Secrets that files and users take.
pub fn named(config: &KubeadmConfig) -> impl Iterator<Item = &FileSource> {
    let files = config.spec.files.iter().filter_map(|file| file.content_from.as_ref());
    files.chain(config.spec.users.iter().filter_map(|user| user.passwd_from.as_ref()))
}
