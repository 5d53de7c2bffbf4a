//! What the new version calls a field, in the words of the old one: the path and the value that a refusal names.

use serde_json::Value;

use super::duration::duration;
use super::path::joined;
use super::{Conversion, Rule};

impl Conversion {
    /// A field of an object of the new version and its value, as the old one has them.
    pub(super) fn worded(&self, object: &Value, field: (String, String)) -> (String, String) {
        self.rules.iter().rev().fold(field, |field, rule| rule.worded(object, field))
    }
}

impl Rule {
    fn worded(&self, object: &Value, (path, value): (String, String)) -> (String, String) {
        match *self {
            Self::Moved(old, new) => {
                (below(&path, new).map_or(path.clone(), |rest| format!("{old}{rest}")), value)
            }
            Self::ContractReference(at) => {
                let renamed = (path == joined(at, "apiGroup")).then(|| joined(at, "apiVersion"));
                (renamed.unwrap_or(path), value)
            }
            Self::Within("", rules) => {
                rules.iter().rev().fold((path, value), |field, rule| rule.worded(object, field))
            }
            Self::Within(at, rules) => {
                let Some((before, inner, rest)) = inside(object, &path, at) else { return (path, value) };
                let field = (rest.to_owned(), value);
                let (rest, value) = rules.iter().rev().fold(field, |field, rule| rule.worded(inner, field));
                (joined(before, &rest), value)
            }
            Self::Seconds(old, new) if path == new => {
                let seconds = value.parse().map(duration);
                (old.to_owned(), seconds.unwrap_or(value))
            }
            Self::Listed { path: list, key, value: inner } => {
                (by_key(object, &path, list, key, inner).unwrap_or(path), value)
            }
            _ => (path, value),
        }
    }
}

/// A path that is below a place: the part up to there, what stands there, and the part below it.
fn inside<'a>(object: &'a Value, path: &'a str, at: &str) -> Option<(&'a str, &'a Value, &'a str)> {
    let (mut rest, mut value) = (path, object);
    for (number_of, step) in at.split('.').enumerate() {
        if number_of > 0 {
            rest = rest.strip_prefix('.')?;
        }
        let (name, list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        rest = below(rest, name)?;
        value = value.get(name).unwrap_or(&Value::Null);
        if list {
            let (index, behind) = number(rest)?;
            (rest, value) = (behind, value.get(index).unwrap_or(&Value::Null));
        }
    }
    let before = &path[..path.len() - rest.len()];
    Some((before, value, rest.strip_prefix('.')?))
}

/// What a path has behind another one, if it is at or below it.
fn below<'a>(path: &'a str, above: &str) -> Option<&'a str> {
    path.strip_prefix(above).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The path of an item of a list, or of what is in it, with the item's key instead of its number.
fn by_key(object: &Value, path: &str, list: &str, key: &str, inner: Option<&str>) -> Option<String> {
    let (mut rest, mut at) = (path, object);
    for (step, name) in list.split("[]").enumerate() {
        if step > 0 {
            let (index, behind) = number(rest)?;
            (rest, at) = (behind, at.get(index)?);
        }
        rest = below(rest, name)?;
        at = at.pointer(
            &name.trim_start_matches('.').split('.').map(|name| format!("/{name}")).collect::<String>(),
        )?;
    }
    let before = &path[..path.len() - rest.len()];
    let (index, rest) = number(rest)?;
    let item = at.get(index)?.get(key)?.as_str()?;
    let its_value = inner.and_then(|inner| below(rest, &format!(".{inner}")));
    let its_key = below(rest, &format!(".{key}"));
    Some(format!("{before}[{item}]{}", its_key.or(its_value).unwrap_or(rest)))
}

/// The number of an item and what stands behind it: `[2].name`.
fn number(text: &str) -> Option<(usize, &str)> {
    let (number, rest) = text.strip_prefix('[')?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::conversion::worded;

    const OLD: &str = "infrastructure.cluster.x-k8s.io/v1beta1";
    const NEW: &str = "infrastructure.cluster.x-k8s.io/v1beta2";

    fn old(kind: &str, spec: serde_json::Value, path: &str, value: &str) -> (String, String) {
        let object = json!({"apiVersion": NEW, "kind": kind, "spec": spec});
        worded(&object, OLD, path, value).unwrap_or_else(|| (path.to_owned(), value.to_owned()))
    }

    #[test]
    fn a_field_has_the_name_that_the_old_version_gives_it() {
        let template = "Metal3MachineTemplate";
        let spec = json!({"template": {"spec": {"image": {"diskFormat": "vdi"}}}});
        let found = old(template, spec, "spec.template.spec.image.diskFormat", "vdi");
        assert_eq!(found, ("spec.template.spec.image.format".into(), "vdi".into()));
        let found = old(template, json!({}), "spec.template.spec.image.url", "x");
        assert_eq!(found, ("spec.template.spec.image.url".into(), "x".into()));
        let found = old("Metal3Remediation", json!({}), "spec.strategy.timeoutSeconds", "90");
        assert_eq!(found, ("spec.strategy.timeout".into(), "1m30s".into()));
        let found = old("Metal3DataTemplate", json!({}), "spec.metaData.ipAddressesFromPool[1].name", "");
        assert_eq!(found.0, "spec.metaData.ipAddressesFromIPPool[1].name");
        let found = old("Metal3DataTemplate", json!({}), "spec.metaData.ipAddressesFromPools", "");
        assert_eq!(found.0, "spec.metaData.ipAddressesFromPools", "another field");
    }

    #[test]
    fn an_item_of_a_list_has_the_key_that_it_has_in_the_old_versions_map() {
        let spec = json!({"failureDomains": [{"name": "rack-1"}, {"name": "rack-2"}]});
        for (path, right) in [
            ("spec.failureDomains[1].controlPlane", "spec.failureDomains[rack-2].controlPlane"),
            ("spec.failureDomains[0].name", "spec.failureDomains[rack-1]"),
            ("spec.failureDomains[7].name", "spec.failureDomains[7].name"),
            ("spec.failureDomains", "spec.failureDomains"),
        ] {
            assert_eq!(old("Metal3Cluster", spec.clone(), path, "").0, right);
        }
        let bonds = json!([{"id": "a"}, {"id": "b", "parameters": [{"name": "miimon", "value": -1}]}]);
        let spec = json!({"networkData": {"links": {"bonds": bonds}}});
        let path = "spec.networkData.links.bonds[1].parameters[0].value";
        let right = "spec.networkData.links.bonds[1].parameters[miimon]";
        assert_eq!(old("Metal3DataTemplate", spec, path, "-1").0, right);
    }

    #[test]
    fn who_wrote_the_new_version_reads_its_words() {
        let object = json!({"apiVersion": NEW, "kind": "Metal3Machine"});
        assert_eq!(worded(&object, NEW, "spec.image.diskFormat", "x"), None);
        let object = json!({"apiVersion": OLD, "kind": "Metal3Machine"});
        assert_eq!(worded(&object, NEW, "spec.image.format", "x"), None);
        assert_eq!(worded(&json!(null), OLD, "spec", ""), None);
    }
}
