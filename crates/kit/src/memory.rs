//! What was said last, so that it is not said again. Bounded: a manager runs for years, and objects come and go.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::sync::{Mutex, PoisonError};

/// Hashes by topic. Of what has not been asked for since [`Memory::GENERATION`] other topics came, it forgets some:
/// then something is said once more, which does no harm.
#[derive(Default)]
pub struct Memory {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Memory {
    /// Topics of one generation; two are kept.
    const GENERATION: usize = 8192;

    /// What was said of the topic.
    pub fn last(&self, topic: &str) -> Option<u64> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = hash(topic);
        let said = generations.get(topic)?;
        generations.put(topic, said);
        Some(said)
    }

    /// Says something of the topic; gives what was said before.
    pub fn say(&self, topic: &str, what: u64) -> Option<u64> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = hash(topic);
        let before = generations.get(topic);
        generations.put(topic, what);
        before
    }
}

impl Generations {
    fn get(&self, topic: u64) -> Option<u64> {
        self.young.get(&topic).or_else(|| self.old.get(&topic)).copied()
    }

    fn put(&mut self, topic: u64, what: u64) {
        if self.young.len() >= Memory::GENERATION && !self.young.contains_key(&topic) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(topic, what);
    }
}

/// The hash of something that is said, or of a topic.
pub fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let memory = Memory::default();
        assert_eq!((memory.last("a"), memory.say("a", 1), memory.say("a", 2)), (None, None, Some(1)));
        assert_eq!((memory.last("a"), memory.last("b")), (Some(2), None));
    }

    #[test]
    fn it_stays_small_and_keeps_what_is_asked_for() {
        let memory = Memory::default();
        memory.say("kept", 7);
        memory.say("dropped", 8);
        for n in 0..5 * Memory::GENERATION as u64 {
            memory.say(&n.to_string(), n);
            if n % 100 == 0 {
                assert_eq!(memory.last("kept"), Some(7), "after {n}");
            }
        }
        assert_eq!(memory.last("dropped"), None);
        let generations = memory.generations.into_inner().unwrap();
        assert!(generations.young.len() <= Memory::GENERATION && generations.old.len() <= Memory::GENERATION);
    }
}
