//! The status of a ClusterResourceSet, computed as a whole on every pass.

use jiff::Timestamp;
use scute_api::addons::{ClusterResourceSet, ClusterResourceSetStatus};
use scute_contract::paused;
use scute_kit::conditions::{Conditions, Status};
use scute_kit::{Next, Why};

use super::apply::Done;

/// Lines that a message has at most.
const MOST: usize = 10;

/// The status.
#[must_use]
pub fn report(set: &ClusterResourceSet, done: &Done, now: Timestamp) -> ClusterResourceSetStatus {
    let before = set.status.clone().unwrap_or_default();
    let conditions = Conditions::new(&before.conditions, set.metadata.generation, now);
    let conditions = match said(done) {
        None => conditions.put("ResourcesApplied", Status::True, "Applied", ""),
        Some((reason, message)) => conditions.put("ResourcesApplied", Status::False, reason, message),
    };
    ClusterResourceSetStatus {
        conditions: paused::put(conditions, None).finish(),
        observed_generation: set.metadata.generation,
        deprecated: None,
    }
}

/// Why not all of it is in all of the Clusters.
fn said(done: &Done) -> Option<(&'static str, String)> {
    let Done { wrong_type, waits, failures, again } = done;
    let wrong = wrong_type
        .iter()
        .map(|name| format!("Secret {name} must be of type {}", scute_api::addons::RESOURCE_SET_SECRET_TYPE));
    let mut lines: Vec<String> = wrong.chain(failures.iter().cloned()).chain(waits.iter().cloned()).collect();
    let reason = if wrong_type.is_empty() { "NotApplied" } else { "WrongSecretType" };
    if lines.is_empty() {
        return again.is_some().then(|| (reason, "Being applied".to_owned()));
    }
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    let mut lines: Vec<_> = lines.iter().map(|line| format!("* {line}")).collect();
    if more > 0 {
        lines.push(format!("* and {more} more"));
    }
    Some((reason, lines.join("\n")))
}

/// What follows: what failed is tried again, what is waited for comes by itself.
#[must_use]
pub fn next(done: &Done) -> Next {
    match (&done.again, said(done)) {
        (_, Some((reason, message))) if !done.failures.is_empty() => Next::Failed(Why::new(reason, message)),
        (Some(why), _) => Next::Failed(why.clone()),
        (None, Some((reason, message))) => Next::OnChange(Why::new(reason, message)),
        (None, None) => Next::Settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_said_and_a_wrong_type_first() {
        let done = Done {
            wrong_type: vec!["s".into()],
            waits: vec!["ConfigMap a does not exist".into()],
            failures: vec!["Cluster c: ConfigMap b: b.yaml is neither YAML nor JSON".into()],
            again: None,
        };
        let (reason, message) = said(&done).expect("something");
        assert_eq!(reason, "WrongSecretType");
        assert_eq!(
            message,
            "* Secret s must be of type addons.cluster.x-k8s.io/resource-set\n\
             * Cluster c: ConfigMap b: b.yaml is neither YAML nor JSON\n* ConfigMap a does not exist"
        );
        assert!(matches!(next(&done), Next::Failed(_)));
        let waits = Done { waits: vec!["x".into()], ..Done::default() };
        assert!(matches!(next(&waits), Next::OnChange(_)));
        assert_eq!(said(&Done::default()), None);
    }

    #[test]
    fn a_long_list_is_cut() {
        let done = Done { waits: (0..40).map(|n| format!("w{n}")).collect(), ..Done::default() };
        let (_, message) = said(&done).expect("something");
        assert!(message.ends_with("* w9\n* and 30 more"), "{message}");
    }
}
