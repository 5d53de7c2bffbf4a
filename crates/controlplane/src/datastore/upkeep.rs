//! What keeps a DataStore alive for years: whether it forgets old revisions, and giving free pages back. Pure but for
//! the last function.

use std::time::Duration;

use scute_etcd::{Error, History, Member, Store};
use tokio::time::Instant;

/// A store that wrote this much and forgot nothing of it will not begin to: an idle tenant writes as much in a day.
const MANY_REVISIONS: i64 = 100_000;
/// The longest that anybody keeps revisions on purpose.
const KEPT_ON_PURPOSE: Duration = Duration::from_secs(24 * 3600);
/// Sizes change slowly.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// Less is not worth a member that answers nobody for some seconds.
const WORTHWHILE: u64 = 64 << 20;

/// What is remembered of a DataStore between two looks; lost with the process, never needed to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Revision at the last look.
    pub revision: i64,
    /// A revision that a store which forgets will have forgotten sooner or later.
    pub mark: i64,
    /// When the mark was set; never, for the first revision of all.
    marked: Option<Instant>,
    /// When the members were last asked for their sizes.
    measured: Option<Instant>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { revision: 0, mark: 1, marked: None, measured: None }
    }
}

/// Whether a store forgets old revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// It did so at least once, not long ago.
    Seen,
    /// It has not written enough to tell.
    TooYoung,
    /// It keeps everything.
    Never {
        /// So many revisions that it could have forgotten.
        kept: i64,
    },
}

impl Memory {
    /// Takes in the revision of a look, and whether it is behind the one before: tenants of the time between are lost.
    pub fn went_back(&mut self, revision: i64) -> bool {
        let before = std::mem::replace(&mut self.revision, revision);
        if revision < before {
            (self.mark, self.marked) = (1, None);
        }
        revision < before
    }

    /// Takes in whether the marked revision can still be read.
    pub fn judge(&mut self, seen: History, now: Instant) -> Compaction {
        if !seen.kept {
            (self.mark, self.marked) = (seen.revision, Some(now));
            return Compaction::Seen;
        }
        let kept = seen.revision - self.mark;
        let long = self.marked.is_none_or(|marked| now - marked > KEPT_ON_PURPOSE);
        match (kept > MANY_REVISIONS && long, self.marked) {
            (true, _) => Compaction::Never { kept },
            (false, Some(_)) => Compaction::Seen,
            (false, None) => Compaction::TooYoung,
        }
    }

    fn is_to_measure(&self, now: Instant) -> bool {
        self.measured.is_none_or(|measured| now - measured >= LOOK_AGAIN)
    }
}

/// The member whose defragmentation pays, one at a time and a leader last: its tenants wait for it.
fn worthwhile(members: &[Member]) -> Option<&Member> {
    let pays = |member: &&Member| {
        let free = member.size.saturating_sub(member.in_use);
        free >= WORTHWHILE && free > member.size / 2
    };
    members.iter().filter(pays).min_by_key(|member| (member.leads, member.endpoint.clone()))
}

/// Defragments one member if that pays; answers which, and how many bytes it gave back. Once an hour, but every minute
/// while there is one left.
///
/// # Errors
/// When a member does not answer: then none is taken away from the others.
pub async fn defragment(
    store: &dyn Store,
    memory: &mut Memory,
    now: Instant,
) -> Result<Option<(String, u64)>, Error> {
    if !memory.is_to_measure(now) {
        return Ok(None);
    }
    memory.measured = Some(now);
    let members = store.members().await?;
    let Some(member) = worthwhile(&members) else { return Ok(None) };
    store.defragment(&member.endpoint).await?;
    memory.measured = None;
    Ok(Some((member.endpoint.clone(), member.size - member.in_use)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use scute_etcd::fake::{Fake, Fault, Operation};

    const HOUR: Duration = Duration::from_secs(3600);

    fn member(endpoint: &str, mebibytes: u64, in_use: u64, leads: bool) -> Member {
        Member { endpoint: endpoint.into(), size: mebibytes << 20, in_use: in_use << 20, leads }
    }

    #[test]
    fn a_store_that_keeps_everything_is_found_out() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let kept = |revision| History { revision, kept: true };
        assert_eq!(memory.judge(kept(100_001), start), Compaction::TooYoung);
        assert_eq!(memory.judge(kept(100_002), start), Compaction::Never { kept: 100_001 });
        let forgot = History { revision: 200_000, kept: false };
        assert_eq!(memory.judge(forgot, start), Compaction::Seen);
        assert_eq!(memory.mark, 200_000);
        // Whoever keeps a day on purpose is left in peace; whoever compacted by hand once is not.
        assert_eq!(memory.judge(kept(400_000), start + 24 * HOUR), Compaction::Seen);
        assert_eq!(memory.judge(kept(300_000), start + 25 * HOUR), Compaction::Seen, "few of them");
        assert_eq!(memory.judge(kept(400_000), start + 25 * HOUR), Compaction::Never { kept: 200_000 });
    }

    #[test]
    fn a_revision_that_goes_back_is_a_store_that_lost_something() {
        let mut memory = Memory::default();
        assert!(!memory.went_back(5) && !memory.went_back(5) && !memory.went_back(9));
        assert!(memory.went_back(3));
        assert!(!memory.went_back(4));
    }

    #[tokio::test]
    async fn one_member_at_a_time_and_the_leader_last() {
        let (fake, mut memory, mut now) = (Fake::new(), Memory::default(), Instant::now());
        let members =
            [member("a", 500, 100, true), member("b", 500, 100, false), member("c", 100, 40, false)];
        fake.set_members(members.to_vec());
        let mut order = Vec::new();
        for _ in 0..4 {
            order
                .push(defragment(&fake, &mut memory, now).await.expect("done").map(|(endpoint, _)| endpoint));
            now += Duration::from_secs(60);
        }
        assert_eq!(order, [Some("b".to_owned()), Some("a".to_owned()), None, None]);
        // Sizes are looked at again after an hour, and a member that is down keeps the others up.
        fake.set_members(members.to_vec());
        assert_eq!(defragment(&fake, &mut memory, now).await.expect("done"), None);
        fake.fail(Operation::Members, [Fault::Unavailable]);
        now += HOUR;
        assert!(defragment(&fake, &mut memory, now).await.is_err());
    }
}
