//! Whether a Machine that a health check gave up may be replaced now. Pure.
//!
//! Upstream's safety rules: one at a time, never the last, never at the cost of etcd's majority, and no faster or more often
//! than the user allows.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use scute_api::cluster::{Machine, OWNER_REMEDIATED};
use scute_api::controlplane::{
    DEFAULT_MIN_HEALTHY_PERIOD_SECONDS, KubeadmControlPlane, REMEDIATION_FOR_ANNOTATION,
    REMEDIATION_IN_PROGRESS_ANNOTATION,
};
use scute_kit::conditions::{Draft, Status, whole_seconds};
use serde::{Deserialize, Serialize};

use crate::inspect::Tenant;
use crate::machines::{is_coming, is_leaving, is_to_be_remediated, is_unhealthy, made, newest, node, oldest};
use crate::members;
use crate::observe::{Observed, is_stacked};

/// The record of a replacement: on the control plane until the new Machine is made, then on that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Name of the Machine that failed.
    pub machine: String,
    /// When it was given up.
    pub timestamp: Timestamp,
    /// How often a replacement had failed before.
    pub retry_count: i32,
}

impl Record {
    fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// As an annotation.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The replacement that is under way: its Machine is gone or going, and no new one was made since.
#[must_use]
pub fn in_progress(kcp: &KubeadmControlPlane) -> Option<Record> {
    Record::read(kcp.annotations().get(REMEDIATION_IN_PROGRESS_ANNOTATION)?)
}

/// Whether the record of what is under way is older than a Machine: that is the new one.
#[must_use]
pub fn is_stale(record: &Record, machines: &[&Machine]) -> bool {
    machines.iter().any(|machine| {
        made(machine) > record.timestamp
            || replaces(machine)
                .is_some_and(|other| other.timestamp == record.timestamp && other.machine == record.machine)
    })
}

/// What a Machine replaces.
#[must_use]
pub fn replaces(machine: &Machine) -> Option<Record> {
    Record::read(machine.annotations().get(REMEDIATION_FOR_ANNOTATION)?)
}

/// The last replacement that is known.
#[must_use]
pub fn last(kcp: &KubeadmControlPlane, machines: &[&Machine]) -> Option<Record> {
    in_progress(kcp).or_else(|| {
        machines.iter().filter_map(|machine| replaces(machine)).max_by_key(|record| record.timestamp)
    })
}

/// What becomes of the Machines that were given up.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// There are none.
    Nothing,
    /// The next one is on its way out, or another one's replacement is not made yet.
    UnderWay,
    /// Not now, and what its Machine is told.
    Not {
        /// Name of the Machine.
        machine: String,
        /// Its condition.
        said: Draft,
        /// When it may be tried again, if that comes with time.
        due: Option<Timestamp>,
    },
    /// It is deleted, after the record was written.
    Replace {
        /// Name of the Machine.
        machine: String,
        /// The record.
        record: Record,
        /// Name of the Machine that etcd's leadership is handed to.
        leader: Option<String>,
    },
}

fn told(reason: &str, message: impl Into<String>) -> Draft {
    Draft::new(OWNER_REMEDIATED, Status::False, reason, message)
}

/// What becomes of the Machines that were given up.
#[must_use]
pub fn judge(seen: &Observed, initialized: bool, now: Timestamp) -> Verdict {
    let all = seen.machines();
    let given_up: Vec<_> = all.iter().copied().filter(|machine| is_to_be_remediated(machine)).collect();
    // One that never got a Node costs nobody anything.
    let without_node = oldest(given_up.iter().copied().filter(|machine| node(machine).is_none()));
    let Some(machine) = without_node.or_else(|| oldest(given_up.iter().copied())) else {
        return Verdict::Nothing;
    };
    let name = machine.name_any();
    let running = in_progress(&seen.kcp).filter(|record| !is_stale(record, &all));
    if is_leaving(machine) {
        return Verdict::UnderWay;
    }
    // The record was written, and the deletion was not: it is the same replacement.
    if let Some(record) = running {
        return match record.machine == name {
            true => Verdict::Replace { machine: name, record, leader: leader(seen, machine) },
            false => Verdict::UnderWay,
        };
    }
    let not = |said: Draft, due| Verdict::Not { machine: name.clone(), said, due };
    let record = match retry(&seen.kcp, machine, now) {
        Ok(record) => record,
        Err((said, due)) => return not(said, due),
    };
    if initialized && let Err(said) = is_safe(seen, machine) {
        return not(said, None);
    }
    let leader = leader(seen, machine);
    if initialized && is_stacked(&seen.kcp) && leader.is_none() {
        let message = "KCP can't remediate this Machine because there is no healthy Machine to forward etcd leadership to";
        return not(told("CannotBeRemediated", message), None);
    }
    Verdict::Replace { machine: name, record, leader }
}

fn leader(seen: &Observed, machine: &Machine) -> Option<String> {
    let others = seen.machines.iter().map(AsRef::as_ref).filter(|other: &&Machine| {
        other.name_any() != machine.name_any()
            && !is_unhealthy(other)
            && !is_leaving(other)
            && node(other).is_some()
    });
    newest(others).map(ResourceExt::name_any)
}

/// The limits that the user set.
fn retry(
    kcp: &KubeadmControlPlane,
    machine: &Machine,
    now: Timestamp,
) -> Result<Record, (Draft, Option<Timestamp>)> {
    let fresh = Record { machine: machine.name_any(), timestamp: whole_seconds(now), retry_count: 0 };
    let limits = kcp.spec.remediation.clone().unwrap_or_default();
    let seconds = |seconds: i32| SignedDuration::from_secs(i64::from(seconds));
    let healthy = seconds(limits.min_healthy_period_seconds.unwrap_or(DEFAULT_MIN_HEALTHY_PERIOD_SECONDS));
    // A replacement that was well for long enough has nothing to do with what it replaced.
    let Some(before) = replaces(machine).filter(|before| before.timestamp + healthy > now) else {
        return Ok(fresh);
    };
    let rest = limits.retry_period_seconds.unwrap_or_default();
    let due = before.timestamp + seconds(rest);
    if due > now {
        let message = format!(
            "KCP can't remediate this machine because the operation already failed in the latest {rest}s (RetryPeriod)"
        );
        return Err((told("RemediationDeferred", message), Some(due)));
    }
    if let Some(most) = limits.max_retry.filter(|most| before.retry_count >= *most) {
        let message = format!(
            "KCP can't remediate this machine because the operation already failed {most} times (MaxRetry)"
        );
        return Err((told("CannotBeRemediated", message), Some(before.timestamp + healthy)));
    }
    Ok(Record { retry_count: before.retry_count + 1, ..fresh })
}

/// Whether a control plane that works is not made worse.
fn is_safe(seen: &Observed, machine: &Machine) -> Result<(), Draft> {
    let all = seen.machines();
    if all.len() <= 1 {
        let message = "KCP can't remediate if current replicas are less or equal to 1";
        return Err(told("CannotBeRemediated", message));
    }
    if all.iter().any(|other| is_coming(other) && !is_unhealthy(other)) {
        let message =
            "KCP waiting for control plane Machine provisioning to complete before triggering remediation";
        return Err(told("RemediationDeferred", message));
    }
    if all.iter().any(|other| is_leaving(other)) {
        let message =
            "KCP waiting for control plane Machine deletion to complete before triggering remediation";
        return Err(told("RemediationDeferred", message));
    }
    if !is_stacked(&seen.kcp) {
        return Ok(());
    }
    let Tenant::Seen(inside) = &seen.tenant else {
        let message = "KCP can't remediate this Machine while the control plane does not answer";
        return Err(told("RemediationDeferred", message));
    };
    match members::best(&inside.etcd) {
        Some((_, view)) if members::may_lose(view, machine, &all) => Ok(()),
        Some(_) => {
            let message = "KCP can't remediate this Machine because this could result in etcd loosing quorum";
            Err(told("CannotBeRemediated", message))
        }
        None => {
            let message = "KCP can't remediate this Machine because no etcd member says who the others are";
            Err(told("CannotBeRemediated", message))
        }
    }
}
