//! Where a new Machine goes, and which one leaves. Pure.

use std::collections::BTreeMap;

use kube::ResourceExt;
use scute_api::cluster::{Cluster, DELETE_MACHINE_ANNOTATION, Machine};

use crate::machines::{failure_domain, health_conditions, is, is_leaving, is_unhealthy, oldest};

/// The failure domains of a Cluster that are for control planes.
fn domains(cluster: &Cluster) -> Vec<String> {
    let all = cluster.status.as_ref().map(|status| status.failure_domains.as_slice()).unwrap_or_default();
    all.iter().filter(|domain| domain.control_plane == Some(true)).map(|domain| domain.name.clone()).collect()
}

/// The failure domain with the fewest Machines that stay, then with the fewest at all; none where the Cluster has none.
#[must_use]
pub fn emptiest(cluster: &Cluster, machines: &[&Machine], outdated: &[&Machine]) -> Option<String> {
    let is_outdated = |machine: &Machine| outdated.iter().any(|other| other.name_any() == machine.name_any());
    let count = |domain: &str, counts: &dyn Fn(&Machine) -> bool| {
        machines.iter().filter(|machine| failure_domain(machine) == Some(domain) && counts(machine)).count()
    };
    domains(cluster).into_iter().min_by_key(|domain| {
        let staying = count(domain, &|machine| !is_outdated(machine) && !is_leaving(machine));
        (staying, count(domain, &|_| true), domain.clone())
    })
}

/// The Machine that goes next: those that the user marked come first, then outdated ones that are not well, then outdated
/// ones, then any; of those the oldest in the failure domain with the most Machines.
#[must_use]
pub fn next_to_go<'a>(
    cluster: &Cluster,
    machines: &[&'a Machine],
    outdated: &[&'a Machine],
    stacked: bool,
) -> Option<&'a Machine> {
    let marked = |among: &[&'a Machine]| -> Vec<&'a Machine> {
        let is_marked = |machine: &Machine| machine.annotations().contains_key(DELETE_MACHINE_ANNOTATION);
        among.iter().copied().filter(|machine| is_marked(machine)).collect()
    };
    let unwell = |machine: &Machine| {
        is_unhealthy(machine) || health_conditions(stacked).iter().any(|type_| !is(machine, type_))
    };
    let ill: Vec<_> = outdated.iter().copied().filter(|machine| unwell(machine)).collect();
    let choices = [marked(outdated), marked(machines), ill, outdated.to_vec(), machines.to_vec()];
    let eligible = choices.into_iter().find(|choice| !choice.is_empty())?;
    let domain = fullest(cluster, machines, &eligible);
    oldest(eligible.into_iter().filter(|machine| known_domain(cluster, machine) == domain))
}

/// The failure domain of a Machine, if the Cluster has it.
fn known_domain<'a>(cluster: &Cluster, machine: &'a Machine) -> Option<&'a str> {
    failure_domain(machine).filter(|domain| domains(cluster).iter().any(|known| known == domain))
}

/// Of the failure domains of the eligible Machines the one with the most Machines; one that the Cluster does not have goes
/// before all.
fn fullest<'a>(cluster: &Cluster, machines: &[&'a Machine], eligible: &[&'a Machine]) -> Option<&'a str> {
    if eligible.iter().any(|machine| known_domain(cluster, machine).is_none()) {
        return None;
    }
    let mut counts: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for machine in eligible {
        let domain = known_domain(cluster, machine);
        let count = machines.iter().filter(|machine| known_domain(cluster, machine) == domain).count();
        counts.insert(domain, count);
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).and_then(|(domain, _)| domain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(domains: &[&str]) -> Cluster {
        let domains: Vec<_> =
            domains.iter().map(|name| json!({"name": name, "controlPlane": true})).collect();
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"}, "spec": {},
            "status": {"failureDomains": domains}
        }))
        .expect("a Cluster")
    }

    /// A Machine with its place and its age in days.
    fn machine(name: &str, domain: &str, day: u8, annotations: serde_json::Value) -> Machine {
        let healthy: Vec<_> = health_conditions(true)
            .iter()
            .map(|type_| {
                json!({"type": type_, "status": "True", "reason": "R", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": name, "annotations": annotations, "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")},
            "spec": {"clusterName": "c", "bootstrap": {"dataSecretName": "x"}, "failureDomain": domain,
                "infrastructureRef": {"apiGroup": "infra.io", "kind": "TestMachine", "name": "m"}},
            "status": {"conditions": healthy}
        }))
        .expect("a Machine")
    }

    fn goes(cluster: &Cluster, machines: &[Machine], outdated: &[usize]) -> String {
        let all: Vec<_> = machines.iter().collect();
        let outdated: Vec<_> = outdated.iter().map(|index| &machines[*index]).collect();
        next_to_go(cluster, &all, &outdated, true).map(ResourceExt::name_any).unwrap_or_default()
    }

    #[test]
    fn new_machines_are_spread() {
        let three = cluster(&["a", "b", "c"]);
        let machines = [machine("m1", "a", 1, json!({})), machine("m2", "b", 2, json!({}))];
        let all: Vec<_> = machines.iter().collect();
        assert_eq!(emptiest(&three, &all, &[]).as_deref(), Some("c"));
        assert_eq!(emptiest(&three, &[], &[]).as_deref(), Some("a"));
        assert_eq!(
            emptiest(&cluster(&["a", "b"]), &all, &[&machines[0]]).as_deref(),
            Some("a"),
            "m1 will go"
        );
        assert_eq!(emptiest(&cluster(&[]), &all, &[]), None);
    }

    #[test]
    fn the_oldest_in_the_fullest_domain_goes_first() {
        let three = cluster(&["a", "b", "c"]);
        let machines = [
            machine("m1", "a", 1, json!({})),
            machine("m2", "b", 2, json!({})),
            machine("m3", "b", 3, json!({})),
        ];
        assert_eq!(goes(&three, &machines, &[]), "m2");
        assert_eq!(goes(&three, &machines, &[0]), "m1", "an outdated one before others");
        assert_eq!(goes(&cluster(&[]), &machines, &[]), "m1", "without domains by age");
    }

    #[test]
    fn a_marked_one_goes_before_all_and_an_ill_one_before_a_well_one() {
        let c = cluster(&["a"]);
        let mut machines = vec![
            machine("m1", "a", 1, json!({})),
            machine("m2", "a", 2, json!({})),
            machine("m3", "a", 3, json!({})),
        ];
        if let Some(status) = machines[1].status.as_mut() {
            status.conditions[0].status = "False".into();
        }
        assert_eq!(goes(&c, &machines, &[0, 1]), "m2");
        machines[2].annotations_mut().insert(DELETE_MACHINE_ANNOTATION.into(), String::new());
        assert_eq!(goes(&c, &machines, &[0, 1]), "m3", "also one that is up to date");
    }

    #[test]
    fn a_machine_in_a_domain_that_is_gone_goes_first() {
        let machines = [machine("m1", "a", 1, json!({})), machine("m2", "gone", 2, json!({}))];
        assert_eq!(goes(&cluster(&["a"]), &machines, &[]), "m2");
    }
}
