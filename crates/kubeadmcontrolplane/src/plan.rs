//! What a control plane needs next. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use scute_api::cluster::{HEALTH_CHECK_SUCCEEDED, Machine, OWNER_REMEDIATED};
use scute_api::controlplane::KUBEADM_CONTROL_PLANE_FINALIZER;
use scute_contract::Found;
use scute_contract::cloned::has_pairs;
use scute_contract::owners::{belonging, is_controlled_by, owner};
use scute_contract::summary::listed;
use scute_kit::conditions::Draft;
use scute_kit::{Why, finalizer};

use crate::clone::{self, New};
use crate::inspect::Tenant;
use crate::machines::{has_hook, is_leaving, is_to_be_remediated, node, oldest, waits_for_us};
use crate::members;
use crate::observe::{Observed, is_stacked, key_pairs};
use crate::outdated;
use crate::remediation::{self, Record, Verdict};
use crate::scale::{discard_halves, scale};

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the finalizer.
    AddFinalizer,
    /// Make the template belong to the Cluster.
    AdoptTemplate,
    /// Make the key pairs that are missing.
    MakeCertificates,
    /// Take the Secrets of key pairs that have lost their owner.
    AdoptCertificates,
    /// Write the kubeconfig, unless it fits.
    KeepKubeconfig,
    /// Bring what can change in place onto a Machine; this also adopts one that has lost its owner.
    SyncMachine(String),
    /// Bring labels and annotations onto the configuration of a Machine.
    SyncConfig(String),
    /// Bring labels and annotations onto the infrastructure of a Machine.
    SyncInfrastructure(String),
    /// Hand etcd's leadership from the Node of a Machine to another, if it is there.
    MoveLeader {
        /// Node that must not lead.
        from: String,
        /// Node that leads then.
        to: String,
    },
    /// Take members out of etcd, through the Node of one that stays.
    RemoveMembers {
        /// Node through which it is done.
        through: String,
        /// Numbers and names.
        members: Vec<(u64, String)>,
    },
    /// Let the infrastructure of a Machine go.
    ReleaseHook(String),
    /// Bring kubeadm's and the kubelets' configuration in the cluster to the version that is asked for.
    PrepareVersion,
    /// Bring kube-proxy and CoreDNS to the version that is asked for.
    KeepAddons,
    /// Note on configurations when the certificates on their hosts end, where it is not noted.
    NoteCertificates,
    /// Make the objects of a Machine again that it has lost before it used them.
    MakeAgain {
        /// The Machine.
        name: String,
        /// Its configuration, and whether that begins the Cluster.
        config: Option<bool>,
        /// Its infrastructure.
        infrastructure: bool,
    },
    /// Make what is missing of a Machine and its objects.
    Create(New),
    /// Write the record of a replacement, or take it away.
    Record(Option<Record>),
    /// Delete a Machine.
    Delete(String),
    /// Delete objects whose Machine was never made.
    DeleteHalf(String),
    /// Drop the finalizer.
    RemoveFinalizer,
}

impl Action {
    /// Whether Machines come or go by it: what follows is looked at soon.
    #[must_use]
    pub fn changes_machines(&self) -> bool {
        match self {
            Self::MoveLeader { .. }
            | Self::RemoveMembers { .. }
            | Self::ReleaseHook(_)
            | Self::PrepareVersion
            | Self::Create(_)
            | Self::Record(_)
            | Self::Delete(_)
            | Self::DeleteHalf(_) => true,
            Self::AddFinalizer
            | Self::AdoptTemplate
            | Self::MakeCertificates
            | Self::AdoptCertificates
            | Self::KeepKubeconfig
            | Self::SyncMachine(_)
            | Self::SyncConfig(_)
            | Self::SyncInfrastructure(_)
            | Self::MakeAgain { .. }
            | Self::KeepAddons
            | Self::NoteCertificates
            | Self::RemoveFinalizer => false,
        }
    }
}

/// What to write, and why no more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order; one that fails ends the run.
    pub actions: Vec<Action>,
    /// What keeps the control plane from going on.
    pub stop: Option<Why>,
    /// Why Machines that are wanted are not made, or that are not wanted not deleted.
    pub blocked: Vec<String>,
    /// Why each Machine is to be replaced, by name; empty for those that are up to date.
    pub outdated: BTreeMap<String, Vec<String>>,
    /// Conditions of Machines beside their health.
    pub said: Vec<(String, Draft)>,
    /// Machines that are not given up any more.
    pub recovered: Vec<String>,
    /// When something becomes due that nobody tells of.
    pub due: Option<Timestamp>,
    /// What to do, when etcd has lost its quorum.
    pub lost_quorum: Option<String>,
}

/// Whether the control plane has answered, now or before. One that has a single Machine which is given up or on its way
/// out is not begun: its replacement begins anew.
#[must_use]
pub fn is_initialized(seen: &Observed) -> bool {
    let begun = || seen.tenant.inside().is_some_and(|inside| inside.begun);
    let only_is_lost =
        || matches!(seen.machines.as_slice(), [only] if is_leaving(only) || is_to_be_remediated(only));
    seen.was_initialized() || (!only_is_lost() && begun())
}

/// What the control plane needs next. `seed` makes the names of new Machines differ from those of before.
#[must_use]
pub fn plan(seen: &Observed, seed: i64, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if seen.is_deleting() {
        deletion(seen, &mut plan);
        return plan;
    }
    if !finalizer::has(seen.kcp.as_ref(), KUBEADM_CONTROL_PLANE_FINALIZER) {
        plan.actions.push(Action::AddFinalizer);
    }
    plan.outdated = outdated(seen, now);
    if let Err(why) = prepare(seen, &mut plan) {
        plan.stop = Some(why);
        return plan;
    }
    plan.actions.extend(in_place(seen));
    plan.actions.extend(lost(seen));
    members_and_hooks(seen, &mut plan);
    plan.recovered = recovered(seen);
    match remediation::judge(seen, is_initialized(seen), now) {
        Verdict::Nothing => scale(seen, seed, &mut plan),
        Verdict::UnderWay => {}
        // Whatever else is to be done must not wait for a Machine that cannot be replaced.
        Verdict::Not { machine, said, due } => {
            plan.said.push((machine, said));
            plan.due = due;
            scale(seen, seed, &mut plan);
        }
        Verdict::Replace { machine, record, leader } => {
            if is_initialized(seen)
                && is_stacked(&seen.kcp)
                && let (Some(from), Some(to)) =
                    (node_of(seen, &machine), leader.and_then(|to| node_of(seen, &to)))
            {
                plan.actions.push(Action::MoveLeader { from, to });
            }
            plan.said.push((
                machine.clone(),
                Draft::new(OWNER_REMEDIATED, false, "MachineDeleting", "Machine is deleted to be replaced"),
            ));
            plan.actions.extend([Action::Record(Some(record)), Action::Delete(machine)]);
        }
    }
    plan
}

fn node_of(seen: &Observed, machine: &str) -> Option<String> {
    seen.machine(machine).and_then(|machine| node(machine)).map(str::to_owned)
}

fn outdated(seen: &Observed, now: Timestamp) -> BTreeMap<String, Vec<String>> {
    let reasons = |machine: &Machine| {
        let name = machine.name_any();
        let config = seen.configs.get(&name).map(AsRef::as_ref);
        let infrastructure = seen.infrastructure.objects.get(&name).map(AsRef::as_ref);
        (name, outdated::reasons(&seen.kcp, machine, config, infrastructure, now))
    };
    seen.machines.iter().map(|machine| reasons(machine)).collect()
}

/// What comes before any Machine: template, certificates, endpoint, kubeconfig.
fn prepare(seen: &Observed, plan: &mut Plan) -> Result<(), Why> {
    let wait = |reason: &'static str, message: String| Err(Why::new(reason, message));
    let Some(cluster) = &seen.cluster else {
        return wait("WaitingForCluster", "Waiting for a Cluster to refer to this control plane".to_owned());
    };
    if let Found::Object(template) = &seen.infrastructure.template
        && belonging(&template.object.metadata, &owner(cluster.as_ref(), false), &cluster.name_any())
            .is_some()
    {
        plan.actions.push(Action::AdoptTemplate);
    }
    let status = cluster.status.as_ref().and_then(|status| status.initialization.as_ref());
    if status.is_none_or(|status| status.infrastructure_provisioned != Some(true)) {
        let message = "Waiting for Cluster status.initialization.infrastructureProvisioned to be true";
        return wait("WaitingForClusterInfrastructureReady", message.to_owned());
    }
    let (certificates, wanted) = (&seen.certificates, key_pairs(&seen.kcp));
    if certificates.missing.iter().any(|purpose| !wanted.is_users(*purpose)) {
        // What was issued before would be worth nothing under new authorities.
        if seen.was_initialized() {
            let message = certificates.wanting(&cluster.name_any()).unwrap_or_default();
            let message =
                format!("{message}; new ones would fit nothing that runs: restore them from a backup");
            return wait("CertificatesLost", message);
        }
        plan.actions.push(Action::MakeCertificates);
    }
    let users = certificates.missing.iter().any(|purpose| wanted.is_users(*purpose));
    if users || !certificates.unusable.is_empty() {
        let message = certificates.wanting(&cluster.name_any()).unwrap_or_default();
        return wait("CertificatesNotAvailable", message);
    }
    if !seen.strays.is_empty() {
        plan.actions.push(Action::AdoptCertificates);
    }
    if !cluster.spec.control_plane_endpoint.as_ref().is_some_and(scute_api::meta::ApiEndpoint::is_set) {
        let message = "Waiting for Cluster spec.controlPlaneEndpoint to be set";
        return wait("WaitingForControlPlaneEndpoint", message.to_owned());
    }
    plan.actions.push(Action::KeepKubeconfig);
    Ok(())
}

/// What can change without a new Machine. Machines on their way out are left as they are: a hook that was taken away must
/// not come back.
fn in_place(seen: &Observed) -> Vec<Action> {
    let (kcp, cluster) = (&seen.kcp, seen.cluster_name());
    let (labels, annotations) = (clone::labels(kcp, &cluster), clone::annotations(kcp));
    let mut actions = Vec::new();
    for machine in seen.machines.iter().filter(|machine| !is_leaving(machine)) {
        let name = machine.name_any();
        let want = clone::machine_in_place(kcp, &cluster, machine, owner(kcp.as_ref(), true));
        let same = is_controlled_by(&machine.metadata, kcp.metadata.uid.as_deref())
            && has_pairs(machine.as_ref(), want.labels(), want.annotations())
            && want.spec.readiness_gates == machine.spec.readiness_gates
            && want.spec.taints == machine.spec.taints
            && want.spec.deletion == machine.spec.deletion;
        if !same {
            actions.push(Action::SyncMachine(name.clone()));
        }
        if seen.configs.get(&name).is_some_and(|config| !has_pairs(config.as_ref(), &labels, &annotations)) {
            actions.push(Action::SyncConfig(name.clone()));
        }
        let template = seen.infrastructure.template.object().map(|template| template.object.as_ref());
        let pairs = clone::pairs(template, kcp, &cluster);
        if let Some(object) = seen.infrastructure.objects.get(&name)
            && !has_pairs(object.as_ref(), &pairs.labels, &pairs.annotations)
        {
            actions.push(Action::SyncInfrastructure(name));
        }
    }
    actions
}

/// Objects that Machines wait for in vain. The request for a Machine may outlive the manager that sent it: when the Machine
/// comes, the next manager may have taken its objects away as those of none.
fn lost(seen: &Observed) -> Vec<Action> {
    let source = &seen.infrastructure;
    let begins = seen.machines.len() == 1 && !is_initialized(seen);
    let mut actions = Vec::new();
    for machine in seen.machines.iter().filter(|machine| !is_leaving(machine)) {
        let name = machine.name_any();
        let config = machine.awaited_config().is_some_and(|wanted| wanted.name == name);
        let resource = source
            .resource
            .as_ref()
            .filter(|_| source.problem.is_none() && source.template.object().is_some());
        let infrastructure = machine.awaited_infrastructure().is_some_and(|wanted| {
            resource.is_some_and(|resource| resource.kind == wanted.kind && wanted.name == name)
        });
        let config = (config && !seen.configs.contains_key(&name)).then_some(begins);
        let infrastructure = infrastructure && !source.objects.contains_key(&name);
        if config.is_some() || infrastructure {
            actions.push(Action::MakeAgain { name, config, infrastructure });
        }
    }
    actions
}

/// Members of etcd whose Machine is gone or going leave; then the Machine may go.
fn members_and_hooks(seen: &Observed, plan: &mut Plan) {
    let all = seen.machines();
    let inside = match &seen.tenant {
        Tenant::Seen(inside) if is_stacked(&seen.kcp) => Some(inside),
        _ => None,
    };
    let best = inside.and_then(|inside| members::best(&inside.etcd));
    plan.lost_quorum = inside.and_then(|inside| members::lost_quorum(inside, &all));
    if let (Some(inside), Some((through, _))) = (inside, best) {
        let orphans = members::orphans(inside, &all);
        if !orphans.is_empty() {
            let members = orphans.iter().map(|member| (member.id, member.name.clone())).collect();
            plan.actions.push(Action::RemoveMembers { through: through.to_owned(), members });
        }
    }
    let Some(machine) = oldest(all.iter().copied().filter(|machine| waits_for_us(machine))) else { return };
    let name = machine.name_any();
    // The last one takes etcd with it, and somebody else's etcd is not touched. Before the beginning there is none.
    if all.len() <= 1 || !is_stacked(&seen.kcp) || !is_initialized(seen) {
        plan.actions.push(Action::ReleaseHook(name));
        return;
    }
    let own = node(machine);
    let through = inside.and_then(|inside| {
        let others = inside.etcd.iter().filter(|(node, _)| Some(node.as_str()) != own);
        let well = others.filter(|(_, view)| view.as_ref().is_ok_and(|view| view.no_quorum.is_none()));
        let well: Vec<_> = well.filter_map(|(node, view)| Some((node, view.as_ref().ok()?))).collect();
        let stays = |node: &str| {
            all.iter().any(|machine| crate::machines::node(machine) == Some(node) && !is_leaving(machine))
        };
        well.iter().copied().find(|(node, _)| stays(node)).or_else(|| well.first().copied())
    });
    let Some((through, view)) = through else {
        plan.blocked.push(format!(
            "Machine {name} cannot go before its etcd member is taken out, and no other member answers"
        ));
        return;
    };
    let gone = members::of_leaving(view, machine, &all);
    if let Some(own) = own
        && view.leader().is_some_and(|leader| leader.name == own)
    {
        plan.actions.push(Action::MoveLeader { from: own.to_owned(), to: through.clone() });
    }
    if !gone.is_empty() {
        let members = gone.iter().map(|member| (member.id, member.name.clone())).collect();
        plan.actions.push(Action::RemoveMembers { through: through.clone(), members });
    }
    plan.actions.push(Action::ReleaseHook(name));
}

/// Machines that are well again and still carry the mark of being given up.
fn recovered(seen: &Observed) -> Vec<String> {
    let is_well = |machine: &Machine| {
        crate::machines::is(machine, HEALTH_CHECK_SUCCEEDED)
            && crate::machines::is_not(machine, OWNER_REMEDIATED)
            && !is_leaving(machine)
    };
    seen.machines.iter().filter(|machine| is_well(machine)).map(|machine| machine.name_any()).collect()
}

/// Workers first, then all control-plane Machines at once: etcd goes with them.
fn deletion(seen: &Observed, plan: &mut Plan) {
    if !seen.workers.is_empty() {
        let message = format!("Waiting for {} to be deleted", listed("Machine", seen.workers.iter(), 3));
        plan.stop = Some(Why::new("WaitingForWorkersDeletion", message));
        return;
    }
    for machine in &seen.machines {
        if has_hook(machine) {
            plan.actions.push(Action::ReleaseHook(machine.name_any()));
        }
        if !is_leaving(machine) {
            plan.actions.push(Action::Delete(machine.name_any()));
        }
    }
    discard_halves(seen, plan);
    if seen.machines.is_empty() {
        plan.actions.push(Action::RemoveFinalizer);
        return;
    }
    let names = seen.machines.iter().map(|machine| machine.name_any());
    let message = format!("Waiting for {} to be deleted", listed("Machine", names, 3));
    plan.stop = Some(Why::new("WaitingForMachineDeletion", message));
}
