//! How much at once, how long, how often: the numbers of the kit in one place.
//!
//! A number stands here when somebody who runs a site may ask for it; what only one function can judge stays there.

use std::time::Duration;

/// What a client asks of an API server, and what it takes from it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that wait for an answer; a watch counts until it begins.
    pub at_once: usize,
    /// Until an answer begins, and as long again until it is complete.
    pub answer: Duration,
    /// Bytes of one answer, or of one event of a watch.
    pub bytes: usize,
    /// How long a connection is kept that nobody uses. Each costs some 35 KiB here, and more at its other end.
    pub idle: Duration,
}

impl Limits {
    /// For the management cluster's own API server.
    pub const MANAGEMENT: Self = Self {
        at_once: 16,
        answer: Duration::from_secs(30),
        bytes: usize::MAX,
        idle: Duration::from_secs(60),
    };
    /// For a tenant's: its objects are some dozens, and one that is dead must not hold a controller. A page of its
    /// largest possible Nodes fits into an answer.
    pub const TENANT: Self =
        Self { at_once: 2, answer: Duration::from_secs(10), bytes: 40 << 20, idle: Duration::from_secs(15) };
}

/// An API server sends a bookmark to every watch that asks for them each minute, give or take some seconds: one that was
/// heard on its watch less than this ago answers.
pub const BOOKMARKS: Duration = Duration::from_secs(75);

/// A watch that is silent for twice as long as bookmarks are apart is gone.
pub const SILENT_WATCH: Duration = Duration::from_secs(120);
/// A watch without bookmarks ends by itself after this, as the client library asks for it.
pub const WATCH_WITHOUT_BOOKMARKS: Duration = Duration::from_secs(300);

/// How long a lease is held.
#[derive(Clone, Copy, Debug)]
pub struct Tenure {
    /// It has ended when it has not been renewed for so long.
    pub ends: Duration,
    /// Between two renewals.
    pub renew: Duration,
    /// Who could not renew it for so long stops, well before it ends.
    pub gives_up: Duration,
}

impl Tenure {
    /// Of a manager, as in client-go.
    pub const MANAGER: Self = Self {
        ends: Duration::from_secs(15),
        renew: Duration::from_secs(2),
        gives_up: Duration::from_secs(10),
    };
}

/// How often certificates that may have been exchanged are looked at: the kubelet swaps whole folders, of which no
/// single file tells.
pub const LOOK_AT_CERTIFICATES: Duration = Duration::from_secs(30);

/// How many objects a controller reconciles at a time unless told otherwise.
pub const CONCURRENCY: usize = 16;

/// First delay after a failed reconcile; doubles with each one in a row.
pub const FIRST_RETRY: Duration = Duration::from_millis(200);

/// Longest delay after failed reconciles.
pub const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Longest delay after a failed reconcile when something happens to what it has to do with.
pub const RETRY_ON_EVENT: Duration = Duration::from_secs(5);

/// How many deleted objects of a kind are remembered, so that a late answer to an own write cannot revive one.
pub const REMEMBERED_DELETIONS: usize = 1024;

/// Objects in one page of a listing.
pub const PAGE: u32 = 500;

/// A watch that ends sooner than this without a word counts as failed: no storm of new ones.
pub const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// Failures of a watch in a row after which everything is listed anew.
pub const RELIST_AFTER: u32 = 4;

/// How long a watch may fail before the manager says that it is not ready.
pub const BLIND_AFTER: Duration = Duration::from_secs(300);

/// In what time every object is looked at once even when nothing changes.
pub const RESYNC: Duration = Duration::from_secs(10 * 3600);

/// Runs of one object without a rest after which it is slowed: something changes it at every run.
pub const BUSY_RUNS: u32 = 50;

/// The pause between two runs of an object that never rests.
pub const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// An object that did not run for so long has rested.
pub const CALM_AFTER: Duration = Duration::from_secs(10);

/// How long an object that sums up others rests after a run: a manager that is busy writes fewer sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// In times of that run ...
    pub for_run: u32,
    /// ... but not longer.
    pub longest: Duration,
}

impl Rest {
    /// Of what acts on what it sums up: a rollout must go on.
    pub const WORK: Self = Self { for_run: 20, longest: Duration::from_secs(5) };
    /// Of what says it to people, and does next to nothing.
    pub const WORDS: Self = Self { for_run: 60, longest: Duration::from_secs(10) };
    /// Of one that is being deleted: somebody waits for its end, and what it sums up only becomes less.
    pub const LEAVING: Self = Self { for_run: 20, longest: Duration::from_secs(1) };

    /// After a run that took so long.
    #[must_use]
    pub fn after(self, run: Duration) -> Duration {
        (run * self.for_run).clamp(SHORTEST_REST, self.longest)
    }
}

/// How long an object that sums up others rests at least.
pub const SHORTEST_REST: Duration = Duration::from_millis(200);

/// How many of the workers of a controller one namespace may have, in quarters: a tenant with hundreds of busy objects
/// must leave some to others.
pub const SHARE_IN_QUARTERS: usize = 3;

/// How often a wait that goes on is said again.
pub const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The longest note of an Event that the API server takes, in bytes.
pub const LONGEST_NOTE: usize = 1024;
