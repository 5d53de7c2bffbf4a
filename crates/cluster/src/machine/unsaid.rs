//! Runs that leave the status of a Machine to the next one: what a run writes wakes the Machine again at once, that run knows
//! more, and a busy API server has one write less.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use scute_kit::Key;

/// Runs in a row that may leave it: as many as there are steps from a new Machine to one that runs.
const MOST: u32 = 3;
/// Until it is written at the latest, should no event of what was written come.
pub const AT_LAST: Duration = Duration::from_secs(1);

/// How many runs in a row have left the status of each Machine.
#[derive(Debug, Default)]
pub struct Unsaid(Mutex<HashMap<Key, u32>>);

impl Unsaid {
    /// Whether this run may leave the status to the next one, which is counted.
    pub fn leave(&self, machine: &Key) -> bool {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = unsaid.entry(machine.clone()).or_default();
        *runs += 1;
        *runs <= MOST
    }

    /// The status is written now, or the Machine is gone.
    pub fn said(&self, machine: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(machine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_at_every_run_is_reported_all_the_same() {
        let (unsaid, machine) = (Unsaid::default(), Key::new("ns", "m"));
        let left: Vec<bool> = (0..4).map(|_| unsaid.leave(&machine)).collect();
        assert_eq!(left, [true, true, true, false]);
        assert!(unsaid.leave(&Key::new("ns", "other")));
        unsaid.said(&machine);
        assert!(unsaid.leave(&machine));
        assert_eq!(unsaid.0.lock().unwrap().len(), 2, "one entry for each that has something to say");
    }
}
