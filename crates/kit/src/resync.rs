//! A slow round through all objects: what no event told of is found all the same, within hours.
//!
//! One object at a time, spread evenly over the period: no memory per object, no wave.

use std::time::Duration;

use tokio::time::Instant;

use crate::key::Key;
use crate::limits::RESYNC;

/// Where the round is.
pub(crate) struct Resync {
    at: Key,
    due: Instant,
}

/// The shortest time between two objects, for kinds with more than a million of them.
const SHORTEST: Duration = Duration::from_millis(30);
/// The longest: a kind of few objects is counted anew from time to time.
const LONGEST: Duration = Duration::from_secs(3600);

impl Resync {
    /// A round that begins now: everything was looked at just before, when the controller started.
    pub(crate) fn new(now: Instant) -> Self {
        Self { at: Key::default(), due: now + LONGEST }
    }

    /// When something is to do.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The next object, if it is time. `after` gives the key after a key, in rounds; `objects` is how many there are.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        objects: usize,
        after: impl Fn(&Key) -> Option<Key>,
    ) -> Option<Key> {
        if now < self.due {
            return None;
        }
        let objects = u32::try_from(objects.max(1)).unwrap_or(u32::MAX);
        self.due = now + (RESYNC / objects).clamp(SHORTEST, LONGEST);
        self.at = after(&self.at)?;
        Some(self.at.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn in_one_period_every_object_has_its_turn_and_none_two_at_a_time() {
        let begin = Instant::now();
        let names: Vec<_> = (0..1000).map(|n| Key::new("ns", format!("{n:04}"))).collect();
        let after = |key: &Key| names.iter().find(|name| *name > key).or(names.first()).cloned();
        let (mut resync, mut turns) = (Resync::new(begin), BTreeMap::<Key, u32>::new());
        while resync.due() <= begin + LONGEST + RESYNC - Duration::from_secs(1) {
            let now = resync.due();
            *turns.entry(resync.next(now, names.len(), after).unwrap()).or_default() += 1;
            assert_eq!(resync.next(now, names.len(), after), None);
        }
        assert_eq!((turns.len(), turns.values().max()), (1000, Some(&1)));
    }

    #[test]
    fn a_kind_without_objects_is_looked_at_again() {
        let mut resync = Resync::new(Instant::now());
        let now = resync.due();
        assert_eq!(resync.next(now, 0, |_| None), None);
        assert_eq!(resync.due(), now + LONGEST);
    }
}
