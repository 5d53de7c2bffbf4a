//! Whether a Machine is made or deleted now, and which. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use scute_api::cluster::{Cluster, Machine};
use scute_api::naming::suffix;
use scute_contract::owners::is_controlled_by;

use crate::clone::{self, New};
use crate::machines::{newest, node};
use crate::observe::{Observed, is_stacked};
use crate::plan::{Action, Plan, is_initialized};
use crate::{preflight, remediation, rollout};

/// Makes or deletes one Machine, when it is a good time.
pub fn scale(seen: &Observed, seed: i64, plan: &mut Plan) {
    let Some(cluster) = &seen.cluster else { return };
    let (all, stacked) = (seen.machines(), is_stacked(&seen.kcp));
    let (have, wanted) = (all.len(), seen.wanted());
    let old: Vec<_> = all
        .iter()
        .copied()
        .filter(|machine| plan.outdated.get(&machine.name_any()).is_some_and(|reasons| !reasons.is_empty()))
        .collect();
    let surge = usize::from(surges(seen));
    let make = if old.is_empty() { have < wanted } else { have < wanted + surge };
    let remove = if old.is_empty() { have > wanted } else { !make };
    let held = if all.is_empty() { None } else { preflight::held(cluster, &seen.kcp.spec.version) };
    if let Some(why) = plan.lost_quorum.clone().or(held)
        && (make || remove)
    {
        plan.blocked.push(why);
        return;
    }
    if make {
        create(seen, cluster, &all, &old, seed, plan);
    } else if remove {
        let Some(machine) = rollout::next_to_go(cluster, &all, &old, stacked) else { return };
        plan.blocked.extend(preflight::check(&all, Some(machine), stacked));
        if !plan.blocked.is_empty() {
            return;
        }
        let others = all.iter().copied().filter(|other| other.name_any() != machine.name_any());
        let Some(next) = newest(others) else {
            plan.blocked.push("the only control plane Machine is not deleted".to_owned());
            return;
        };
        if let (true, Some(from), Some(to)) = (stacked, node(machine), node(next)) {
            plan.actions.push(Action::MoveLeader { from: from.to_owned(), to: to.to_owned() });
        }
        plan.actions.push(Action::Delete(machine.name_any()));
    } else {
        discard_halves(seen, plan);
        if is_initialized(seen) && preflight::check(&all, None, stacked).is_empty() {
            plan.actions.extend([Action::KeepAddons, Action::NoteCertificates]);
        }
    }
}

/// Whether one Machine more than wanted may be there during a rollout.
fn surges(seen: &Observed) -> bool {
    let strategy = seen.kcp.spec.rollout.as_ref().and_then(|rollout| rollout.strategy.as_ref());
    let surge = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_surge.clone());
    match surge {
        None => true,
        Some(IntOrString::Int(number)) => number > 0,
        Some(IntOrString::String(text)) => text != "0",
    }
}

fn create(
    seen: &Observed,
    cluster: &Cluster,
    all: &[&Machine],
    old: &[&Machine],
    seed: i64,
    plan: &mut Plan,
) {
    let begins = all.is_empty() && !seen.was_initialized();
    if all.is_empty() && !begins {
        plan.blocked.push(
            "all control plane Machines are gone, and etcd's data with them: a new one would begin another cluster. Delete \
             this Cluster, or restore etcd from a snapshot"
                .to_owned(),
        );
        return;
    }
    if let Some(problem) = &seen.infrastructure.problem {
        plan.blocked.push(problem.clone());
        return;
    }
    let reference = &seen.kcp.spec.machine_template.spec.infrastructure_ref;
    if let Some(absence) = seen.infrastructure.template.absence(reference, "KubeadmControlPlane", false) {
        plan.blocked.push(absence.message);
        return;
    }
    plan.blocked.extend(preflight::check(all, None, is_stacked(&seen.kcp)));
    if !begins && !is_initialized(seen) {
        plan.blocked.push("waiting for the control plane to be initialized".to_owned());
    }
    if !plan.blocked.is_empty() {
        return;
    }
    if !old.is_empty() {
        plan.actions.push(Action::PrepareVersion);
    }
    // A pass that was cut short has made something under a name: it is used.
    let (fitting, stale): (Vec<_>, Vec<_>) =
        halves(seen).into_iter().partition(|name| fits(seen, name, begins));
    plan.actions.extend(stale.into_iter().map(Action::DeleteHalf));
    let uid = seen.kcp.uid().unwrap_or_default();
    let random = suffix(&format!("{uid}/{seed}"));
    let name =
        fitting.into_iter().next().unwrap_or_else(|| clone::name(&seen.kcp, &cluster.name_any(), &random));
    let record = remediation::in_progress(&seen.kcp).filter(|record| !remediation::is_stale(record, all));
    plan.actions.push(Action::Create(New {
        name,
        begins,
        failure_domain: rollout::emptiest(cluster, all, old),
        remediation: record.map(|record| record.text()),
    }));
    if remediation::in_progress(&seen.kcp).is_some() {
        plan.actions.push(Action::Record(None));
    }
}

/// Names under which something was made, but no Machine.
fn halves(seen: &Observed) -> Vec<String> {
    let uid = seen.kcp.metadata.uid.as_deref();
    let configs = seen.configs.values().map(|config| (&config.metadata, config.name_any()));
    let objects = seen.infrastructure.objects.values().map(|object| (&object.metadata, object.name_any()));
    let mut names: Vec<_> = configs
        .chain(objects)
        .filter(|(meta, name)| {
            is_controlled_by(meta, uid) && meta.deletion_timestamp.is_none() && seen.machine(name).is_none()
        })
        .map(|(_, name)| name)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Whether what was made under a name is what would be made now.
fn fits(seen: &Observed, name: &str, begins: bool) -> bool {
    seen.configs.get(name).is_none_or(|config| config.spec == clone::config_spec(&seen.kcp, begins))
}

pub fn discard_halves(seen: &Observed, plan: &mut Plan) {
    plan.actions.extend(halves(seen).into_iter().map(Action::DeleteHalf));
}
