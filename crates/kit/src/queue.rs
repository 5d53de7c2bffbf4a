//! The work queue of a controller: keys, when they are due, and which ones run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{FIRST_RETRY, LONGEST_RETRY};
use crate::watch::Key;

/// When a key is due; of those that are due together, the one that asked first comes first.
type Place = (Instant, u64);

/// Keys that wait for their time. A key is there at most once, and never runs twice at a time.
#[derive(Default)]
pub(crate) struct Queue {
    due: HashMap<Key, Place>,
    order: BTreeMap<Place, Key>,
    next_sequence: u64,
    running: HashSet<Key>,
    again: HashSet<Key>,
    failures: HashMap<Key, u32>,
}

impl Queue {
    /// Asks for a run at `at`, or earlier if one is already due earlier. While the key runs, the run
    /// after it is asked for.
    pub(crate) fn schedule(&mut self, key: Key, at: Instant) {
        if self.running.contains(&key) {
            self.again.insert(key);
            return;
        }
        if self.due.get(&key).is_some_and(|(due, _)| *due <= at) {
            return;
        }
        self.unschedule(&key);
        self.next_sequence += 1;
        let place = (at, self.next_sequence);
        self.due.insert(key.clone(), place);
        self.order.insert(place, key);
    }

    /// The next key that is due, marked as running.
    pub(crate) fn start(&mut self, now: Instant) -> Option<Key> {
        let first = self.order.first_entry().filter(|first| first.key().0 <= now)?;
        let key = first.remove();
        self.due.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// When the next key is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.order.first_key_value().map(|((at, _), _)| *at)
    }

    /// How many keys run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Ends a run: `delay` is when the key wants to run again by itself.
    pub(crate) fn finish(&mut self, key: &Key, now: Instant, delay: Option<Duration>, failed: bool) {
        self.running.remove(key);
        let retry = if failed {
            let failures = self.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            Some(FIRST_RETRY.saturating_mul(1 << (*failures - 1).min(16)).min(LONGEST_RETRY))
        } else {
            self.failures.remove(key);
            None
        };
        if self.again.remove(key) {
            self.schedule(key.clone(), now);
        }
        if let Some(delay) = retry.or(delay) {
            self.schedule(key.clone(), now + delay);
        }
    }

    fn unschedule(&mut self, key: &Key) {
        if let Some(place) = self.due.remove(key) {
            self.order.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    #[test]
    fn the_earlier_of_two_times_counts_and_a_key_waits_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.schedule(key("a"), now + Duration::from_secs(9));
        queue.schedule(key("a"), now);
        queue.schedule(key("a"), now + Duration::from_secs(5));
        assert_eq!(queue.start(now), Some(key("a")));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn a_change_during_a_run_makes_one_more_run() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.schedule(key("a"), now);
        assert!(queue.start(now).is_some());
        queue.schedule(key("a"), now);
        assert_eq!(queue.start(now), None, "a key never runs twice at a time");
        queue.finish(&key("a"), now, None, false);
        assert_eq!(queue.start(now), Some(key("a")));
        queue.finish(&key("a"), now, None, false);
        assert_eq!(queue.start(now), None);
    }

    #[test]
    fn failures_back_off_and_a_success_forgets_them() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for expected in [200, 400, 800] {
            queue.schedule(key("a"), now);
            assert!(queue.start(now).is_some());
            queue.finish(&key("a"), now, None, true);
            assert_eq!(queue.next_due(), Some(now + Duration::from_millis(expected)));
        }
        queue.schedule(key("a"), now);
        assert!(queue.start(now).is_some());
        queue.finish(&key("a"), now, None, false);
        assert_eq!(queue.next_due(), None);
    }
}
