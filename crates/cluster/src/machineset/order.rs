//! Which Machines of a set go first. Pure.

use kube::ResourceExt;
use scute_api::cluster::{
    DELETE_MACHINE_ANNOTATION, HEALTH_CHECK_SUCCEEDED, Machine, MachineSetDeletionOrder,
};
use scute_kit::conditions::is_true;

/// How ready a Machine is to go; the smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Deleting,
    Marked,
    Unhealthy,
    Ordinary,
}

fn rank(machine: &Machine) -> Rank {
    let status = machine.status.as_ref();
    let has_node = status.is_some_and(|status| status.node_ref.is_some());
    let healthy = status.is_some_and(|status| {
        let bad = |type_: &str| {
            status.conditions.iter().any(|condition| condition.type_ == type_ && condition.status != "True")
        };
        is_true(&status.conditions, "NodeHealthy") && !bad(HEALTH_CHECK_SUCCEEDED)
    });
    if machine.metadata.deletion_timestamp.is_some() {
        Rank::Deleting
    } else if machine.annotations().contains_key(DELETE_MACHINE_ANNOTATION) {
        Rank::Marked
    } else if !has_node || !healthy {
        Rank::Unhealthy
    } else {
        Rank::Ordinary
    }
}

/// The Machines in the order in which they go: those that go already, those that are marked, those
/// without a healthy Node, then by age as asked, then by name.
#[must_use]
pub fn by_departure<'a>(
    machines: impl IntoIterator<Item = &'a Machine>,
    order: MachineSetDeletionOrder,
) -> Vec<&'a Machine> {
    let mut machines: Vec<_> = machines.into_iter().collect();
    machines.sort_by_key(|machine| {
        let made = machine.metadata.creation_timestamp.as_ref().map_or(0, |made| made.0.as_second());
        let age = match order {
            MachineSetDeletionOrder::Random => 0,
            MachineSetDeletionOrder::Newest => -made,
            MachineSetDeletionOrder::Oldest => made,
        };
        (rank(machine), age, machine.name_any())
    });
    machines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(name: &str, made: &str) -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": name, "creationTimestamp": made},
            "spec": {"clusterName": "c", "bootstrap": {}, "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}},
            "status": {"nodeRef": {"name": name}, "conditions": [{"type": "NodeHealthy", "status": "True",
                "reason": "NodeHealthy", "message": "", "lastTransitionTime": made}]}
        }))
        .expect("a Machine")
    }

    fn names(machines: &[Machine], order: MachineSetDeletionOrder) -> Vec<String> {
        by_departure(machines, order).into_iter().map(ResourceExt::name_any).collect()
    }

    #[test]
    fn the_story_of_a_shrinking_set() {
        let mut machines = vec![
            machine("a-old", "2026-01-01T00:00:00Z"),
            machine("b-young", "2026-03-01T00:00:00Z"),
            machine("c-sick", "2026-02-01T00:00:00Z"),
            machine("d-marked", "2026-02-01T00:00:00Z"),
            machine("e-going", "2026-02-01T00:00:00Z"),
        ];
        if let Some(status) = machines[2].status.as_mut() {
            status.conditions[0].status = "Unknown".into();
        }
        machines[3].annotations_mut().insert(DELETE_MACHINE_ANNOTATION.into(), "yes".into());
        machines[4].metadata.deletion_timestamp = machines[4].metadata.creation_timestamp.clone();
        let first = ["e-going", "d-marked", "c-sick"];
        assert_eq!(
            names(&machines, MachineSetDeletionOrder::Newest),
            [&first[..], &["b-young", "a-old"]].concat()
        );
        assert_eq!(
            names(&machines, MachineSetDeletionOrder::Oldest),
            [&first[..], &["a-old", "b-young"]].concat()
        );
        assert_eq!(
            names(&machines, MachineSetDeletionOrder::Random),
            [&first[..], &["a-old", "b-young"]].concat()
        );
    }

    #[test]
    fn a_machine_without_a_node_goes_before_one_with() {
        let mut machines = vec![machine("a", "2026-01-01T00:00:00Z"), machine("b", "2026-01-01T00:00:00Z")];
        machines[1].status = None;
        assert_eq!(names(&machines, MachineSetDeletionOrder::Random), ["b", "a"]);
    }
}
