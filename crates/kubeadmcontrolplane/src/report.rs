//! The status of a control plane, computed as a whole on every run; and what its Machines are told.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use scute_api::cluster::{Machine, OWNER_REMEDIATED, StatusVersion};
use scute_api::controlplane::{ControlPlaneInitialization, KubeadmControlPlaneStatus, LastRemediationStatus};
use scute_api::meta::{CLUSTER_NAME_LABEL, CONTROL_PLANE_LABEL};
use scute_contract::paused;
use scute_contract::summary::{Part, reason, summary};
use scute_contract::{Reported, summary};
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Draft, Status, find};
use scute_kubeadm::Version;

use crate::available::available;
use crate::inspect::Tenant;
use crate::machines::{ETCD_MEMBER, conditions, health_conditions, is, is_to_be_remediated, is_unhealthy};
use crate::members;
use crate::observe::{Observed, is_stacked};
use crate::plan::{Plan, is_initialized};
use crate::remediation;

/// What a Machine is told beside how it fares.
#[must_use]
pub fn of_machine(name: &str, plan: &Plan) -> Vec<Draft> {
    let mut drafts = Vec::new();
    if let Some(reasons) = plan.outdated.get(name) {
        drafts.push(match reasons.as_slice() {
            [] => Draft::new("UpToDate", true, "UpToDate", ""),
            reasons => {
                let lines: Vec<_> = reasons.iter().map(|reason| format!("* {reason}")).collect();
                Draft::new("UpToDate", false, "NotUpToDate", lines.join("\n"))
            }
        });
    }
    drafts.extend(plan.said.iter().filter(|(machine, _)| machine == name).map(|(_, draft)| draft.clone()));
    drafts
}

/// Whether all that was looked at is as it should be.
#[must_use]
pub fn is_healthy(seen: &Observed) -> bool {
    let types = health_conditions(is_stacked(&seen.kcp));
    let all_well = |machine: &&Arc<Machine>| types.iter().all(|type_| is(machine, type_));
    seen.machines.iter().filter(all_well).count() == seen.machines.len()
        && seen.tenant.inside().is_none_or(|inside| members::mismatches(inside, &seen.machines()).is_empty())
}

/// The status. `after` are the Machines as they are now, `failed` what went wrong.
#[must_use]
pub fn report(
    seen: &Observed,
    after: &[Arc<Machine>],
    plan: &Plan,
    failed: Option<&Why>,
    now: Timestamp,
) -> KubeadmControlPlaneStatus {
    let kcp = &seen.kcp;
    let before = kcp.status.clone().unwrap_or_default();
    let machines: Vec<&Machine> = after.iter().map(AsRef::as_ref).collect();
    let initialized = is_initialized(seen);
    let mut drafts = vec![
        certificates(seen),
        initialization(initialized),
        etcd(seen, plan, initialized),
        components(seen, initialized),
        of_machines("MachinesReady", "Ready", ["Ready", "NotReady", "ReadyUnknown"], &machines),
        of_machines(
            "MachinesUpToDate",
            "UpToDate",
            ["UpToDate", "NotUpToDate", "UpToDateUnknown"],
            &machines,
        ),
        rolling_out(plan, &machines),
        scaling_up(seen, plan, failed, machines.len()),
        scaling_down(seen, plan, failed, machines.len()),
        remediating(&machines),
        deleting(seen, plan),
    ];
    drafts.push(available(seen, &drafts, initialized, &before.conditions, now));
    let conditions = Conditions::new(&before.conditions, kcp.metadata.generation, now).put_all(drafts);
    let count = |counts: &dyn Fn(&Machine) -> bool| {
        i32::try_from(machines.iter().filter(|machine| counts(machine)).count()).ok()
    };
    let versions = versions(&machines);
    KubeadmControlPlaneStatus {
        conditions: paused::put(conditions, None).finish(),
        initialization: initialized
            .then_some(ControlPlaneInitialization { control_plane_initialized: Some(true) })
            .or(before.initialization),
        selector: seen
            .cluster
            .as_ref()
            .map(|cluster| format!("{CLUSTER_NAME_LABEL}={},{CONTROL_PLANE_LABEL}=", cluster.name_any()))
            .or(before.selector),
        replicas: count(&|_| true),
        ready_replicas: count(&|machine| is(machine, "Ready")),
        available_replicas: count(&|machine| is(machine, "Available")),
        up_to_date_replicas: count(&|machine| {
            plan.outdated.get(&machine.name_any()).map_or_else(|| is(machine, "UpToDate"), Vec::is_empty)
        }),
        deprecated: before.deprecated,
        version: versions.first().map(|oldest| oldest.version.clone()),
        versions,
        // A run that failed has not seen to everything in the spec.
        observed_generation: if failed.is_none() {
            kcp.metadata.generation
        } else {
            before.observed_generation
        },
        last_remediation: remediation::last(kcp, &machines)
            .map(|record| LastRemediationStatus {
                machine: record.machine,
                time: Time(record.timestamp),
                retry_count: record.retry_count,
            })
            .or(before.last_remediation),
    }
}

/// The versions of the kubelets, oldest first.
fn versions(machines: &[&Machine]) -> Vec<StatusVersion> {
    let mut versions: Vec<StatusVersion> = Vec::new();
    let infos = machines.iter().filter_map(|machine| machine.status.as_ref()?.node_info.as_ref());
    for version in infos.map(|info| &info.kubelet_version).filter(|version| !version.is_empty()) {
        match versions.iter_mut().find(|known| known.version == *version) {
            Some(known) => known.replicas = known.replicas.map(|count| count + 1),
            None => versions.push(StatusVersion { version: version.clone(), replicas: Some(1) }),
        }
    }
    versions.sort_by_key(|known| {
        (known.version.parse::<Version>().ok().map(|version| version.release()), known.version.clone())
    });
    versions
}

fn certificates(seen: &Observed) -> Draft {
    const TYPE: &str = "CertificatesAvailable";
    match seen.certificates.wanting(&seen.cluster_name()) {
        _ if seen.cluster.is_none() => Draft::new(
            TYPE,
            Status::Unknown,
            "InternalError",
            "Waiting for a Cluster to refer to this control plane",
        ),
        None if seen.certificates.pairs.is_empty() => {
            Draft::new(TYPE, false, "NotAvailable", "The certificates are not made yet")
        }
        None => Draft::new(TYPE, true, "Available", ""),
        Some(why) => Draft::new(TYPE, false, "NotAvailable", why),
    }
}

fn initialization(initialized: bool) -> Draft {
    match initialized {
        true => Draft::new("Initialized", true, "Initialized", ""),
        false => Draft::new("Initialized", false, "NotInitialized", ""),
    }
}

/// One condition of many Machines, as one.
fn of_machines(type_: &str, of: &str, reasons: [&'static str; 3], machines: &[&Machine]) -> Draft {
    if machines.is_empty() {
        return Draft::new(type_, true, "NoReplicas", "");
    }
    let parts: Vec<_> = machines
        .iter()
        .map(|machine| {
            let reported = find(conditions(machine), of).map(Reported::from);
            let mut part = Part::positive(machine.name_any(), reported.as_ref());
            part.message = part.message.replace('\n', " ");
            part
        })
        .collect();
    let (status, message) = summary(&parts);
    let [good, bad, unknown] = reasons;
    Draft::new(type_, status, reason(status, good, bad, unknown), message)
}

/// What keeps the parts from being looked at.
fn not_looked_at(seen: &Observed, plan: &Plan, initialized: bool) -> Option<(&'static str, String)> {
    if let (Some(why), false) = (&plan.stop, seen.is_deleting()) {
        return Some(("InspectionFailed", why.message.clone()));
    }
    if !initialized {
        return Some(("InspectionFailed", "Waiting for the control plane to be initialized".to_owned()));
    }
    match &seen.tenant {
        Tenant::NotAsked(why) => Some(("InspectionFailed", why.clone())),
        Tenant::Down(why) => Some(("ConnectionDown", format!("Remote connection not established: {why}"))),
        Tenant::Seen(_) => None,
    }
}

const HEALTH: [&str; 3] = ["Healthy", "NotHealthy", "HealthUnknown"];

fn etcd(seen: &Observed, plan: &Plan, initialized: bool) -> Draft {
    const TYPE: &str = "EtcdClusterHealthy";
    if !is_stacked(&seen.kcp) {
        return Draft::new(TYPE, true, "Healthy", "etcd is external and not looked after");
    }
    if let Some((reason, message)) = not_looked_at(seen, plan, initialized) {
        return Draft::new(TYPE, Status::Unknown, reason, message);
    }
    if let Some(why) = &plan.lost_quorum {
        return Draft::new(TYPE, false, "NotHealthy", why);
    }
    let machines = seen.machines();
    let mut draft = of_machines(TYPE, ETCD_MEMBER, HEALTH, &machines);
    let wrong = seen.tenant.inside().map(|inside| members::mismatches(inside, &machines)).unwrap_or_default();
    if !wrong.is_empty() {
        draft.status = Status::False;
        draft.reason = "NotHealthy".to_owned();
        let lines = wrong.iter().map(|line| format!("* {line}"));
        let said = (!draft.message.is_empty()).then(|| draft.message.clone());
        draft.message = lines.chain(said).collect::<Vec<_>>().join("\n");
    }
    draft
}

fn components(seen: &Observed, initialized: bool) -> Draft {
    const TYPE: &str = "ControlPlaneComponentsHealthy";
    if let Some((reason, message)) = not_looked_at(seen, &Plan::default(), initialized) {
        return Draft::new(TYPE, Status::Unknown, reason, message);
    }
    let types = health_conditions(is_stacked(&seen.kcp)).iter().filter(|type_| **type_ != ETCD_MEMBER);
    let types: Vec<_> = types.collect();
    let part = |machine: &Arc<Machine>| {
        let parts: Vec<_> = types
            .iter()
            .map(|type_| {
                Part::positive(**type_, find(conditions(machine), type_).map(Reported::from).as_ref())
            })
            .collect();
        let (status, message) = summary(&parts);
        Part { name: machine.name_any(), status, message: message.replace('\n', " ") }
    };
    let parts: Vec<_> = seen.machines.iter().map(part).collect();
    let (status, message) = summary(&parts);
    let [good, bad, unknown] = HEALTH;
    Draft::new(TYPE, status, summary::reason(status, good, bad, unknown), message)
}

fn rolling_out(plan: &Plan, machines: &[&Machine]) -> Draft {
    let mut old = 0;
    let mut why: Vec<&String> = Vec::new();
    for reasons in machines.iter().filter_map(|machine| plan.outdated.get(&machine.name_any())) {
        old += usize::from(!reasons.is_empty());
        why.extend(reasons);
    }
    if old == 0 {
        return Draft::new("RollingOut", false, "NotRollingOut", "");
    }
    // A change of version goes first.
    why.sort_by_key(|reason| (!reason.starts_with("Version"), (*reason).clone()));
    why.dedup();
    let lines: Vec<_> = why.iter().map(|reason| format!("* {reason}")).collect();
    let message = format!("Rolling out {old} not up-to-date replicas\n{}", lines.join("\n"));
    Draft::new("RollingOut", true, "RollingOut", message)
}

fn blocked(what: String, plan: &Plan, failed: Option<&Why>) -> String {
    let why = plan.blocked.iter().chain(plan.stop.as_ref().map(|why| &why.message));
    let why = why.chain(failed.filter(|why| !why.passes()).map(|why| &why.message));
    let lines: Vec<_> = why.map(|why| format!("* {why}")).collect();
    match lines.is_empty() {
        true => what,
        false => format!("{what} is blocked because:\n{}", lines.join("\n")),
    }
}

fn scaling_up(seen: &Observed, plan: &Plan, failed: Option<&Why>, have: usize) -> Draft {
    let wanted = if seen.is_deleting() { 0 } else { seen.wanted() };
    if have >= wanted {
        let reference = &seen.kcp.spec.machine_template.spec.infrastructure_ref;
        let absent = seen.infrastructure.template.absence(reference, "KubeadmControlPlane", false);
        let absent = absent.filter(|_| !seen.is_deleting());
        let message =
            absent.map(|absence| format!("Scaling up would be blocked because {}", absence.message));
        return Draft::new("ScalingUp", false, "NotScalingUp", message.unwrap_or_default());
    }
    let what = format!("Scaling up from {have} to {wanted} replicas");
    Draft::new("ScalingUp", true, "ScalingUp", blocked(what, plan, failed))
}

fn scaling_down(seen: &Observed, plan: &Plan, failed: Option<&Why>, have: usize) -> Draft {
    let wanted = if seen.is_deleting() { 0 } else { seen.wanted() };
    if have <= wanted {
        return Draft::new("ScalingDown", false, "NotScalingDown", "");
    }
    let what = format!("Scaling down from {have} to {wanted} replicas");
    let message = if seen.is_deleting() { what } else { blocked(what, plan, failed) };
    Draft::new("ScalingDown", true, "ScalingDown", message)
}

fn remediating(machines: &[&Machine]) -> Draft {
    let given_up: Vec<_> = machines.iter().copied().filter(|machine| is_to_be_remediated(machine)).collect();
    if given_up.is_empty() {
        let ill: Vec<_> = machines
            .iter()
            .filter(|machine| is_unhealthy(machine))
            .map(|machine| machine.name_any())
            .collect();
        let message = match ill.is_empty() {
            true => String::new(),
            false => {
                format!("{} not healthy (not to be remediated)", summary::listed("Machine", ill.iter(), 3))
            }
        };
        return Draft::new("Remediating", false, "NotRemediating", message);
    }
    let parts = given_up.iter().map(|machine| {
        let said = find(conditions(machine), OWNER_REMEDIATED).map(Reported::from);
        Part::positive(machine.name_any(), said.as_ref())
    });
    let (_, message) = summary(&parts.collect::<Vec<_>>());
    Draft::new("Remediating", true, "Remediating", message)
}

fn deleting(seen: &Observed, plan: &Plan) -> Draft {
    match (&plan.stop, seen.is_deleting()) {
        (_, false) => Draft::new("Deleting", false, "NotDeleting", ""),
        (Some(why), true) => Draft::new("Deleting", true, &why.reason, why.message.clone()),
        (None, true) => Draft::new("Deleting", true, "DeletionCompleted", "Deletion completed"),
    }
}
