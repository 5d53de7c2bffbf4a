//! Which Node of the tenant is the server. Pure.
//!
//! A kubelet that knows the providerID says it. Else the Node carries the UID of its BareMetalHost as a label, if its image
//! or bootstrap data asks for it, or the name of its Machine or host; then it is given the providerID.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use scute_api::infrastructure::NODE_UUID_LABEL;
use scute_contract::summary::listed;

/// How many Nodes a message names.
const NAMED: usize = 3;

/// What a server is known by.
pub struct Marks<'a> {
    /// `metal3://<namespace>/<host>/<machine>`; none when a cloud provider gives another.
    pub provider_id: Option<&'a str>,
    /// UID of the BareMetalHost.
    pub uid: &'a str,
    /// Names that the Node may have.
    pub names: &'a [String],
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// No Node yet.
    None,
    /// The Node, which has its providerID.
    Marked(Arc<Node>),
    /// The Node, which has no providerID.
    Unmarked(Arc<Node>),
    /// It cannot be told, or must not be so, for a person.
    Wrong(String),
}

/// The Node among these.
#[must_use]
pub fn node_of(nodes: &[Arc<Node>], marks: &Marks) -> Match {
    let id = |node: &Node| node.spec.as_ref().and_then(|spec| spec.provider_id.clone()).unwrap_or_default();
    let only = |of: &dyn Fn(&Node) -> bool, by: &str| -> Result<Option<Arc<Node>>, String> {
        let found: Vec<_> = nodes.iter().filter(|node| of(node)).collect();
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(Arc::clone(one))),
            many => {
                let names = listed("Node", many.iter().map(|node| node.name_any()), NAMED);
                Err(format!("{names} all have {by}: one server is one Node"))
            }
        }
    };
    let by_id = |node: &Node| marks.provider_id.is_some_and(|wanted| id(node) == wanted);
    let by_label = |node: &Node| node.labels().get(NODE_UUID_LABEL).is_some_and(|uid| uid == marks.uid);
    // A Node of that name which says that it is another server is one.
    let by_name = |node: &Node| {
        id(node).is_empty()
            && !node.labels().contains_key(NODE_UUID_LABEL)
            && marks.names.contains(&node.name_any())
    };
    let found = only(&by_id, &format!("the providerID {}", marks.provider_id.unwrap_or_default()))
        .and_then(|found| {
            found.map_or_else(
                || only(&by_label, &format!("the label {NODE_UUID_LABEL}={}", marks.uid)),
                |node| Ok(Some(node)),
            )
        })
        .and_then(|found| {
            found.map_or_else(|| only(&by_name, "the name of the Machine or host"), |node| Ok(Some(node)))
        });
    match (found, marks.provider_id) {
        (Err(why), _) => Match::Wrong(why),
        (Ok(None), _) => Match::None,
        (Ok(Some(node)), _) if id(&node).is_empty() => Match::Unmarked(node),
        (Ok(Some(node)), Some(wanted)) if id(&node) != wanted => Match::Wrong(format!(
            "Node {} has the providerID {} and not {wanted}",
            node.name_any(),
            id(&node)
        )),
        (Ok(Some(node)), _) => Match::Marked(node),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, id: Option<&str>, uid: Option<&str>) -> Arc<Node> {
        let labels: Value = uid.map_or(json!({}), |uid| json!({ NODE_UUID_LABEL: uid }));
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name, "labels": labels}, "spec": {"providerID": id}}),
            )
            .unwrap(),
        )
    }

    const ID: &str = "metal3://ns/host/m";

    fn found(nodes: &[Arc<Node>]) -> String {
        let names = ["m".to_owned(), "host".to_owned()];
        match node_of(nodes, &Marks { provider_id: Some(ID), uid: "u", names: &names }) {
            Match::None => "none".to_owned(),
            Match::Marked(node) => format!("marked {}", node.name_any()),
            Match::Unmarked(node) => format!("unmarked {}", node.name_any()),
            Match::Wrong(why) => why,
        }
    }

    #[test]
    fn a_node_is_known_by_id_then_by_label_then_by_name() {
        let (by_id, by_label, by_name) =
            (node("x", Some(ID), None), node("y", None, Some("u")), node("m", None, None));
        let stranger = node("z", Some("kubevirt://z"), None);
        assert_eq!(found(&[stranger.clone(), by_name.clone(), by_label.clone(), by_id]), "marked x");
        assert_eq!(found(&[stranger.clone(), by_name.clone(), by_label]), "unmarked y");
        assert_eq!(found(&[stranger.clone(), by_name]), "unmarked m");
        assert_eq!(found(&[stranger]), "none");
    }

    #[test]
    fn two_nodes_of_one_server_and_a_node_of_another_id_are_told() {
        let two = found(&[node("a", None, Some("u")), node("b", None, Some("u"))]);
        assert_eq!(two, "Nodes a, b all have the label metal3.io/uuid=u: one server is one Node");
        let other = found(&[node("a", Some("metal3://ns/host/old"), Some("u"))]);
        assert_eq!(other, "Node a has the providerID metal3://ns/host/old and not metal3://ns/host/m");
    }

    #[test]
    fn the_name_of_a_node_with_another_identity_says_nothing() {
        assert_eq!(
            found(&[node("m", Some("kubevirt://m"), None), node("host", None, Some("other"))]),
            "none"
        );
    }
}
