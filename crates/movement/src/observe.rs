//! The only reader: every object of every kind of one namespace, at both sides.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use crate::kinds::kinds;
use crate::object::Object;
use crate::remote::{AT_ONCE, MoveError, Side};

/// What both sides have.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The namespace.
    pub namespace: String,
    /// All objects of the namespace at the source.
    pub source: Vec<Object>,
    /// All objects of the namespace at the target.
    pub target: Vec<Object>,
    /// Kinds that the target does not serve in our version, with group and version.
    pub unserved: BTreeSet<String>,
}

/// Reads both sides, by pages, some kinds at a time.
pub async fn observe(from: &Side, to: &Side) -> Result<Observed, MoveError> {
    let mut seen = Observed { namespace: from.namespace.clone(), ..Observed::default() };
    let read = |kind| async move {
        let kind = Arc::new(kind);
        let (source, target) = futures::try_join!(from.list(&kind), to.list(&kind))?;
        Ok::<_, MoveError>((kind, source, target))
    };
    let mut answers = stream::iter(kinds()).map(read).buffer_unordered(AT_ONCE);
    while let Some((kind, source, target)) = answers.try_next().await? {
        seen.source.extend(source.unwrap_or_default());
        match target {
            Some(target) => seen.target.extend(target),
            None => {
                seen.unserved.insert(kind.name());
            }
        }
    }
    seen.source.sort_by_key(Object::key);
    seen.target.sort_by_key(Object::key);
    Ok(seen)
}
