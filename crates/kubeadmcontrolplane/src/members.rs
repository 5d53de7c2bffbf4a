//! Who of etcd's members is well, who is too many, and who may go. Pure.

use std::collections::BTreeMap;

use kube::ResourceExt;
use scute_api::cluster::Machine;
use scute_etcd::{Peer, View};
use scute_kit::conditions::{Draft, Status};

use crate::inspect::Inside;
use crate::machines::{ETCD_MEMBER, is, is_leaving, node};

type Views = BTreeMap<String, Result<View, String>>;

/// The view to trust: of a member that has a majority behind it, else of any that answers.
#[must_use]
pub fn best(views: &Views) -> Option<(&str, &View)> {
    let all = || views.iter().filter_map(|(node, view)| Some((node.as_str(), view.as_ref().ok()?)));
    all().find(|(_, view)| view.no_quorum.is_none()).or_else(|| all().next())
}

/// The condition of a Machine about its member.
#[must_use]
pub fn condition(machine: &Machine, views: &Views) -> Draft {
    let unknown = |message: String| Draft::new(ETCD_MEMBER, Status::Unknown, "InspectionFailed", message);
    let bad = |message: String| Draft::new(ETCD_MEMBER, Status::False, "NotHealthy", message);
    let Some(node) = node(machine) else { return unknown("Waiting for the Node of the Machine".to_owned()) };
    let Some((_, view)) = best(views) else {
        let why = views.values().find_map(|view| view.as_ref().err()).cloned().unwrap_or_default();
        return unknown(format!("Failed to connect to etcd: {why}"));
    };
    if let Some(why) = &view.no_quorum {
        return bad(format!("etcd has lost its quorum: {why}"));
    }
    let Some(member) = view.named(node) else {
        return bad(format!("etcd has no member {node}, only {}", names(view)));
    };
    let alarms: Vec<_> =
        view.alarms.iter().filter(|(id, _)| *id == member.id).map(|(_, alarm)| alarm.as_str()).collect();
    if !alarms.is_empty() {
        return bad(format!("etcd reports alarms: {}", alarms.join(", ")));
    }
    if member.learner {
        return bad("The member only learns and has no vote yet".to_owned());
    }
    match views.get(node) {
        Some(Ok(_)) => Draft::new(ETCD_MEMBER, Status::True, "Healthy", ""),
        Some(Err(why)) => unknown(format!("Failed to connect to the member on Node {node}: {why}")),
        None => unknown(format!("The member on Node {node} was not asked")),
    }
}

fn names(view: &View) -> String {
    let name = |member: &Peer| match member.name.as_str() {
        "" => format!("{:x} (not started yet)", member.id),
        name => name.to_owned(),
    };
    view.members.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What is wrong with the members as a whole.
#[must_use]
pub fn mismatches(inside: &Inside, machines: &[&Machine]) -> Vec<String> {
    let Some((_, view)) = best(&inside.etcd) else { return Vec::new() };
    let mut wrong = Vec::new();
    let mut lost: Vec<_> = machines
        .iter()
        .filter(|machine| !is_leaving(machine))
        .filter_map(|machine| node(machine))
        .filter(|node| view.named(node).is_none())
        .map(|node| format!("Node {node} has no etcd member"))
        .collect();
    wrong.append(&mut lost);
    let coming = machines.iter().any(|machine| node(machine).is_none());
    for member in &view.members {
        let known = machines.iter().any(|machine| node(machine) == Some(&member.name));
        if !known && !coming {
            let name = if member.name.is_empty() { format!("{:x}", member.id) } else { member.name.clone() };
            wrong.push(format!("etcd member {name} does not have a corresponding Machine"));
        }
    }
    wrong
}

/// What to do when the quorum is lost; `None` while there is one, or nobody answers.
#[must_use]
pub fn lost_quorum(inside: &Inside, machines: &[&Machine]) -> Option<String> {
    let (_, view) = best(&inside.etcd)?;
    view.no_quorum.as_ref()?;
    let silent: Vec<_> = machines
        .iter()
        .filter(|machine| node(machine).is_some_and(|node| !matches!(inside.etcd.get(node), Some(Ok(_)))))
        .map(|machine| machine.name_any())
        .collect();
    let votes = view.members.iter().filter(|member| !member.learner).count();
    Some(format!(
        "etcd has lost its quorum ({} of {votes} members must answer; those of {} do not): nothing is changed until it is \
         back. Start these Machines again with their disks; if they are lost, restore etcd from a snapshot on one Machine as \
         its documentation of disaster recovery says",
        votes / 2 + 1,
        if silent.is_empty() {
            "no known Machine".to_owned()
        } else {
            format!("Machines {}", silent.join(", "))
        },
    ))
}

/// Members of Nodes that are gone: they have a name, a vote, and no Machine or Node. Who has no vote yet is left alone, and
/// while a Machine is on its way nobody is sure whose a member is.
#[must_use]
pub fn orphans<'a>(inside: &'a Inside, machines: &[&Machine]) -> Vec<&'a Peer> {
    let Some((_, view)) = best(&inside.etcd).filter(|(_, view)| view.no_quorum.is_none()) else {
        return Vec::new();
    };
    if machines.is_empty() || machines.iter().any(|machine| node(machine).is_none()) {
        return Vec::new();
    }
    let is_orphan = |member: &&Peer| {
        !member.name.is_empty()
            && !member.learner
            && !inside.nodes.contains_key(&member.name)
            && machines.iter().all(|machine| node(machine) != Some(&member.name))
    };
    view.members.iter().filter(is_orphan).collect()
}

/// The members that a Machine on its way out leaves behind: that of its Node; of one that never got a Node those that are at
/// its address or have its name, and, when no other Machine is on its way, those that are nobody's.
#[must_use]
pub fn of_leaving<'a>(view: &'a View, machine: &Machine, machines: &[&Machine]) -> Vec<&'a Peer> {
    if let Some(node) = node(machine) {
        return view.members.iter().filter(|member| member.name == node).collect();
    }
    let claimed =
        |member: &Peer| machines.iter().any(|other| node(other).is_some_and(|node| node == member.name));
    let addresses = machine.status.as_ref().map(|status| status.addresses.as_slice()).unwrap_or_default();
    let is_there = |member: &Peer| {
        member.name == machine.name_any()
            || addresses
                .iter()
                .any(|address| member.peer_urls.iter().any(|url| host(url) == address.address.as_str()))
    };
    let only = machines.iter().filter(|other| node(other).is_none()).count() == 1;
    view.members.iter().filter(|member| !claimed(member) && (only || is_there(member))).collect()
}

/// The host of `https://10.0.0.1:2380` or `https://[fd00::1]:2380`.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => rest.rsplit_once(':').map_or(rest, |(host, _)| host),
    }
}

/// Whether the members that are left have a majority when that of this Machine is gone.
#[must_use]
pub fn may_lose(view: &View, machine: &Machine, machines: &[&Machine]) -> bool {
    let left: Vec<_> = view
        .members
        .iter()
        .filter(|member| !member.learner && Some(member.name.as_str()) != node(machine))
        .collect();
    let is_well = |member: &&&Peer| {
        machines.iter().any(|other| node(other) == Some(&member.name) && is(other, ETCD_MEMBER))
    };
    let well = left.iter().filter(is_well).count();
    view.no_quorum.is_none() && well > left.len() / 2
}

#[cfg(test)]
mod tests {
    use scute_etcd::fake_members::Ring;
    use serde_json::json;

    use super::*;

    fn machine(name: &str, with_node: bool, healthy: bool) -> Machine {
        let mut machine = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "metadata": {"name": name},
            "spec": {"clusterName": "c", "bootstrap": {"dataSecretName": "x"},
                "infrastructureRef": {"apiGroup": "infra.io", "kind": "TestMachine", "name": "m"}},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
                "conditions": [{"type": ETCD_MEMBER, "status": if healthy { "True" } else { "False" }, "reason": "R",
                "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
        });
        if with_node {
            machine["status"]["nodeRef"] = json!({ "name": name });
        }
        serde_json::from_value(machine).expect("a Machine")
    }

    fn leaving(mut machine: Machine) -> Machine {
        machine.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
        machine
    }

    /// What the ring's members say.
    async fn asked(ring: &Ring, nodes: &[&str]) -> Inside {
        let mut inside = Inside { begun: true, ..Inside::default() };
        for name in nodes {
            let view = ring.member(name).look().await.map_err(|error| error.to_string());
            inside.etcd.insert((*name).to_owned(), view);
            let node = crate::inspect::SeenNode { made: jiff::Timestamp::UNIX_EPOCH, heard: true };
            inside.nodes.insert((*name).to_owned(), node);
        }
        inside
    }

    fn ring(names: &[&str]) -> Ring {
        let ring = Ring::new();
        for name in names {
            ring.add(name);
        }
        ring
    }

    fn named(peers: &[&Peer]) -> Vec<String> {
        peers.iter().map(|peer| peer.name.clone()).collect()
    }

    #[tokio::test]
    async fn a_member_whose_node_is_gone_is_an_orphan_and_a_learner_is_none() {
        let ring = ring(&["a", "b", "gone"]);
        ring.add_learner("new");
        let inside = asked(&ring, &["a", "b"]).await;
        let (a, b) = (machine("a", true, true), machine("b", true, true));
        assert_eq!(named(&orphans(&inside, &[&a, &b])), ["gone"]);
        let coming = machine("c", false, false);
        assert!(orphans(&inside, &[&a, &b, &coming]).is_empty(), "it may be that one's");
        ring.kill("b");
        ring.kill("gone");
        let inside = asked(&ring, &["a", "b"]).await;
        assert!(orphans(&inside, &[&a, &b]).is_empty(), "without a quorum nothing is changed");
    }

    #[tokio::test]
    async fn a_join_that_failed_leaves_what_is_at_its_address_or_nobodys() {
        let ring = ring(&["a", "b"]);
        ring.add_learner("");
        let inside = asked(&ring, &["a", "b"]).await;
        let (_, view) = best(&inside.etcd).expect("a view");
        let (a, b) = (machine("a", true, true), machine("b", true, true));
        let failed = leaving(machine("c", false, false));
        assert_eq!(of_leaving(view, &failed, &[&a, &b, &failed]).len(), 1);
        let coming = machine("d", false, false);
        assert!(of_leaving(view, &failed, &[&a, &b, &failed, &coming]).is_empty(), "it may be the other's");
        let gone = leaving(machine("b", true, true));
        assert_eq!(named(&of_leaving(view, &gone, &[&a, &gone])), ["b"], "by name where it has a Node");
    }

    #[tokio::test]
    async fn the_quorum_is_never_put_at_risk() {
        let three = ring(&["a", "b", "c"]);
        let inside = asked(&three, &["a", "b", "c"]).await;
        let (_, view) = best(&inside.etcd).expect("a view");
        let (a, b, c) = (machine("a", true, true), machine("b", true, true), machine("c", true, false));
        assert!(may_lose(view, &c, &[&a, &b, &c]));
        assert!(!may_lose(view, &a, &[&a, &b, &c]), "one of two that are left is not a majority");
        let one = ring(&["a"]);
        let inside = asked(&one, &["a"]).await;
        let (_, view) = best(&inside.etcd).expect("a view");
        assert!(!may_lose(view, &a, &[&a]));
    }

    #[tokio::test]
    async fn a_lost_quorum_is_told_with_what_to_do() {
        let ring = ring(&["a", "b", "c"]);
        let machines = [machine("a", true, true), machine("b", true, true), machine("c", true, true)];
        let all: Vec<_> = machines.iter().collect();
        assert_eq!(lost_quorum(&asked(&ring, &["a", "b", "c"]).await, &all), None);
        ring.kill("b");
        ring.kill("c");
        let inside = asked(&ring, &["a", "b", "c"]).await;
        let said = lost_quorum(&inside, &all).expect("told");
        assert!(
            said.starts_with(
                "etcd has lost its quorum (2 of 3 members must answer; those of Machines b, c do not)"
            ),
            "{said}"
        );
        let draft = condition(&machines[0], &inside.etcd);
        assert_eq!((draft.status, draft.reason.as_str()), (Status::False, "NotHealthy"));
    }

    #[tokio::test]
    async fn each_machine_hears_of_its_own_member() {
        let ring = ring(&["a", "b", "c"]);
        ring.kill("c");
        ring.alarm("b", "NOSPACE");
        let inside = asked(&ring, &["a", "b", "c"]).await;
        let said = |machine: &Machine| {
            let draft = condition(machine, &inside.etcd);
            format!("{} {} {}", draft.status.as_str(), draft.reason, draft.message)
        };
        assert_eq!(said(&machine("a", true, true)), "True Healthy ");
        assert_eq!(said(&machine("b", true, true)), "False NotHealthy etcd reports alarms: NOSPACE");
        assert!(
            said(&machine("c", true, true))
                .starts_with("Unknown InspectionFailed Failed to connect to the member on")
        );
        assert!(
            said(&machine("d", true, true))
                .starts_with("False NotHealthy etcd has no member d, only a, b, c")
        );
        assert!(said(&machine("e", false, true)).starts_with("Unknown InspectionFailed Waiting for"));
    }

    #[test]
    fn hosts_of_peers_are_read() {
        assert_eq!(host("https://10.0.0.1:2380"), "10.0.0.1");
        assert_eq!(host("https://[fd00::1]:2380"), "fd00::1");
    }
}
