//! Two versions of one kind. In: an object of one version, as JSON. Out: the same object in the other version. Pure.
//!
//! The difference between the versions is a list of [`Rule`]s. From it follow the conversion in both directions and the
//! schema of the old version. What one version says and the other has no word for stays in the annotation
//! [`LEFTOVERS`] of the converted object, and comes back from there as long as the object has not been changed so that it
//! would mean something else: no conversion there and back loses anything.

mod duration;
mod leftovers;
mod path;
mod reference;
mod rule;
mod schema;
mod wording;

use serde_json::Value;

pub use leftovers::LEFTOVERS;
pub use rule::Rule;
pub use schema::Column;
pub(crate) use schema::with_old;

/// Namespace and name of the Service that answers for conversions, and the path there.
pub const WEBHOOK: [&str; 3] = ["scute-system", "scute-webhook", "/convert"];

/// The versions of a kind and how they differ.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// The version that is still served.
    pub old: &'static str,
    /// The version that is stored.
    pub new: &'static str,
    /// How to come from the old one to the new one; backwards in reverse order.
    pub rules: &'static [Rule],
    /// Columns of `kubectl get` in the old version; those of the new one if there are none.
    pub columns: &'static [Column],
}

/// Why an object is not converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// It is no object.
    #[error("the object has no apiVersion and kind")]
    NoObject,
    /// No such kind, or no such version of it.
    #[error("{kind} has no conversion from {from:?} to {to:?}")]
    Unknown {
        /// Kind of the object.
        kind: String,
        /// Its apiVersion.
        from: String,
        /// The apiVersion that is wanted.
        to: String,
    },
    /// A reference of the old version names an object in another namespace, which the new one has no word for.
    #[error(
        "{path}: Invalid value: {namespace:?}: must be the namespace of the object itself, or be left out"
    )]
    Elsewhere {
        /// Path of the reference's namespace.
        path: String,
        /// The namespace.
        namespace: String,
    },
}

/// The version of a kind (by group and kind) that a provider offers to who speaks the old version.
pub type KnownVersions<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

/// As [`convert_with`], where nothing is known of other providers' kinds.
///
/// # Errors
/// As there.
pub fn convert(object: &Value, to: &str) -> Result<Value, ConvertError> {
    convert_with(object, to, &|_, _| None)
}

/// An object in another version: `to` is an apiVersion. `versions` is asked for kinds that are not ours.
///
/// # Errors
/// When the kind has no such versions, or the object says what the other version has no word for and cannot be kept.
pub fn convert_with(object: &Value, to: &str, versions: KnownVersions) -> Result<Value, ConvertError> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).ok_or(ConvertError::NoObject);
    let (from, kind) = (text("apiVersion")?, text("kind")?);
    if from == to {
        return Ok(object.clone());
    }
    let Some((conversion, direction)) = between(kind, from, to) else {
        return Err(ConvertError::Unknown {
            kind: kind.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        });
    };
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let about = About { namespace, versions };
    if let Some((path, namespace)) = (direction == Direction::ToNew)
        .then(|| conversion.rules.iter().find_map(|rule| rule.elsewhere("", object, &about)))
        .flatten()
    {
        return Err(ConvertError::Elsewhere { path, namespace });
    }
    let mut converted = conversion.convert(object, direction, &about);
    converted["apiVersion"] = to.into();
    Ok(converted)
}

/// A field of an object and its value, in the words of an older version of its kind: for a refusal that is read by who
/// wrote the object in that version. `None` where the words are the same.
#[must_use]
pub fn worded(object: &Value, to: &str, path: &str, value: &str) -> Option<(String, String)> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let (conversion, direction) = between(text("kind")?, text("apiVersion")?, to)?;
    let before = (path.to_owned(), value.to_owned());
    let after = (direction == Direction::ToOld).then(|| conversion.worded(object, before.clone()))?;
    (after != before).then_some(after)
}

/// The conversion of a kind between two apiVersions.
fn between(kind: &str, from: &str, to: &str) -> Option<(Conversion, Direction)> {
    conversions().into_iter().filter(|conversion| conversion.kind == kind).find_map(|conversion| {
        let version = |version: &str| format!("{}/{version}", conversion.group);
        let (old, new) = (version(conversion.old), version(conversion.new));
        let direction = match (from == old && to == new, from == new && to == old) {
            (true, _) => Direction::ToNew,
            (_, true) => Direction::ToOld,
            _ => return None,
        };
        Some((conversion, direction))
    })
}

/// The conversions of every kind that has two versions with different schemas.
#[must_use]
pub fn conversions() -> Vec<Conversion> {
    [
        crate::cluster::conversions(),
        crate::bootstrap::conversions(),
        crate::controlplane::conversions(),
        crate::infrastructure::conversions(),
        crate::ipam::conversions(),
        crate::addons::conversions(),
    ]
    .concat()
}

/// What a conversion has to know besides the object's fields.
#[derive(Clone, Copy)]
struct About<'a> {
    /// Namespace of the object.
    namespace: &'a str,
    /// Versions of kinds that are not ours.
    versions: KnownVersions<'a>,
}

/// From which version to which.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToNew,
    ToOld,
}

impl Direction {
    fn back(self) -> Self {
        match self {
            Self::ToNew => Self::ToOld,
            Self::ToOld => Self::ToNew,
        }
    }
}

impl Conversion {
    /// By the rules alone, with losses.
    fn apply(&self, object: &Value, direction: Direction, about: &About) -> Value {
        let mut object = object.clone();
        match direction {
            Direction::ToNew => self.rules.iter().for_each(|rule| rule.forward(&mut object)),
            Direction::ToOld => self.rules.iter().rev().for_each(|rule| rule.backward(&mut object, about)),
        }
        object
    }

    fn convert(&self, object: &Value, direction: Direction, about: &About) -> Value {
        let mut given = object.clone();
        let kept = leftovers::take(&mut given);
        let there = |object: &Value| self.apply(object, direction, about);
        let back = |object: &Value| self.apply(object, direction.back(), about);
        let converted = leftovers::restored(there(&given), &kept, back);
        let (said, mut meant) = (back(&converted), given);
        self.rules.iter().for_each(|rule| rule.settle(&mut meant, direction, about));
        let wholes: Vec<_> = self.rules.iter().flat_map(|rule| rule.wholes("")).collect();
        leftovers::put(converted, &leftovers::lost(&said, &meant, &wholes))
    }
}
