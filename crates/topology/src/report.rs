//! The condition TopologyReconciled: upstream's reasons, and what goes on in lines.

use std::collections::BTreeSet;

use scute_kit::Why;
use scute_kit::conditions::{Draft, Status};

use crate::upgrade::{State, Upgrade};

/// Type of the condition.
pub const RECONCILED: &str = "TopologyReconciled";

/// The condition of a Cluster whose objects were applied, or could not be.
#[must_use]
pub fn condition(done: &Result<Upgrade, Why>, version: &str, control_plane: &str) -> Draft {
    let upgrade = match done {
        Ok(upgrade) => upgrade,
        Err(why) => return Draft::new(RECONCILED, Status::False, &why.reason, &why.message),
    };
    if !upgrade.is_going_on() {
        return Draft::new(RECONCILED, Status::True, "ReconcileSucceeded", "");
    }
    let (lines, reason) = (lines(upgrade, control_plane), reason(upgrade));
    let message = format!("Cluster is upgrading to {version}\n{}", lines.join("\n"));
    Draft::new(RECONCILED, Status::False, reason, message)
}

fn reason(upgrade: &Upgrade) -> &'static str {
    let only_deferred = upgrade.upgrading.is_empty()
        && upgrade.pending.is_subset(&upgrade.deferred)
        && !upgrade.deferred.is_empty()
        && !matches!(upgrade.state, State::Starting | State::Upgrading);
    if only_deferred { "MachineDeploymentsUpgradeDeferred" } else { "ClusterUpgrading" }
}

fn lines(upgrade: &Upgrade, control_plane: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let version = &upgrade.control_plane;
    let rest: Vec<_> = upgrade.plan.iter().filter(|step| *step != version).map(String::as_str).collect();
    match upgrade.state {
        State::Starting | State::Upgrading => {
            let pending =
                if rest.is_empty() { String::new() } else { format!(" ({} pending)", rest.join(", ")) };
            lines.push(format!("  * {control_plane} upgrading to version {version}{pending}"));
        }
        State::WaitsForWorkers => lines.push(format!(
            "  * {control_plane} pending upgrade to version {}: the workers must have {version} first",
            rest.join(", ")
        )),
        _ if !upgrade.plan.is_empty() => {
            lines.push(format!("  * {control_plane} pending upgrade to version {}", upgrade.plan.join(", ")));
        }
        _ => {}
    }
    let workers_plan = upgrade.workers_plan.join(", ");
    let waiting: BTreeSet<_> = upgrade
        .pending
        .difference(&upgrade.deferred)
        .filter(|name| !upgrade.upgrading.contains(*name))
        .cloned()
        .collect();
    if !upgrade.upgrading.is_empty() {
        lines.push(format!("  * {} upgrading to version {version}", named(&upgrade.upgrading)));
    }
    if !waiting.is_empty() {
        lines.push(format!("  * {} pending upgrade to version {workers_plan}", named(&waiting)));
    }
    if !upgrade.deferred.is_empty() {
        lines.push(format!(
            "  * {} upgrade to version {version} deferred using defer-upgrade or hold-upgrade-sequence annotations",
            named(&upgrade.deferred)
        ));
    }
    if !upgrade.not_made.is_empty() {
        lines.push(format!(
            "  * {} creation deferred while control plane upgrade is in progress",
            named(&upgrade.not_made)
        ));
    }
    lines
}

/// At most three names.
fn named(names: &BTreeSet<String>) -> String {
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    match all.as_slice() {
        [one] => format!("MachineDeployment {one}"),
        few if few.len() <= 3 => format!("MachineDeployments {}", few.join(", ")),
        many => format!("MachineDeployments {}, ... ({} more)", many[..3].join(", "), many.len() - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_upgrade_on_its_way_says_who_does_what() {
        let upgrade = Upgrade {
            control_plane: "v1.34.3".into(),
            plan: vec!["v1.34.3".into(), "v1.35.4".into()],
            workers_plan: vec!["v1.35.4".into()],
            state: State::Upgrading,
            pending: names(&["a", "b", "c", "d"]),
            deferred: names(&["d"]),
            not_made: names(&["new"]),
            ..Upgrade::default()
        };
        let said = condition(&Ok(upgrade), "v1.35.4", "KamajiControlPlane");
        assert_eq!((said.status, said.reason.as_str()), (Status::False, "ClusterUpgrading"));
        assert_eq!(
            said.message,
            "Cluster is upgrading to v1.35.4
  * KamajiControlPlane upgrading to version v1.34.3 (v1.35.4 pending)
  * MachineDeployments a, b, c pending upgrade to version v1.35.4
  * MachineDeployment d upgrade to version v1.34.3 deferred using defer-upgrade or hold-upgrade-sequence annotations
  * MachineDeployment new creation deferred while control plane upgrade is in progress"
        );
    }

    #[test]
    fn what_only_an_annotation_holds_up_has_its_own_reason() {
        let upgrade = Upgrade {
            state: State::Stable,
            pending: names(&["a"]),
            deferred: names(&["a"]),
            ..Upgrade::default()
        };
        assert_eq!(condition(&Ok(upgrade), "v", "X").reason, "MachineDeploymentsUpgradeDeferred");
        let stable = Upgrade { state: State::Stable, ..Upgrade::default() };
        assert_eq!(condition(&Ok(stable), "v", "X").status, Status::True);
    }
}
