//! How much at once, how long, how often: the numbers of the kit in one place.
//!
//! A number stands here when somebody who runs a site may ask for it; what only one function can judge stays there.

use std::time::Duration;

/// Requests to the management API server that wait for an answer.
pub const MANAGEMENT_AT_ONCE: usize = 8;

/// How many objects a controller reconciles at a time unless told otherwise.
pub const CONCURRENCY: usize = 16;

/// First delay after a failed reconcile; doubles with each one in a row.
pub const FIRST_RETRY: Duration = Duration::from_millis(200);

/// Longest delay after failed reconciles.
pub const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How many deleted objects of a kind are remembered, so that a late answer to an own write cannot revive one.
pub const REMEMBERED_DELETIONS: usize = 1024;
