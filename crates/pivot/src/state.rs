//! What the Cluster says of itself. Pure.

use scute_api::cluster::Cluster;

/// Whether it has an annotation.
pub fn has(cluster: &Cluster, annotation: &str) -> bool {
    cluster.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(annotation))
}

/// What a Cluster lacks before it can take Scute: its API server has to answer and its Nodes have to be there.
pub fn available(cluster: &Cluster) -> Option<String> {
    let conditions = || cluster.status.iter().flat_map(|status| &status.conditions);
    if conditions().any(|condition| condition.type_ == "Available" && condition.status == "True") {
        return None;
    }
    // In the order in which they come to be.
    let order = [
        "InfrastructureReady",
        "ControlPlaneInitialized",
        "ControlPlaneAvailable",
        "WorkersAvailable",
        "Available",
    ];
    let lacking = order.iter().find_map(|kind| {
        conditions().find(|condition| condition.type_ == *kind && condition.status != "True")
    });
    Some(lacking.map_or_else(
        || "nobody has looked at it yet".to_owned(),
        |condition| match condition.message.as_str() {
            "" => format!("{}: {}", condition.type_, condition.reason),
            message => format!("{}: {}", condition.type_, message.lines().collect::<Vec<_>>().join(" ")),
        },
    ))
}

/// What a moved Cluster lacks until its new manager has looked at it since.
pub fn awake(cluster: &Cluster) -> Option<String> {
    let status = cluster.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation) >= cluster.metadata.generation;
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    let is_awake = conditions.any(|condition| {
        condition.type_ == "Paused"
            && condition.status == "False"
            && condition.observed_generation >= cluster.metadata.generation
    });
    (!seen || !is_awake).then(|| "Paused: the new manager has not looked at it yet".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(generation: i64, conditions: &[(&str, &str, &str)]) -> Cluster {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status, message)| {
                json!({"type": kind, "status": status, "reason": "Why", "message": message, "observedGeneration": 2,
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        let cluster = json!({"metadata": {"name": "c", "generation": generation}, "spec": {},
            "status": {"observedGeneration": 2, "conditions": conditions}});
        serde_json::from_value(cluster).unwrap()
    }

    #[test]
    fn the_first_thing_that_is_lacking_is_told_in_one_line() {
        assert_eq!(available(&cluster(2, &[])).as_deref(), Some("nobody has looked at it yet"));
        let all = [
            ("Available", "False", "* all"),
            ("ControlPlaneInitialized", "False", ""),
            ("InfrastructureReady", "False", "* no host\n* none"),
        ];
        assert_eq!(available(&cluster(2, &all)).as_deref(), Some("InfrastructureReady: * no host * none"));
        assert_eq!(available(&cluster(2, &all[..2])).as_deref(), Some("ControlPlaneInitialized: Why"));
        assert_eq!(available(&cluster(2, &[("Available", "True", "")])), None);
    }

    #[test]
    fn a_cluster_is_awake_once_its_manager_has_seen_that_it_is() {
        assert_eq!(awake(&cluster(2, &[("Paused", "False", "")])), None);
        for asleep in
            [cluster(3, &[("Paused", "False", "")]), cluster(2, &[("Paused", "True", "")]), cluster(2, &[])]
        {
            assert!(awake(&asleep).is_some(), "{asleep:?}");
        }
    }
}
