//! What a KubeadmConfig needs next. Pure.

use kube::ResourceExt;
use scute_api::bootstrap::{BootstrapTokenDiscovery, JoinConfiguration};
use scute_api::meta::{ApiEndpoint, CONTROL_PLANE_LABEL};
use scute_contract::paused::paused;
use scute_kit::Why;

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
    /// Make the bootstrap data.
    Make(Box<Make>),
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
}

fn created(seen: &Observed) -> bool {
    let status = seen.config.status.as_ref().and_then(|status| status.initialization.as_ref());
    status.is_some_and(|initialization| initialization.data_secret_created == Some(true))
}

/// Whether the next step needs the content of Secrets.
#[must_use]
pub fn is_about_to_make(seen: &Observed) -> bool {
    matches!(before_data(seen), Ok(()))
}

/// What comes next.
#[must_use]
pub fn plan(seen: &Observed) -> Plan {
    match before_data(seen) {
        Err(plan) => plan,
        Ok(()) => make(seen),
    }
}

/// Everything that is decided without looking into a Secret.
fn before_data(seen: &Observed) -> Result<(), Plan> {
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
    if machine.labels().contains_key(CONTROL_PLANE_LABEL) {
        let message = "Control planes on Machines are not supported; use a hosted control plane";
        return Err(Plan::Refuse(Why::new("NotSupported", message)));
    }
    let initialization = cluster.status.as_ref().and_then(|status| status.initialization.clone());
    let initialization = initialization.unwrap_or_default();
    if initialization.infrastructure_provisioned != Some(true) {
        let message = "Waiting for Cluster status.initialization.infrastructureProvisioned to be true";
        return wait("WaitingForClusterInfrastructureReady", message.to_owned());
    }
    if initialization.control_plane_initialized != Some(true) {
        let message = "Waiting for Cluster status.initialization.controlPlaneInitialized to be true";
        return wait("WaitingForControlPlaneInitialized", message.to_owned());
    }
    Ok(())
}

fn token(seen: &Observed) -> Option<String> {
    let join = seen.config.spec.join_configuration.as_ref()?;
    join.discovery.as_ref()?.bootstrap_token.as_ref()?.token.clone()
}

fn make(seen: &Observed) -> Plan {
    let (Some(cluster), Some(_)) = (&seen.cluster, &seen.machine) else { return Plan::Done };
    let name = seen.config.name_any();
    if !seen.secret.is_writable() {
        let message = format!("Secret {name} exists and is not the KubeadmConfig's: rename or delete it");
        return Plan::Refuse(Why::new("SecretNameTaken", message));
    }
    let missing = named(&seen.config)
        .find(|source| !seen.sources.contains_key(&(source.secret.name.clone(), source.secret.key.clone())));
    if let Some(source) = missing {
        let message =
            format!("Secret {} with key {:?} does not exist", source.secret.name, source.secret.key);
        return Plan::Wait(Why::new("WaitingForSecret", message));
    }
    let mut join = seen.config.spec.join_configuration.clone().unwrap_or_default();
    let before = join.clone();
    let mut token = join.discovery.clone().unwrap_or_default().bootstrap_token.unwrap_or_default();
    if let Err(plan) = discover(&mut token, cluster.spec.control_plane_endpoint.as_ref(), seen) {
        return plan;
    }
    let lacks_token = token.token.is_none();
    join.discovery.get_or_insert_default().bootstrap_token = Some(token);
    let spec_lacks = lacks_token || join != before;
    Plan::Make(Box::new(Make { join, spec_lacks }))
}

/// Fills in the endpoint and the hashes where the user gave none.
fn discover(
    token: &mut BootstrapTokenDiscovery,
    endpoint: Option<&ApiEndpoint>,
    seen: &Observed,
) -> Result<(), Plan> {
    if token.api_server_endpoint.is_none() {
        let Some(endpoint) = endpoint.filter(|endpoint| endpoint.is_set()) else {
            let message = "Waiting for Cluster spec.controlPlaneEndpoint to be set";
            return Err(Plan::Wait(Why::new("WaitingForControlPlaneEndpoint", message)));
        };
        let port = u16::try_from(endpoint.port).unwrap_or_default();
        token.api_server_endpoint = Some(scute_kubeadm::join_host_port(&endpoint.host, port));
    }
    let trusts_any = token.unsafe_skip_ca_verification == Some(true);
    if token.ca_cert_hashes.is_empty() && !trusts_any {
        let name = seen.machine.as_ref().map(|machine| machine.spec.cluster_name.clone()).unwrap_or_default();
        match &seen.ca {
            Ca::Hash(hash) => token.ca_cert_hashes = vec![hash.clone()],
            Ca::Missing => {
                let message = format!("Secret {name}-ca does not exist");
                return Err(Plan::Wait(Why::new("WaitingForCertificates", message)));
            }
            Ca::Unusable => {
                let message = format!("Secret {name}-ca has no usable certificate under tls.crt");
                return Err(Plan::Wait(Why::new("WaitingForCertificates", message)));
            }
        }
    }
    Ok(())
}
