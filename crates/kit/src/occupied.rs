//! Whether a name is free: one rule for whatever a controller makes under a name that a user may have taken.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Who has the name of an object that a controller is about to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Occupied {
    /// Nobody.
    Free,
    /// The owner itself.
    Own,
    /// Nobody else, and the label hands it over.
    Handed,
    /// Another controller, which has to let go first.
    Former(OwnerReference),
    /// Somebody who made it by hand: neither written nor taken over.
    Foreign,
}

impl Occupied {
    /// Whether the object may be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        matches!(self, Self::Free | Self::Own | Self::Handed)
    }
}

/// Who has a name, for an owner of this UID; objects without an owner are taken over where they carry `label`.
#[must_use]
pub fn occupied(found: Option<&ObjectMeta>, uid: &str, label: Option<(&str, &str)>) -> Occupied {
    let Some(meta) = found else { return Occupied::Free };
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    if owners.iter().any(|owner| owner.uid == uid) {
        return Occupied::Own;
    }
    if let Some(controller) = owners.iter().find(|owner| owner.controller == Some(true)) {
        return Occupied::Former(controller.clone());
    }
    let has = |(key, value): (&str, &str)| {
        meta.labels.as_ref().and_then(|labels| labels.get(key)).is_some_and(|found| found == value)
    };
    if label.is_some_and(has) { Occupied::Handed } else { Occupied::Foreign }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_name_is_taken_over_only_from_its_owner_or_with_its_label() {
        let owner = |uid: &str, controller| OwnerReference {
            uid: uid.to_owned(),
            controller: Some(controller),
            ..OwnerReference::default()
        };
        let meta = |owners: Vec<OwnerReference>, label: Option<&str>| ObjectMeta {
            owner_references: Some(owners),
            labels: label.map(|value| BTreeMap::from([("name".to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        };
        let of = |meta: ObjectMeta| occupied(Some(&meta), "1", Some(("name", "a")));
        assert_eq!(occupied(None, "1", None), Occupied::Free);
        assert_eq!(of(meta(vec![owner("1", true)], None)), Occupied::Own, "whatever its labels say");
        assert_eq!(of(meta(vec![], Some("a"))), Occupied::Handed);
        assert_eq!(of(meta(vec![], Some("b"))), Occupied::Foreign);
        assert_eq!(of(meta(vec![], None)), Occupied::Foreign);
        assert_eq!(of(meta(vec![owner("2", true)], Some("a"))), Occupied::Former(owner("2", true)));
        assert_eq!(occupied(Some(&meta(vec![], Some("a"))), "1", None), Occupied::Foreign);
    }
}
