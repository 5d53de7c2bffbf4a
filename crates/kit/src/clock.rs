//! The time of day, as something that is handed in.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

/// Says what time it is. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The clock of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that shows `start` now and goes with tokio's from here on. Delays, back-offs and time limits are
    /// tokio's: with its clock paused, as a simulator has it, the whole process lives in one virtual time.
    #[must_use]
    pub fn with_tokio(start: Timestamp) -> Self {
        let begin = Instant::now();
        Self(Arc::new(move || start.checked_add(begin.elapsed()).unwrap_or(Timestamp::MAX)))
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_goes_with_tokio_passes_ten_years_at_once() {
        let start = Timestamp::from_second(1_700_000_000).unwrap();
        let clock = Clock::with_tokio(start);
        assert_eq!(clock.now(), start);
        let years = Duration::from_secs(10 * 365 * 86_400);
        tokio::time::sleep(years).await;
        assert!(clock.now().duration_since(start).unsigned_abs() >= years);
    }
}
