//! Counting Machines, and conditions about many of them. Pure.

use kube::ResourceExt;
use scute_api::cluster::{Machine, StatusVersion};
use scute_contract::Reported;
use scute_contract::spoken::{HEALTH_CHECK_SUCCEEDED, OWNER_REMEDIATED, is};
use scute_contract::summary::{Part, listed, reason, summary};
use scute_kit::conditions::{Conditions, Status, find, is_true};
use scute_kubeadm::Version;

use crate::machineset::is_given_up;

/// How many Machines are what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// All of them.
    pub replicas: i32,
    /// Ready.
    pub ready: i32,
    /// Available.
    pub available: i32,
    /// UpToDate.
    pub up_to_date: i32,
    /// By version, oldest first.
    pub versions: Vec<StatusVersion>,
}

impl Counted {
    /// Counts Machines.
    #[must_use]
    pub fn of(machines: &[&Machine]) -> Self {
        let count = |type_: &str| {
            let is = |machine: &&&Machine| {
                machine.status.as_ref().is_some_and(|status| is_true(&status.conditions, type_))
            };
            i32::try_from(machines.iter().filter(is).count()).unwrap_or(i32::MAX)
        };
        Self {
            replicas: i32::try_from(machines.len()).unwrap_or(i32::MAX),
            ready: count("Ready"),
            available: count("Available"),
            up_to_date: count("UpToDate"),
            versions: versions(machines),
        }
    }
}

fn versions(machines: &[&Machine]) -> Vec<StatusVersion> {
    let mut versions: Vec<StatusVersion> = Vec::new();
    for version in machines.iter().filter_map(|machine| machine.spec.version.as_ref()) {
        match versions.iter_mut().find(|known| known.version == *version) {
            Some(known) => known.replicas = known.replicas.map(|count| count + 1),
            None => versions.push(StatusVersion { version: version.clone(), replicas: Some(1) }),
        }
    }
    versions.sort_by_key(|known| {
        let release = known.version.parse::<Version>().ok().map(|version| version.release());
        (release, known.version.clone())
    });
    versions
}

/// Puts ScalingUp and ScalingDown. `why` says what keeps Machines from being made.
#[must_use]
pub fn put_scaling<'a>(
    conditions: Conditions<'a>,
    have: i32,
    want: i32,
    deleting: bool,
    why: &[String],
) -> Conditions<'a> {
    let want = if deleting { 0 } else { want };
    let lines: Vec<_> = why.iter().map(|why| format!("* {why}")).collect();
    let conditions = if have < want {
        let mut message = vec![format!("Scaling up from {have} to {want} replicas")];
        if !lines.is_empty() {
            message[0] = format!("{} is blocked because:", message[0]);
        }
        message.extend(lines);
        conditions.put("ScalingUp", Status::True, "ScalingUp", message.join("\n"))
    } else {
        let message = if lines.is_empty() {
            String::new()
        } else {
            format!("Scaling up would be blocked because:\n{}", lines.join("\n"))
        };
        conditions.put("ScalingUp", Status::False, "NotScalingUp", message)
    };
    if have > want {
        let message = format!("Scaling down from {have} to {want} replicas");
        conditions.put("ScalingDown", Status::True, "ScalingDown", message)
    } else {
        conditions.put("ScalingDown", Status::False, "NotScalingDown", "")
    }
}

/// Puts MachinesReady and MachinesUpToDate.
#[must_use]
pub fn put_machines<'a>(conditions: Conditions<'a>, machines: &[&Machine]) -> Conditions<'a> {
    let (ready, ready_reason, ready_message) = aggregate(machines, "Ready", READY);
    let (current, current_reason, current_message) = aggregate(machines, "UpToDate", UP_TO_DATE);
    conditions.put("MachinesReady", ready, ready_reason, ready_message).put(
        "MachinesUpToDate",
        current,
        current_reason,
        current_message,
    )
}

/// Puts Remediating: True while Machines that were given up are there, whatever they wait for.
#[must_use]
pub fn put_remediating<'a>(conditions: Conditions<'a>, machines: &[&Machine]) -> Conditions<'a> {
    let of = |is: &dyn Fn(&Machine) -> bool| -> Vec<&Machine> {
        machines.iter().filter(|machine| is(machine)).copied().collect()
    };
    let given_up = of(&is_given_up);
    if !given_up.is_empty() {
        let (_, _, message) = aggregate(&given_up, OWNER_REMEDIATED, READY);
        return conditions.put("Remediating", Status::True, "Remediating", message);
    }
    let ill = of(&|machine| is(machine, HEALTH_CHECK_SUCCEEDED, "False"));
    let message = match ill.as_slice() {
        [] => String::new(),
        [one] => format!("{} is not healthy (not to be remediated by MachineSet)", named(&[one])),
        more => format!("{} are not healthy (not to be remediated by MachineSet)", named(more)),
    };
    conditions.put("Remediating", Status::False, "NotRemediating", message)
}

/// Reasons of a condition about many Machines: all good, one bad, one not known.
pub type Reasons = [&'static str; 3];
/// Reasons of MachinesReady.
pub const READY: Reasons = ["Ready", "NotReady", "ReadyUnknown"];
/// Reasons of MachinesUpToDate.
pub const UP_TO_DATE: Reasons = ["UpToDate", "NotUpToDate", "UpToDateUnknown"];

/// One condition of many Machines, as one.
#[must_use]
pub fn aggregate(machines: &[&Machine], type_: &str, reasons: Reasons) -> (Status, &'static str, String) {
    if machines.is_empty() {
        return (Status::True, "NoReplicas", String::new());
    }
    let parts: Vec<_> = machines
        .iter()
        .map(|machine| {
            let conditions = machine.status.as_ref().map(|status| status.conditions.as_slice());
            let condition = conditions.and_then(|conditions| find(conditions, type_)).map(Reported::from);
            let mut part = Part::positive(machine.name_any(), condition.as_ref());
            part.message = part.message.replace('\n', " ");
            part
        })
        .collect();
    let (status, message) = summary(&parts);
    let [good, bad, unknown] = reasons;
    (status, reason(status, good, bad, unknown), message)
}

/// Machines that a message names.
const NAMED: usize = 3;

/// Machines by name, not all when there are many.
#[must_use]
pub fn named(machines: &[&Machine]) -> String {
    listed("Machine", machines.iter().map(|machine| machine.name_any()), NAMED)
}

#[cfg(test)]
mod tests {
    use scute_kit::conditions::Conditions;

    use super::*;

    fn scaling(have: i32, want: i32, why: &[String]) -> String {
        let conditions = Conditions::new(&[], None, jiff::Timestamp::UNIX_EPOCH);
        put_scaling(conditions, have, want, false, why)
            .finish()
            .iter()
            .map(|condition| format!("{}={} {}\n", condition.type_, condition.status, condition.message))
            .collect()
    }

    #[test]
    fn scaling_says_from_what_to_what_and_what_is_in_the_way() {
        assert_eq!(scaling(1, 1, &[]), "ScalingDown=False \nScalingUp=False \n");
        assert_eq!(
            scaling(1, 3, &["Template x does not exist".into()]),
            "ScalingDown=False \nScalingUp=True Scaling up from 1 to 3 replicas is blocked because:\n\
             * Template x does not exist\n"
        );
        assert_eq!(
            scaling(3, 1, &[]),
            "ScalingDown=True Scaling down from 3 to 1 replicas\nScalingUp=False \n"
        );
    }

    #[test]
    fn no_machines_are_all_ready() {
        assert_eq!(aggregate(&[], "Ready", READY), (Status::True, "NoReplicas", String::new()));
    }
}
