//! Whether a control plane can be used. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scute_api::cluster::Machine;
use scute_kit::conditions::{Draft, Status, find};

use crate::machines::{ETCD_MEMBER, conditions, health_conditions, is, is_leaving, node};
use crate::members;
use crate::observe::{Observed, is_stacked};

/// For how long a failure of a part is not told while the whole is available.
const SETTLES: SignedDuration = SignedDuration::from_secs(10);

/// Whether the control plane can be used: a majority of etcd's voters, one whole control plane, and the certificates.
#[must_use]
pub fn available(
    seen: &Observed,
    drafts: &[Draft],
    initialized: bool,
    before: &[Condition],
    now: Timestamp,
) -> Draft {
    const TYPE: &str = "Available";
    let not = |message: &str| Draft::new(TYPE, false, "NotAvailable", message);
    if !initialized {
        return not("Control plane not yet initialized");
    }
    let stacked = is_stacked(&seen.kcp);
    let machines = seen.machines();
    let view = seen.tenant.inside().and_then(|inside| members::best(&inside.etcd)).map(|(_, view)| view);
    if stacked && view.is_none() {
        // Just after its beginning nobody has been asked yet.
        let since = find(before, "Initialized").filter(|known| known.status == "True");
        let fresh =
            since.is_none_or(|known| now < known.last_transition_time.0 + SignedDuration::from_mins(2));
        return match fresh {
            true => not("Waiting for etcd to report the list of members"),
            false => Draft::new(TYPE, Status::Unknown, "InspectionFailed", "Failed to get etcd members"),
        };
    }
    let types = health_conditions(stacked);
    let placed: Vec<_> = machines.iter().filter(|machine| machine.spec.provider_id.is_some()).collect();
    let well = placed.iter().filter(|machine| types.iter().all(|type_| is(machine, type_))).count();
    // What has only just failed may be a flicker, and is told when it lasts.
    let lasts = |machine: &Machine, types: &[&str]| {
        let bad = types.iter().filter_map(|type_| find(conditions(machine), type_));
        bad.filter(|condition| condition.status != "True")
            .any(|condition| condition.last_transition_time.0 + SETTLES < now)
    };
    let ill = placed.iter().filter(|machine| lasts(machine, types)).count();
    let mut votes = 0;
    let mut voters_well = 0;
    let mut voters_ill = 0;
    for member in
        view.iter().flat_map(|view| &view.members).filter(|member| !member.learner && !member.name.is_empty())
    {
        votes += 1;
        let machine = machines.iter().find(|machine| node(machine) == Some(&member.name));
        match machine {
            Some(machine) if is(machine, ETCD_MEMBER) => voters_well += 1,
            Some(machine) if lasts(machine, &[ETCD_MEMBER]) => voters_ill += 1,
            Some(_) => {}
            None => voters_ill += 1,
        }
    }
    let quorum = votes / 2 + 1;
    let certificates =
        drafts.iter().any(|draft| draft.type_ == "CertificatesAvailable" && draft.status == Status::True);
    let is_etcd_well = !stacked || voters_well >= quorum;
    let of_etcd = |well: usize| {
        format!(
            "* {well} of {votes} etcd members are healthy, at least {quorum} healthy members are required for etcd quorum"
        )
    };
    let mut said = Vec::new();
    if !seen.is_deleting() && is_etcd_well && well >= 1 && certificates {
        if stacked && voters_ill > 0 {
            said.push(of_etcd(votes - voters_ill));
        }
        if ill > 0 {
            let all = machines.len();
            said.push(format!(
                "* {} of {all} Machines have healthy control plane components, at least 1 is required",
                placed.len() - ill
            ));
        }
        return Draft::new(TYPE, true, "Available", said.join("\n"));
    }
    if seen.is_deleting() {
        said.push("* Control plane metadata.deletionTimestamp is set".to_owned());
    }
    if !certificates {
        said.push("* Control plane certificates are not available".to_owned());
    }
    if !is_etcd_well {
        said.push(of_etcd(voters_well));
    }
    if well < 1 {
        said.push(
            "* There are no Machines with healthy control plane components, at least 1 is required"
                .to_owned(),
        );
    }
    debug_assert!(!said.is_empty() || machines.iter().any(|machine| is_leaving(machine)));
    not(&said.join("\n"))
}
