//! The work queue of a controller: keys, when they are due, and which ones run.
//!
//! Four promises. A key waits at most once and never runs twice at a time. A key that failed waits for its time, of which
//! events leave a few seconds; only who changes what the object itself asks for is heard at once. What sums up others rests
//! after each run, the longer the busier the manager is, so that many changes make one run. Of the keys that are due,
//! namespaces take turns, and none of them has all the workers.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::key::Key;
use crate::limits::{BUSY_PAUSE, BUSY_RUNS, CALM_AFTER, FIRST_RETRY, LONGEST_RETRY, RETRY_ON_EVENT};

/// What asks for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Something happened to one of many that the object sums up: it can wait until the object has rested.
    Part,
    /// Something happened to the object or to what it has to do with.
    Event,
    /// As [`Wake::Event`], with the digest of what the object itself asks for: not of its status.
    Wish(u64),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Well; it may want to run again by itself after a while.
    Well(Option<Duration>),
    /// It failed on an object that asks for what this digest says.
    Failed(u64),
}

/// When a key is due; of those that are due together, the one that asked first comes first.
type Place = (Instant, u64);

/// What is remembered of a key that failed.
struct Failures {
    times: u32,
    ended: Instant,
    until: Instant,
    wish: u64,
}

/// Keys that wait for their time.
pub(crate) struct Queue {
    places: HashMap<Key, Place>,
    waiting: BTreeMap<Place, Key>,
    next_sequence: u64,
    due: Turns,
    running: HashSet<Key>,
    again: HashMap<Key, Wake>,
    failures: HashMap<Key, Failures>,
    busy: Busy,
    rests: Rests,
}

impl Queue {
    /// A queue of which one namespace has at most `share` keys running.
    pub(crate) fn new(share: usize) -> Self {
        Self {
            places: HashMap::new(),
            waiting: BTreeMap::new(),
            next_sequence: 0,
            due: Turns::new(share),
            running: HashSet::new(),
            again: HashMap::new(),
            failures: HashMap::new(),
            busy: Busy::default(),
            rests: Rests::default(),
        }
    }

    /// Asks for a run as soon as it may be. While the key runs, the run after it is asked for.
    pub(crate) fn schedule(&mut self, key: Key, now: Instant, wake: Wake) {
        if self.running.contains(&key) {
            let again = self.again.entry(key).or_insert(wake);
            if matches!((&again, wake), (_, Wake::Wish(_)) | (Wake::Part, Wake::Event)) {
                *again = wake;
            }
            return;
        }
        let at = match self.failures.get(&key) {
            // Not at once even then: a controller that changes its own object's wish must not spin either.
            Some(failed) if matches!(wake, Wake::Wish(wish) if wish != failed.wish) => {
                failed.ended + FIRST_RETRY
            }
            // It may be what was waited for; it may as well be what this very failure caused.
            Some(failed) => failed.until.min(failed.ended + RETRY_ON_EVENT),
            None => {
                let rested = self.rests.until(&key, wake).unwrap_or(now);
                self.busy.free_at(&key).unwrap_or(now).max(rested)
            }
        };
        self.place(key, at.max(now));
    }

    /// The next key that may run, marked as running, and for how long it was due.
    pub(crate) fn start(&mut self, now: Instant) -> Option<(Key, Duration)> {
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= now) {
            let ((at, _), key) = first.remove_entry();
            self.places.remove(&key);
            self.due.push(key, at);
        }
        let (key, at) = self.due.take()?;
        self.running.insert(key.clone());
        Some((key, now.saturating_duration_since(at)))
    }

    /// When the next key is due that is not due yet.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// How many keys run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// How many keys could run if there were workers.
    pub(crate) fn depth(&self) -> usize {
        self.due.keys.len()
    }

    /// Says that a run, which is about to end, was of an object that sums up others and rests so long, and of what wish.
    pub(crate) fn rests(&mut self, key: &Key, now: Instant, rest: Duration, wish: u64) {
        self.rests.ran(key, now, rest, wish);
    }

    /// Ends a run.
    pub(crate) fn finish(&mut self, key: &Key, now: Instant, ended: Ended) {
        if self.running.remove(key) {
            self.due.finished(key);
        }
        self.busy.ran(key, now);
        match ended {
            Ended::Failed(wish) => {
                let times = self.failures.get(key).map_or(0, |failed| failed.times).saturating_add(1);
                let delay = FIRST_RETRY.saturating_mul(1 << (times - 1).min(16)).min(LONGEST_RETRY);
                let until = now + delay;
                self.failures.insert(key.clone(), Failures { times, ended: now, until, wish });
                self.place(key.clone(), until);
            }
            Ended::Well(delay) => {
                self.failures.remove(key);
                if let Some(delay) = delay {
                    self.place(key.clone(), now + delay);
                }
            }
        }
        if let Some(wake) = self.again.remove(key) {
            self.schedule(key.clone(), now, wake);
        }
    }

    /// Puts a key where it is due, unless it is due earlier.
    fn place(&mut self, key: Key, at: Instant) {
        if self.due.keys.contains(&key) || self.places.get(&key).is_some_and(|(due, _)| *due <= at) {
            return;
        }
        if let Some(place) = self.places.remove(&key) {
            self.waiting.remove(&place);
        }
        self.next_sequence += 1;
        let place = (at, self.next_sequence);
        self.places.insert(key.clone(), place);
        self.waiting.insert(place, key);
    }
}

/// Keys that are due, by namespace, and whose turn it is.
struct Turns {
    /// How many keys of one namespace may run.
    share: usize,
    keys: HashSet<Key>,
    by_namespace: HashMap<String, VecDeque<(Key, Instant)>>,
    /// Namespaces with keys that are due, the next one first.
    order: VecDeque<String>,
    running: HashMap<String, usize>,
}

impl Turns {
    fn new(share: usize) -> Self {
        Self {
            share: share.max(1),
            keys: HashSet::new(),
            by_namespace: HashMap::new(),
            order: VecDeque::new(),
            running: HashMap::new(),
        }
    }

    fn push(&mut self, key: Key, at: Instant) {
        let due = self.by_namespace.entry(key.namespace.clone()).or_default();
        if due.is_empty() {
            self.order.push_back(key.namespace.clone());
        }
        due.push_back((key.clone(), at));
        self.keys.insert(key);
    }

    fn take(&mut self) -> Option<(Key, Instant)> {
        let turn = self.order.iter().position(|namespace| self.may_run(namespace))?;
        let namespace = self.order.remove(turn)?;
        let due = self.by_namespace.get_mut(&namespace)?;
        let next = due.pop_front()?;
        match due.is_empty() {
            true => drop(self.by_namespace.remove(&namespace)),
            false => self.order.push_back(namespace.clone()),
        }
        self.keys.remove(&next.0);
        *self.running.entry(namespace).or_default() += 1;
        Some(next)
    }

    /// Cluster-scoped objects are nobody's in particular.
    fn may_run(&self, namespace: &str) -> bool {
        namespace.is_empty() || self.running.get(namespace).is_none_or(|running| *running < self.share)
    }

    fn finished(&mut self, key: &Key) {
        if let Some(running) = self.running.get_mut(&key.namespace) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(&key.namespace);
            }
        }
    }
}

/// What is remembered of keys for a while after a moment of theirs.
struct Recent<V> {
    of: HashMap<Key, (Instant, V)>,
    order: VecDeque<(Instant, Key)>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { of: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V> Recent<V> {
    /// Forgets those whose moment is long past.
    fn forget(&mut self, now: Instant) {
        while let Some((at, key)) = self.order.pop_front_if(|(at, _)| *at + CALM_AFTER <= now) {
            if self.of.get(&key).is_some_and(|(last, _)| *last == at) {
                self.of.remove(&key);
            }
        }
    }

    fn put(&mut self, key: &Key, at: Instant, what: V) {
        self.of.insert(key.clone(), (at, what));
        self.order.push_back((at, key.clone()));
    }
}

/// Keys that ran a moment ago, and how often without a rest.
#[derive(Default)]
struct Busy(Recent<u32>);

impl Busy {
    fn ran(&mut self, key: &Key, now: Instant) {
        self.0.forget(now);
        let runs = self.0.of.get(key).map_or(0, |(_, runs)| *runs);
        self.0.put(key, now, runs.saturating_add(1));
    }

    /// When a key that never rests may run again.
    fn free_at(&self, key: &Key) -> Option<Instant> {
        self.0.of.get(key).filter(|(_, runs)| *runs >= BUSY_RUNS).map(|(last, _)| *last + BUSY_PAUSE)
    }
}

/// Keys that sum up others and ran a moment ago: until when they rest, and what wish the last run was of.
#[derive(Default)]
struct Rests(Recent<u64>);

impl Rests {
    fn ran(&mut self, key: &Key, now: Instant, rest: Duration, wish: u64) {
        self.0.forget(now);
        self.0.put(key, now + rest, wish);
    }

    /// Until when this can wait.
    fn until(&self, key: &Key, wake: Wake) -> Option<Instant> {
        let (until, of) = self.0.of.get(key)?;
        // Its own status is what it wrote itself.
        let waits = matches!(wake, Wake::Part) || matches!(wake, Wake::Wish(wish) if wish == *of);
        waits.then_some(*until)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
