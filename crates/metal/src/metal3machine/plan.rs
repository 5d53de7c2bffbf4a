//! What to do about a Metal3Machine. Pure.
//!
//! ```text
//! wait for Cluster, bootstrap data ─► host is reserved ─► metadata, network data ─► image ─► provisioned ─► Node has the id
//! deletion: image taken away ─► deprovisioned ─► host is free ─► data and addresses given back ─► gone
//! ```

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::{HOST_ANNOTATION, METAL3_MACHINE_FINALIZER, Metal3Machine, Selector};
use scute_api::metal3::{
    AutomatedCleaningMode, BareMetalHost, OperationalStatus, PAUSED_ANNOTATION, PAUSED_BY_MOVE,
    ProvisioningState as State,
};
use scute_kit::{Key, Why, finalizer};

use super::choose::{Wish, choose};
use super::node::Match;
use super::observe::{Observed, Seen, has_cloud_provider, keeper};
use super::render::{Secrets, provider_id};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the finalizer.
    Claim,
    /// Make a host this machine's.
    Reserve(Arc<BareMetalHost>),
    /// Write down which host it is.
    Note(Key),
    /// Ask for metadata and network data.
    MakeDataClaim,
    /// Give the host its image.
    Provision(Arc<BareMetalHost>, Secrets),
    /// Clean as the machine's template says.
    Inherit(AutomatedCleaningMode),
    /// Clean the host's disks as the machine says.
    SetCleaning(Arc<BareMetalHost>),
    /// Take the pause off the host that upstream's controllers put there at the other end of a move.
    Resume(Arc<BareMetalHost>),
    /// Write down the providerID.
    SetProviderId(String),
    /// Put the providerID on the Node of this name.
    MarkNode(String, String),
    /// Take everything off the host.
    Clear(Arc<BareMetalHost>),
    /// Make the host nobody's, or keep it for the next machine of this MachineDeployment or control plane.
    Free(Arc<BareMetalHost>, Option<String>),
    /// Give metadata and addresses back.
    DeleteDataClaim,
    /// Let the Metal3Machine go.
    RemoveFinalizer,
}

/// How far the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has no host.
    Unassociated(Why),
    /// Its metadata or network data is missing.
    WaitingForData(Why),
    /// It is being written to, or cannot be.
    Provisioning(Why),
    /// It runs; what its Node lacks.
    Running(Option<Why>),
    /// The Metal3Machine is on its way out.
    Deleting(Why),
}

/// What to do, and where the server stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// How far the server is.
    pub stage: Stage,
    /// The Secrets in use, when they are known.
    pub secrets: Option<Secrets>,
}

impl Plan {
    fn at(stage: Stage) -> Self {
        Self { actions: Vec::new(), stage, secrets: None }
    }
}

/// Decides.
#[must_use]
pub fn plan(object: &Metal3Machine, seen: &Observed) -> Plan {
    if object.metadata.deletion_timestamp.is_some() {
        return deletion(seen);
    }
    let mut plan = match (owners(seen), &seen.host) {
        (Err(why), None) => return Plan::at(Stage::Unassociated(why)),
        (Err(why), Some(_)) => Plan::at(Stage::Provisioning(why)),
        (Ok(owners), None) => associate(object, seen, &owners),
        (Ok(owners), Some(host)) => with_host(object, seen, &owners, host),
    };
    if let Some(mode) = inherited(seen).filter(|mode| object.spec.automated_cleaning_mode != Some(*mode)) {
        plan.actions.push(Action::Inherit(mode));
    }
    if !finalizer::has(object, METAL3_MACHINE_FINALIZER) {
        plan.actions.insert(0, Action::Claim);
    }
    plan
}

/// Whom the server is for, and what it starts with.
struct Owners<'a> {
    machine: &'a Machine,
    bootstrap: &'a str,
}

/// Everything that a server waits for, the first missing thing by name.
fn owners(seen: &Observed) -> Result<Owners<'_>, Why> {
    let machine = seen
        .machine
        .as_deref()
        .ok_or_else(|| Why::new("WaitingForMachine", "no Machine owns this object yet"))?;
    let no_infrastructure = |message: String| Why::new("WaitingForClusterInfrastructureReady", message);
    let name = &machine.spec.cluster_name;
    let cluster: &Cluster =
        seen.cluster.as_deref().ok_or_else(|| no_infrastructure(format!("Cluster {name} does not exist")))?;
    let status = cluster.status.clone().unwrap_or_default().initialization.unwrap_or_default();
    if status.infrastructure_provisioned != Some(true) {
        return Err(no_infrastructure(format!("Cluster {name} has no infrastructure yet")));
    }
    match machine.spec.bootstrap.data_secret_name.as_deref() {
        Some(bootstrap) => Ok(Owners { machine, bootstrap }),
        None if cluster.is_initialized() => {
            let message = format!("Machine {} has no bootstrap data yet", machine.name_any());
            Err(Why::new("WaitingForBootstrapData", message))
        }
        None => {
            let message = format!("the control plane of Cluster {name} does not answer yet");
            Err(Why::new("WaitingForControlPlaneAvailable", message))
        }
    }
}

/// A machine that has been a Node before does not become another server: what was on it is gone.
fn associate(object: &Metal3Machine, seen: &Observed, owners: &Owners) -> Plan {
    let failed =
        |message: String| Plan::at(Stage::Unassociated(Why::new("AssociateBareMetalHostFailed", message)));
    if object.spec.provider_id.is_some() {
        let noted = object.annotations().get(HOST_ANNOTATION).cloned().unwrap_or_default();
        let message = format!(
            "BareMetalHost {noted} is gone, or is no longer this machine's: delete Machine {}, and a new one gets \
             another host",
            owners.machine.name_any()
        );
        return failed(message);
    }
    let selector = match object.spec.host_selector.as_ref().map(|selector| selector.selector()).transpose() {
        Ok(selector) => selector.unwrap_or_else(Selector::default),
        Err(bad) => {
            let field = format!("spec.hostSelector.matchExpressions[{}].{}", bad.index, bad.field);
            return failed(format!("{field} {}", bad.detail));
        }
    };
    let domain = owners.machine.spec.failure_domain.as_deref().or(object.spec.failure_domain.as_deref());
    let seed = object.metadata.uid.as_deref().unwrap_or_default();
    let (keeper, keepers) = (keeper(seen), &seen.keepers);
    let wish = Wish { selector: &selector, failure_domain: domain, keeper, keepers, seed };
    match choose(&seen.hosts, &wish) {
        Err(why) => failed(why),
        Ok(host) => {
            let message = format!("BareMetalHost {} is being reserved", host.name_any());
            Plan {
                actions: vec![Action::Reserve(host)],
                ..Plan::at(Stage::Unassociated(Why::new("WaitingForHost", message)))
            }
        }
    }
}

fn with_host(object: &Metal3Machine, seen: &Observed, owners: &Owners, host: &Arc<BareMetalHost>) -> Plan {
    let mut plan = Plan::at(Stage::Running(None));
    let key = Key::of(host.as_ref());
    if object.annotations().get(HOST_ANNOTATION) != Some(&key.to_string()) {
        plan.actions.push(Action::Note(key));
    }
    if host.annotation(PAUSED_ANNOTATION) == Some(PAUSED_BY_MOVE) {
        plan.actions.push(Action::Resume(Arc::clone(host)));
    }
    let empty = host.spec.image.is_none() && host.spec.custom_deploy.is_none();
    if let Err((why, ask)) = data(object, seen) {
        plan.actions.extend(ask.then_some(Action::MakeDataClaim));
        if empty {
            plan.stage = Stage::WaitingForData(why);
            return plan;
        }
    }
    let secrets = Secrets::of(object, owners.bootstrap, seen.data.as_deref());
    plan.secrets = Some(secrets.clone());
    if empty && !host.spec.externally_provisioned {
        let message = format!("BareMetalHost {} is being given its image", host.name_any());
        plan.stage = Stage::Provisioning(Why::new("WaitingForHost", message));
        plan.actions.push(Action::Provision(Arc::clone(host), secrets));
        return plan;
    }
    if object.spec.automated_cleaning_mode.is_some_and(|mode| mode != host.spec.automated_cleaning_mode) {
        plan.actions.push(Action::SetCleaning(Arc::clone(host)));
    }
    if let Some(why) = not_provisioned(host) {
        plan.stage = Stage::Provisioning(why);
        return plan;
    }
    running(object, seen, host, &mut plan);
    plan
}

/// Whether metadata and network data are there; else why not, and whether they are to be asked for.
fn data(object: &Metal3Machine, seen: &Observed) -> Result<(), (Why, bool)> {
    let Some(template) = &object.spec.data_template else { return Ok(()) };
    let template = template.name.clone().unwrap_or_default();
    let waiting = |message: String| Why::new("WaitingForMetal3Data", message);
    let Some(claim) = &seen.claim else {
        let message = format!("data of Metal3DataTemplate {template} is being asked for");
        return Err((waiting(message), true));
    };
    let said = claim.status.as_ref().and_then(|status| status.error_message.clone());
    let Some(data) = &seen.data else {
        let said = said.unwrap_or_else(|| "not answered yet".to_owned());
        return Err((waiting(format!("Metal3DataClaim {}: {said}", claim.name_any())), false));
    };
    let status = data.status.clone().unwrap_or_default();
    if status.ready == Some(true) {
        return Ok(());
    }
    let said = status.error_message.unwrap_or_else(|| "its Secrets are not there yet".to_owned());
    Err((waiting(format!("Metal3Data {}: {said}", data.name_any())), false))
}

/// What keeps a host from running the image, with the words of the host.
fn not_provisioned(host: &BareMetalHost) -> Option<Why> {
    let (name, status) = (host.name_any(), host.status.clone().unwrap_or_default());
    let state = status.provisioning.state;
    if matches!(state, State::Provisioned | State::ExternallyProvisioned) {
        return None;
    }
    if !status.error_message.is_empty() {
        let message = format!("BareMetalHost {name} is {state}: {}", status.error_message);
        return Some(Why::new("BareMetalHostError", message));
    }
    let mut message = format!("BareMetalHost {name} is {state}");
    if let Some(standstill) = standstill(host) {
        message.push_str(standstill);
    }
    Some(Why::new("WaitingForHost", message))
}

/// Why nothing goes on with a host.
fn standstill(host: &BareMetalHost) -> Option<&'static str> {
    let status = host.status.clone().unwrap_or_default();
    if host.is_paused() {
        Some(", and paused by an annotation")
    } else if status.operational_status == OperationalStatus::Detached {
        Some(", and detached by an annotation")
    } else if status.operational_status == OperationalStatus::Delayed {
        Some(", and waits for other hosts")
    } else if !host.spec.online {
        Some(", and spec.online is false")
    } else {
        None
    }
}

/// The server runs: it and its Node shall have one id.
fn running(object: &Metal3Machine, seen: &Observed, host: &BareMetalHost, plan: &mut Plan) {
    let waiting = |message: String| Some(Why::new("WaitingForNode", message));
    let ours = provider_id(object, host);
    let by_cloud = has_cloud_provider(seen);
    if !by_cloud && object.spec.provider_id.as_ref() != Some(&ours) {
        plan.actions.push(Action::SetProviderId(ours.clone()));
    }
    let missing = match &seen.node {
        Seen::NotAsked => waiting("the control plane does not answer yet".to_owned()),
        Seen::Unknown(why) => waiting(why.clone()),
        Seen::Found(Match::Wrong(why)) => Some(Why::new("SettingProviderIDOnNodeFailed", why.clone())),
        Seen::Found(Match::None) => waiting(no_node(host, &ours)),
        Seen::Found(Match::Unmarked(node)) if by_cloud => {
            waiting(format!("the cloud provider has not given Node {} its providerID yet", node.name_any()))
        }
        Seen::Found(Match::Unmarked(node)) => {
            plan.actions.push(Action::MarkNode(node.name_any(), ours));
            None
        }
        Seen::Found(Match::Marked(node)) => {
            let id = node.spec.as_ref().and_then(|spec| spec.provider_id.clone()).unwrap_or_default();
            if by_cloud && object.spec.provider_id.as_ref() != Some(&id) {
                plan.actions.push(Action::SetProviderId(id));
            }
            None
        }
    };
    plan.stage = match missing {
        // Without an id there is nothing to find the Node by.
        Some(why) if by_cloud && object.spec.provider_id.is_none() => Stage::Provisioning(why),
        missing => Stage::Running(missing),
    };
}

fn no_node(host: &BareMetalHost, id: &str) -> String {
    let uid = host.metadata.uid.as_deref().unwrap_or_default();
    format!(
        "no Node of the tenant has the label metal3.io/uuid={uid}, the providerID {id}, or the name of the Machine or host; \
         the console of BareMetalHost {} says what its first boot lacks",
        host.name_any()
    )
}

/// So often a host must fail before its Machine does not wait for it any longer.
const PATIENCE: i64 = 3;

fn deletion(seen: &Observed) -> Plan {
    let Some(host) = &seen.host else {
        let actions =
            [seen.claim.is_some().then_some(Action::DeleteDataClaim), Some(Action::RemoveFinalizer)];
        let why = Why::new("Deleting", "the host has been given back");
        return Plan { actions: actions.into_iter().flatten().collect(), ..Plan::at(Stage::Deleting(why)) };
    };
    let (name, spec) = (host.name_any(), &host.spec);
    let deleting = |message: String| Plan::at(Stage::Deleting(Why::new("Deleting", message)));
    let dressed = spec.image.is_some()
        || spec.custom_deploy.is_some()
        || spec.user_data.is_some()
        || spec.meta_data.is_some()
        || spec.network_data.is_some()
        || (spec.online && !spec.disable_power_off);
    if dressed && host.metadata.deletion_timestamp.is_none() {
        let plan = deleting(format!("the image is taken off BareMetalHost {name}"));
        return Plan { actions: vec![Action::Clear(Arc::clone(host))], ..plan };
    }
    match not_free(host) {
        Some(why) => deleting(why),
        None => Plan {
            actions: vec![Action::Free(Arc::clone(host), successor(seen))],
            ..deleting(format!("BareMetalHost {name} is being given back"))
        },
    }
}

/// What a template that says how disks are cleaned says, as upstream: of all machines that were made from it.
fn inherited(seen: &Observed) -> Option<AutomatedCleaningMode> {
    seen.template.as_ref()?.spec.template.spec.automated_cleaning_mode
}

/// Whose next machine gets the host, with what is on its disks: where the template says so, and there will be one.
fn successor(seen: &Observed) -> Option<String> {
    let reuses = seen.template.as_ref().is_some_and(|template| template.spec.node_reuse);
    let stays = seen.cluster.as_ref().is_some_and(|cluster| cluster.metadata.deletion_timestamp.is_none());
    let keeper = keeper(seen).filter(|_| reuses && stays)?;
    seen.keepers.iter().find(|known| *known == keeper).cloned()
}

/// What is waited for before a host is free. One that fails again and again (a dead BMC) is let go: nobody takes a host that
/// is not available, and it is cleaned when its BMC is back.
fn not_free(host: &BareMetalHost) -> Option<String> {
    let (name, status) = (host.name_any(), host.status.clone().unwrap_or_default());
    let state = status.provisioning.state;
    let given_up = !status.error_message.is_empty() && status.error_count >= PATIENCE;
    let at_rest = match state {
        State::None
        | State::Unmanaged
        | State::Registering
        | State::Inspecting
        | State::Available
        | State::Ready => true,
        State::ExternallyProvisioned => !status.powered_on || host.spec.disable_power_off,
        _ => false,
    };
    if at_rest || given_up {
        return None;
    }
    let error =
        if status.error_message.is_empty() { String::new() } else { format!(": {}", status.error_message) };
    let standstill =
        standstill(host).filter(|_| host.is_paused() || host.detached().is_some()).unwrap_or_default();
    Some(format!("BareMetalHost {name} is {state}{standstill}{error}"))
}
