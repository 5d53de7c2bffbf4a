//! What became of looking up a reference: what is known to be absent is told apart from what is not known.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::DynamicObject;
use scute_api::meta::ContractRef;
use scute_kit::Key;
use scute_kit::conditions::{Draft, Status};

use crate::owners::other_owner;
use crate::served::{CONTRACT_LABELS, Served};

/// What became of looking up a reference.
#[derive(Clone, Debug)]
pub enum Found {
    /// There is no object of this name.
    Missing,
    /// The kind is not installed: the CustomResourceDefinition of this name does not exist.
    NotInstalled(String),
    /// The CustomResourceDefinition of this name is of no contract: the kind is no provider's.
    NoContract(String),
    /// The object belongs to another owner of the same kind, which is named: it is referred to by mistake.
    Foreign(String),
    /// Whether there is such an object is not known. Nothing may be concluded from that.
    Unknown(Unknown),
    /// The object.
    Object(External),
}

/// Why it is not known whether there is an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The first listing of the kind is not complete.
    NotListedYet(String),
    /// Objects of the kind cannot be listed, and what the API server says.
    CannotBeListed(String, String),
    /// The API server refuses to give the object, and why.
    Refused(String),
    /// The API server does not answer.
    Silent,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListedYet(kind) => write!(f, "the objects of kind {kind} are not listed yet"),
            Self::CannotBeListed(kind, why) => {
                write!(f, "the objects of kind {kind} cannot be listed: {why}")
            }
            Self::Refused(why) => f.write_str(why),
            Self::Silent => f.write_str("the API server does not answer"),
        }
    }
}

/// A provider's object, and how it is served.
#[derive(Clone, Debug)]
pub struct External {
    /// Version and contract of its kind.
    pub served: Served,
    /// The object as last seen.
    pub object: Arc<DynamicObject>,
}

impl External {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::new(self.object.namespace().unwrap_or_default(), self.object.name_any())
    }

    /// Whether a deletion has been asked for.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }
}

/// Kind and name of what a reference names, for messages.
#[must_use]
pub fn named(reference: &ContractRef) -> String {
    format!("{} {}", reference.kind, reference.name)
}

/// What keeps a reference from being followed: reason of a condition, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// False for what is known to be absent, else Unknown.
    pub status: Status,
    /// One word.
    pub reason: &'static str,
    /// A sentence for who wrote the reference.
    pub message: String,
}

impl Absence {
    /// As a condition.
    #[must_use]
    pub fn condition(self, type_: &str) -> Draft {
        Draft::new(type_, self.status, self.reason, self.message)
    }
}

impl Found {
    /// The object, if there is one.
    #[must_use]
    pub fn object(&self) -> Option<&External> {
        match self {
            Self::Object(external) => Some(external),
            Self::Missing
            | Self::NotInstalled(_)
            | Self::NoContract(_)
            | Self::Foreign(_)
            | Self::Unknown(_) => None,
        }
    }

    /// The same, but for an object that belongs to another of `owner`'s kind. Two objects that name one must not pull
    /// at it, and the deletion of one must not take the other's.
    #[must_use]
    pub fn for_owner(self, owner: &OwnerReference) -> Self {
        match &self {
            Self::Object(external) => match other_owner(&external.object.metadata, owner) {
                Some(other) => Self::Foreign(format!("{} {}", other.kind, other.name)),
                None => self,
            },
            _ => self,
        }
    }

    /// Why it is not known whether there is an object. `was_served` says that the owner has once read this object by
    /// its contract: a kind that has lost its labels since then is not proof of anything.
    #[must_use]
    pub fn unknown(&self, was_served: bool) -> Option<String> {
        match self {
            Self::Unknown(why) => Some(why.to_string()),
            Self::NoContract(crd) if was_served => Some(no_contract(crd)),
            Self::NoContract(_)
            | Self::Missing
            | Self::NotInstalled(_)
            | Self::Foreign(_)
            | Self::Object(_) => None,
        }
    }

    /// What keeps the reference from being followed; `None` when it can be. `was_there` says that an object of kind
    /// `owner` has had it before.
    #[must_use]
    pub fn absence(&self, reference: &ContractRef, owner: &str, was_there: bool) -> Option<Absence> {
        let named = named(reference);
        let (status, reason, message) = match self {
            Self::Object(_) => return None,
            Self::Missing if was_there => {
                let message = format!("{named} has been deleted while the {owner} exists");
                (Status::False, "ObjectDeleted", message)
            }
            Self::Missing => (Status::False, "ObjectDoesNotExist", format!("{named} does not exist")),
            Self::NotInstalled(crd) => {
                let ContractRef { api_group, kind, .. } = reference;
                let message = format!(
                    "{named}: no provider of kind {kind} of {api_group} is installed (CustomResourceDefinition {crd} \
                     does not exist)"
                );
                (Status::False, "KindNotInstalled", message)
            }
            Self::NoContract(crd) => (Status::False, "NoContract", format!("{named}: {}", no_contract(crd))),
            Self::Foreign(other) => {
                (Status::False, "BelongsToAnother", format!("{named} belongs to {other} already"))
            }
            Self::Unknown(why) => (Status::Unknown, "InternalError", format!("{named}: {why}")),
        };
        Some(Absence { status, reason, message })
    }
}

fn no_contract(crd: &str) -> String {
    let [newest, older] = CONTRACT_LABELS.map(|(_, label)| label);
    format!(
        "the kind is no Cluster API provider's: CustomResourceDefinition {crd} has no label {newest} or {older} that \
         names one of its versions"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> ContractRef {
        ContractRef {
            api_group: "infrastructure.cluster.x-k8s.io".into(),
            kind: "TestCluster".into(),
            name: "c".into(),
        }
    }

    fn absence(found: &Found, was_there: bool) -> (Status, &'static str, String) {
        let Absence { status, reason, message } =
            found.absence(&reference(), "Cluster", was_there).expect("absent");
        (status, reason, message)
    }

    #[test]
    fn each_way_of_being_absent_has_its_own_words() {
        let crd = || "testclusters.infrastructure.cluster.x-k8s.io".to_owned();
        let (status, reason, message) = absence(&Found::Missing, false);
        assert_eq!(
            (status, reason, message.as_str()),
            (Status::False, "ObjectDoesNotExist", "TestCluster c does not exist")
        );
        assert_eq!(absence(&Found::Missing, true).1, "ObjectDeleted");
        let (_, reason, message) = absence(&Found::NotInstalled(crd()), true);
        assert_eq!(reason, "KindNotInstalled");
        assert!(message.starts_with("TestCluster c: no provider of kind TestCluster"), "{message}");
        let (status, reason, message) = absence(&Found::NoContract(crd()), false);
        assert_eq!((status, reason), (Status::False, "NoContract"));
        assert!(message.contains("has no label cluster.x-k8s.io/v1beta2"), "{message}");
        let why = Unknown::CannotBeListed("TestCluster".into(), "forbidden".into());
        let (status, reason, message) = absence(&Found::Unknown(why), false);
        assert_eq!((status, reason), (Status::Unknown, "InternalError"));
        assert_eq!(message, "TestCluster c: the objects of kind TestCluster cannot be listed: forbidden");
    }

    #[test]
    fn a_contract_that_was_lost_proves_nothing() {
        let lost = Found::NoContract("x".into());
        assert!(lost.unknown(true).is_some());
        assert_eq!(lost.unknown(false), None, "a mistake was never served");
        assert_eq!(Found::Missing.unknown(true), None);
        assert!(Found::Unknown(Unknown::Silent).unknown(false).is_some());
    }
}
