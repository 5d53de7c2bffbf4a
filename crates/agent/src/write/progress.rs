//! How far a write is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Bytes of the file that have come.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    done: AtomicU64,
    /// 0 when it is not known.
    total: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { started: Instant::now(), done: AtomicU64::new(0), total: AtomicU64::new(0) }
    }
}

impl Progress {
    pub fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Of 100, and the seconds that the rest takes at the same speed. Never 100: that is the end of the work.
    pub fn now(&self) -> (u8, Option<u64>) {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        if total == 0 || done == 0 {
            return (0, None);
        }
        let percent = (u128::from(done) * 100 / u128::from(total)).min(99) as u8;
        let left = self.started.elapsed().as_secs_f64() * (total.saturating_sub(done)) as f64 / done as f64;
        (percent, Some(left.ceil() as u64))
    }
}
