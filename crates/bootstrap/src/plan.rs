//! What a KubeadmConfig needs next. Pure.

use k8s_openapi::ByteString;
use kube::ResourceExt;
use scute_api::bootstrap::{BootstrapTokenDiscovery, FileDiscovery, JoinConfiguration, KubeadmConfig};
use scute_api::meta::{ApiEndpoint, CONTROL_PLANE_LABEL};
use scute_contract::certificates::{Purpose, Wanted};
use scute_contract::paused::paused;
use scute_kit::Why;

use crate::lock::{Lock, name as lock_name};
use crate::observe::{Ca, Observed, named};

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Nothing, by somebody's wish.
    Paused(String),
    /// Nothing, until something changes that is not the user's to do.
    Wait(Why),
    /// Nothing, until the user changes something.
    Refuse(Why),
    /// Make the bootstrap data with which the host joins.
    Make(Box<Make>),
    /// Make the key pairs that are missing: no control plane object does.
    Certificates,
    /// Take the lock, if it is not taken yet, and make the bootstrap data with which the host begins the Cluster.
    Init {
        /// The version that kubeadm is told.
        version: String,
    },
    /// Take the lock away from a Machine that is gone.
    Unlock {
        /// The Machine.
        machine: String,
    },
    /// The data exists but the status was lost, as after a move: write the status again.
    Restore {
        /// Name of the Secret.
        secret: String,
    },
    /// Extend this token: the Node has not joined yet.
    Refresh(Option<String>),
    /// Nothing: the Node has joined.
    Done,
}

/// What a host is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Begin the Cluster.
    Init,
    /// Join its control plane.
    Join,
    /// Join as a worker.
    Worker,
}

/// What to make the bootstrap data of.
#[derive(Clone, Debug, PartialEq)]
pub struct Make {
    /// The join configuration with the discovery that is known; only the token may be missing.
    pub join: JoinConfiguration,
    /// Whether the spec lacks something of that.
    pub spec_lacks: bool,
}

impl Make {
    /// The token, if there is one.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.join.discovery.as_ref()?.bootstrap_token.as_ref()?.token.as_deref()
    }

    /// Whether the host finds the Cluster by a kubeconfig, and needs no token.
    #[must_use]
    pub fn by_file(&self) -> bool {
        self.join.discovery.as_ref().is_some_and(|discovery| discovery.file.is_some())
    }
}

fn created(seen: &Observed) -> bool {
    is_created(&seen.config)
}

/// Whether the bootstrap data exists.
#[must_use]
pub fn is_created(config: &KubeadmConfig) -> bool {
    let status = config.status.as_ref().and_then(|status| status.initialization.as_ref());
    status.is_some_and(|initialization| initialization.data_secret_created == Some(true))
}

/// What the host is to do, once nothing but the content of Secrets is left to look at.
#[must_use]
pub fn task(seen: &Observed) -> Option<Task> {
    before_data(seen).ok()
}

/// Whether the lock of the Cluster may be this Machine's, or become it.
#[must_use]
pub fn may_hold_lock(seen: &Observed) -> bool {
    let (Some(machine), Some(_)) = (&seen.machine, &seen.cluster) else { return false };
    let controls = machine.labels().contains_key(CONTROL_PLANE_LABEL);
    controls && (matches!(task(seen), Some(Task::Init | Task::Join)) || has_begun(&seen.config))
}

/// Whether this is the data of the host that begins the Cluster: who joins has a token in the spec.
#[must_use]
pub fn has_begun(config: &KubeadmConfig) -> bool {
    config.metadata.deletion_timestamp.is_none() && is_created(config) && token_of(config).is_none()
}

/// Whether the lock has done its work, or cannot.
#[must_use]
pub fn gives_lock_back(seen: &Observed, plan: &Plan) -> bool {
    let initialized = seen.cluster.as_ref().is_some_and(|cluster| cluster.is_initialized());
    let stuck = matches!(plan, Plan::Wait(_) | Plan::Refuse(_)) && !created(seen);
    seen.lock == Some(Lock::Mine) && (initialized || stuck)
}

/// What comes next.
#[must_use]
pub fn plan(seen: &Observed) -> Plan {
    match before_data(seen) {
        Err(plan) => plan,
        Ok(task) => common(seen).err().unwrap_or_else(|| match task {
            Task::Init => init(seen),
            Task::Join | Task::Worker => make(seen, task),
        }),
    }
}

/// Everything that is decided without looking into a Secret.
fn before_data(seen: &Observed) -> Result<Task, Plan> {
    let wait = |reason: &'static str, message: String| Err(Plan::Wait(Why::new(reason, message)));
    if seen.config.metadata.deletion_timestamp.is_some() {
        return Err(Plan::Done);
    }
    let Some(machine) = &seen.machine else {
        return wait("WaitingForMachine", "Waiting for a Machine to own the KubeadmConfig".to_owned());
    };
    let Some(cluster) = &seen.cluster else {
        return wait("WaitingForCluster", format!("Cluster {} does not exist", machine.spec.cluster_name));
    };
    if let Some(why) = paused(Some(cluster.as_ref()), seen.config.as_ref()) {
        return Err(Plan::Paused(why));
    }
    if created(seen) {
        let joined = machine.status.as_ref().is_some_and(|status| status.node_ref.is_some());
        return Err(if joined || machine.metadata.deletion_timestamp.is_some() {
            Plan::Done
        } else {
            Plan::Refresh(token(seen))
        });
    }
    if let Some(secret) = machine.spec.bootstrap.data_secret_name.clone().filter(|name| !name.is_empty()) {
        return Err(Plan::Restore { secret });
    }
    let initialization = cluster.status.as_ref().and_then(|status| status.initialization.clone());
    if initialization.unwrap_or_default().infrastructure_provisioned != Some(true) {
        let message = "Waiting for Cluster status.initialization.infrastructureProvisioned to be true";
        return wait("WaitingForClusterInfrastructureReady", message.to_owned());
    }
    let controls = machine.labels().contains_key(CONTROL_PLANE_LABEL);
    match (controls, cluster.is_initialized()) {
        (true, true) => Ok(Task::Join),
        (true, false) => Ok(Task::Init),
        (false, false) => {
            let message = "Waiting for Cluster status.initialization.controlPlaneInitialized to be true";
            wait("WaitingForControlPlaneInitialized", message.to_owned())
        }
        (false, true) => {
            let join = seen.config.spec.join_configuration.as_ref();
            if join.is_some_and(|join| join.control_plane.is_some()) {
                let message = "spec.joinConfiguration.controlPlane is set, but the Machine is a worker: it has no label cluster.x-k8s.io/control-plane";
                return Err(Plan::Refuse(Why::new("InvalidConfiguration", message)));
            }
            Ok(Task::Worker)
        }
    }
}

fn token(seen: &Observed) -> Option<String> {
    token_of(&seen.config)
}

fn token_of(config: &KubeadmConfig) -> Option<String> {
    let join = config.spec.join_configuration.as_ref()?;
    join.discovery.as_ref()?.bootstrap_token.as_ref()?.token.clone()
}

/// What every host needs: a name for its data, and what Secrets hold.
fn common(seen: &Observed) -> Result<(), Plan> {
    let name = seen.config.name_any();
    if !seen.secret.is_writable() {
        let message = format!("Secret {name} exists and is not the KubeadmConfig's: rename or delete it");
        return Err(Plan::Refuse(Why::new("SecretNameTaken", message)));
    }
    let missing = named(&seen.config)
        .find(|source| !seen.sources.contains_key(&(source.secret.name.clone(), source.secret.key.clone())));
    if let Some(source) = missing {
        let message =
            format!("Secret {} with key {:?} does not exist", source.secret.name, source.secret.key);
        return Err(Plan::Wait(Why::new("WaitingForSecret", message)));
    }
    Ok(())
}

/// Key pairs first, then the lock, then the data.
fn init(seen: &Observed) -> Plan {
    let (Some(cluster), Some(machine)) = (&seen.cluster, &seen.machine) else { return Plan::Done };
    if machine.metadata.deletion_timestamp.is_some() {
        return Plan::Done;
    }
    let Some(version) = machine.spec.version.clone() else {
        let message =
            "Machine spec.version must be set: kubeadm init would take the newest Kubernetes there is";
        return Plan::Refuse(Why::new("InvalidConfiguration", message));
    };
    match seen.lock.as_ref() {
        Some(Lock::Held(holder)) => {
            let message = format!("Machine {holder} begins the Cluster");
            return Plan::Wait(Why::new("WaitingForControlPlaneInitialized", message));
        }
        Some(Lock::Lost(holder)) => return Plan::Unlock { machine: holder.clone() },
        Some(Lock::Unreadable) => {
            let message = format!(
                "ConfigMap {} does not say which Machine begins the Cluster: delete it",
                lock_name(&cluster.name_any())
            );
            return Plan::Refuse(Why::new("LockUnreadable", message));
        }
        Some(Lock::Free | Lock::Mine) | None => {}
    }
    if let Some(wanting) = seen.certificates.wanting(&cluster.name_any()) {
        let wanted = Wanted::of(seen.config.spec.cluster_configuration.as_ref());
        let mine = cluster.spec.control_plane_ref.is_none() && seen.certificates.unusable.is_empty();
        if mine && seen.certificates.missing.iter().any(|purpose| !wanted.is_users(*purpose)) {
            return Plan::Certificates;
        }
        return Plan::Wait(Why::new("WaitingForCertificates", wanting));
    }
    Plan::Init { version }
}

fn make(seen: &Observed, task: Task) -> Plan {
    let (Some(cluster), Some(_)) = (&seen.cluster, &seen.machine) else { return Plan::Done };
    if task == Task::Join
        && let Some(wanting) = seen.certificates.wanting(&cluster.name_any())
    {
        return Plan::Wait(Why::new("WaitingForCertificates", wanting));
    }
    let mut join = seen.config.spec.join_configuration.clone().unwrap_or_default();
    let before = join.clone();
    if task == Task::Join {
        join.control_plane.get_or_insert_default();
    }
    let endpoint = cluster.spec.control_plane_endpoint.as_ref();
    if let Some(file) = join.discovery.as_mut().and_then(|discovery| discovery.file.as_mut()) {
        // Filled in for the host only: the user's file says everything itself, or is made anew from the Cluster.
        if let Err(plan) = discover_by_file(file, endpoint, seen) {
            return plan;
        }
        return Plan::Make(Box::new(Make { join, spec_lacks: false }));
    }
    let mut token = join.discovery.clone().unwrap_or_default().bootstrap_token.unwrap_or_default();
    if let Err(plan) = discover(&mut token, endpoint, seen) {
        return plan;
    }
    let lacks_token = token.token.is_none();
    join.discovery.get_or_insert_default().bootstrap_token = Some(token);
    let spec_lacks = lacks_token || join.discovery != before.discovery;
    Plan::Make(Box::new(Make { join, spec_lacks }))
}

fn endpoint_of(endpoint: Option<&ApiEndpoint>) -> Result<String, Plan> {
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.is_set()) else {
        let message = "Waiting for Cluster spec.controlPlaneEndpoint to be set";
        return Err(Plan::Wait(Why::new("WaitingForControlPlaneEndpoint", message)));
    };
    let port = u16::try_from(endpoint.port).unwrap_or_default();
    Ok(scute_kubeadm::join_host_port(&endpoint.host, port))
}

/// Fills in the server and its CA where a kubeconfig is to be made and the user gave none.
fn discover_by_file(
    file: &mut FileDiscovery,
    endpoint: Option<&ApiEndpoint>,
    seen: &Observed,
) -> Result<(), Plan> {
    let Some(config) = &mut file.kube_config else { return Ok(()) };
    let cluster = config.cluster.get_or_insert_default();
    if cluster.server.is_none() {
        cluster.server = Some(format!("https://{}", endpoint_of(endpoint)?));
    }
    if cluster.certificate_authority_data.is_none() {
        let pair = seen.certificates.pairs.get(&Purpose::ClusterCa).map(|pair| pair.certificate.clone());
        let pem = pair.or_else(|| match &seen.ca {
            Ca::Known { pem, .. } => Some(pem.clone()),
            Ca::Missing | Ca::Unusable => None,
        });
        let Some(pem) = pem else { return Err(waiting_for_ca(seen)) };
        cluster.certificate_authority_data = Some(ByteString(pem.into_bytes()));
    }
    Ok(())
}

fn waiting_for_ca(seen: &Observed) -> Plan {
    let name = seen.machine.as_ref().map(|machine| machine.spec.cluster_name.clone()).unwrap_or_default();
    let message = match &seen.ca {
        Ca::Unusable => format!("Secret {name}-ca has no usable certificate under tls.crt"),
        Ca::Missing | Ca::Known { .. } => format!("Secret {name}-ca does not exist"),
    };
    Plan::Wait(Why::new("WaitingForCertificates", message))
}

/// Fills in the endpoint and the hashes where the user gave none.
fn discover(
    token: &mut BootstrapTokenDiscovery,
    endpoint: Option<&ApiEndpoint>,
    seen: &Observed,
) -> Result<(), Plan> {
    if token.api_server_endpoint.is_none() {
        token.api_server_endpoint = Some(endpoint_of(endpoint)?);
    }
    let trusts_any = token.unsafe_skip_ca_verification == Some(true);
    if token.ca_cert_hashes.is_empty() && !trusts_any {
        let Ca::Known { hash, .. } = &seen.ca else { return Err(waiting_for_ca(seen)) };
        token.ca_cert_hashes = vec![hash.clone()];
    }
    Ok(())
}
