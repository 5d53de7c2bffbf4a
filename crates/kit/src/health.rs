//! How a watch fares: listed or not, heard of when, failing since when and why.

use std::time::Duration;

use tokio::time::Instant;

/// What is known of the source of a watch. A copy of one moment.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Kind of the objects.
    pub kind: String,
    /// Whether the process cannot do its work without it: so for every kind known at compile time, and not for a kind
    /// that somebody else's object names.
    pub required: bool,
    /// Whether the first listing is complete.
    pub listed: bool,
    /// When the API server last said something of this kind.
    pub heard: Option<Instant>,
    /// What fails; None while it works.
    pub failing: Option<Failing>,
    /// Failures since the start.
    pub failures: u64,
    /// Objects in the copy.
    pub objects: usize,
    /// Those of them that cannot be read.
    pub unreadable: usize,
}

/// A watch that does not get through.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Since when.
    pub since: Instant,
    /// How often in a row.
    pub times: u32,
    /// What the last attempt came to, in words without content of objects.
    pub reason: String,
}

impl Health {
    /// Whether the copy cannot be relied on: never listed, or failing for longer than `patience`.
    #[must_use]
    pub fn is_blind(&self, now: Instant, patience: Duration) -> bool {
        let late = |failing: &Failing| now.saturating_duration_since(failing.since) >= patience;
        !self.listed || self.failing.as_ref().is_some_and(late)
    }

    /// One line for a person, or none when there is nothing to say.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let kind = &self.kind;
        match (&self.failing, self.listed) {
            (Some(failing), true) => Some(format!("watching {kind} fails: {}", failing.reason)),
            (Some(failing), false) => Some(format!("listing {kind} fails: {}", failing.reason)),
            (None, false) => Some(format!("{kind} is not listed yet")),
            (None, true) => None,
        }
    }

    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
        if let Some(failing) = self.failing.take()
            && failing.times > 1
        {
            tracing::info!(kind = self.kind, failures = failing.times, "watch works again");
        }
    }

    /// Once is the way of the world; from the second in a row on it is said, each time at twice the number.
    pub(crate) fn failed(&mut self, now: Instant, reason: String) {
        self.failures += 1;
        let failing =
            self.failing.get_or_insert_with(|| Failing { since: now, times: 0, reason: String::new() });
        failing.times = failing.times.saturating_add(1);
        failing.reason = reason;
        if failing.times > 1 && failing.times.is_power_of_two() {
            let (times, reason) = (failing.times, &failing.reason);
            tracing::warn!(kind = self.kind, failures = times, reason, "watch fails");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_blind_until_it_is_listed_and_when_it_fails_for_long() {
        let (now, patience) = (Instant::now(), Duration::from_secs(60));
        let mut health = Health { kind: "Pod".to_owned(), ..Health::default() };
        assert!(health.is_blind(now, patience));
        assert_eq!(health.complaint().unwrap(), "Pod is not listed yet");
        health.listed = true;
        health.heard(now);
        assert_eq!((health.is_blind(now + patience, patience), health.complaint()), (false, None));
        health.failed(now, "no route".to_owned());
        assert!(!health.is_blind(now + patience / 2, patience));
        health.failed(now + patience, "pods is forbidden".to_owned());
        assert!(health.is_blind(now + patience, patience));
        assert_eq!(health.complaint().unwrap(), "watching Pod fails: pods is forbidden");
        health.heard(now + patience);
        assert!(!health.is_blind(now + patience * 9, patience));
    }
}
