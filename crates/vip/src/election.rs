//! Who holds the address: VRRP's state machine, <https://www.rfc-editor.org/rfc/rfc5798#section-6.4>, with a priority that
//! follows the health of the machine's API server. Pure: times are counted from any beginning.
//!
//! ```text
//!            nobody was heard for long, or only somebody less able
//!   waits ─────────────────────────────────────────────────────────► holds
//!         ◄─────────────────────────────────────────────────────────
//!            somebody more able is heard, or as able with a higher address
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::advertisement::Advertisement;

/// How often the one that holds the address says so.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// Of a machine whose API server answers.
const ABLE: u8 = 100;
/// Of one whose does not: before the first one is up somebody must have the address all the same.
const LAST: u8 = 1;
/// Gives the address up.
const LEAVES: u8 = 0;
/// What others may say of their interval.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Take the address.
    Take,
    /// Give it up.
    Drop,
    /// Say who holds it, with this priority.
    Say(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Somebody else holds it, as long as that is heard until then.
    Waits { until: Duration },
    /// It is held here, and said again then.
    Holds { next: Duration },
}

/// One machine's part in it.
#[derive(Clone, Debug)]
pub struct Election {
    me: Ipv4Addr,
    priority: u8,
    state: State,
}

impl Election {
    /// A machine that listens first. `me` is its own address on the segment.
    #[must_use]
    pub fn new(me: Ipv4Addr, now: Duration) -> Self {
        let waits = State::Waits { until: now + patience(LAST, INTERVAL) };
        Self { me, priority: LAST, state: waits }
    }

    /// Whether the address is held here.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Holds { .. })
    }

    /// When to ask again.
    #[must_use]
    pub fn due(&self) -> Duration {
        match self.state {
            State::Waits { until } => until,
            State::Holds { next } => next,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Act> {
        if now < self.due() {
            return Vec::new();
        }
        let taken = !self.holds();
        self.state = State::Holds { next: now + INTERVAL };
        let say = Act::Say(self.priority);
        if taken { vec![Act::Take, say] } else { vec![say] }
    }

    /// Somebody says that the address is theirs.
    pub fn heard(&mut self, now: Duration, said: &Advertisement, from: Ipv4Addr) -> Vec<Act> {
        let interval = said.interval.clamp(INTERVALS.0, INTERVALS.1);
        let stays = State::Waits { until: now + patience(self.priority, interval) };
        match self.state {
            // They go: who is most able is quickest.
            State::Waits { .. } if said.priority == LEAVES => {
                self.state = State::Waits { until: now + skew(self.priority, interval) };
                Vec::new()
            }
            State::Waits { until } if said.priority < self.priority => {
                self.state = State::Waits { until: until.min(now + skew(self.priority, interval)) };
                Vec::new()
            }
            State::Waits { .. } => {
                self.state = stays;
                Vec::new()
            }
            State::Holds { .. } if (said.priority, from) > (self.priority, self.me) => {
                self.state = stays;
                vec![Act::Drop]
            }
            // They have not heard of us, or will be glad to.
            State::Holds { .. } => {
                self.state = State::Holds { next: now + INTERVAL };
                vec![Act::Say(self.priority)]
            }
        }
    }

    /// The machine's API server answers, or does not any more.
    pub fn is_healthy(&mut self, now: Duration, healthy: bool) -> Vec<Act> {
        let priority = if healthy { ABLE } else { LAST };
        if self.priority == priority {
            return Vec::new();
        }
        self.priority = priority;
        match self.state {
            State::Waits { .. } => Vec::new(),
            State::Holds { .. } => {
                self.state = State::Holds { next: now + INTERVAL };
                vec![Act::Say(priority)]
            }
        }
    }

    /// This process ends.
    #[must_use]
    pub fn leave(&self) -> Vec<Act> {
        if self.holds() { vec![Act::Say(LEAVES), Act::Drop] } else { Vec::new() }
    }
}

/// The more able wait less, so that not all take the address at once.
fn skew(priority: u8, interval: Duration) -> Duration {
    interval * (256 - u32::from(priority)) / 256
}

fn patience(priority: u8, interval: Duration) -> Duration {
    interval * 3 + skew(priority, interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HALF: Duration = Duration::from_millis(500);

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    fn said(priority: u8) -> Advertisement {
        Advertisement { router: 20, priority, interval: HALF, address: address(20) }
    }

    #[test]
    fn the_first_machine_has_it_before_its_api_server_answers() {
        let mut first = Election::new(address(31), ms(0));
        assert_eq!(first.tick(ms(1900)), []);
        assert_eq!(first.tick(ms(2000)), [Act::Take, Act::Say(1)]);
        assert_eq!(first.is_healthy(ms(2100), true), [Act::Say(100)]);
        assert_eq!(first.tick(ms(2600)), [Act::Say(100)]);
    }

    #[test]
    fn one_that_comes_later_does_not_take_it_however_high_its_address() {
        let mut later = Election::new(address(99), ms(0));
        later.is_healthy(ms(0), true);
        for now in (400..10_000).step_by(500) {
            assert_eq!(later.heard(ms(now), &said(100), address(31)), []);
            assert_eq!(later.tick(ms(now)), []);
        }
    }

    #[test]
    fn a_machine_that_falls_silent_is_followed_within_two_seconds() {
        let mut other = Election::new(address(32), ms(0));
        other.is_healthy(ms(0), true);
        other.heard(ms(1000), &said(100), address(31));
        assert!(other.due() <= ms(3000), "{:?}", other.due());
        assert_eq!(other.tick(other.due()), [Act::Take, Act::Say(100)]);
    }

    #[test]
    fn one_that_ends_or_whose_api_server_dies_is_followed_within_half_a_second() {
        for priority in [0, 1] {
            let mut other = Election::new(address(32), ms(0));
            other.is_healthy(ms(0), true);
            other.heard(ms(1000), &said(100), address(31));
            other.heard(ms(1100), &said(priority), address(31));
            assert!(other.due() <= ms(1600), "{:?}", other.due());
        }
        let mut holder = Election::new(address(31), ms(0));
        holder.is_healthy(ms(0), true);
        holder.tick(ms(5000));
        assert_eq!(holder.is_healthy(ms(5100), false), [Act::Say(1)]);
        assert_eq!(holder.heard(ms(5500), &said(100), address(32)), [Act::Drop]);
        assert_eq!(holder.leave(), []);
    }

    #[test]
    fn of_two_that_hold_it_the_higher_address_keeps_it() {
        let holder = |me| {
            let mut holder = Election::new(me, ms(0));
            holder.is_healthy(ms(0), true);
            holder.tick(ms(5000));
            holder
        };
        assert_eq!(holder(address(31)).heard(ms(5001), &said(100), address(32)), [Act::Drop]);
        assert_eq!(holder(address(32)).heard(ms(5001), &said(100), address(31)), [Act::Say(100)]);
    }

    proptest! {
        /// Machines on one segment that lose, gain and forget their API servers: once nothing changes any more, one has the
        /// address, and it is one whose API server answers where there is one.
        #[test]
        fn in_the_end_one_has_it(
            start in proptest::collection::vec((0..2000_u64, any::<bool>()), 1..5),
            changes in proptest::collection::vec((0..8_usize, 0..8000_u64, any::<bool>()), 0..12),
        ) {
            let mut all: Vec<_> =
                (31..).zip(&start).map(|(last, (at, _))| Election::new(address(last), ms(*at))).collect();
            let mut healthy: Vec<_> = start.iter().map(|(_, healthy)| *healthy).collect();
            let mut changes = changes;
            changes.sort_by_key(|(_, at, _)| *at);
            let mut holders = 0;
            for now in (0..16_000).step_by(10).map(ms) {
                while let Some((who, _, well)) = changes.first().copied().filter(|(_, at, _)| ms(*at) <= now) {
                    healthy[who % start.len()] = well;
                    changes.remove(0);
                }
                let mut saying = Vec::new();
                for (at, election) in all.iter_mut().enumerate().filter(|(at, _)| ms(start[*at].0) <= now) {
                    let mut acts = election.is_healthy(now, healthy[at]);
                    acts.extend(election.tick(now));
                    saying.extend(acts.into_iter().map(|act| (at, act)));
                }
                let mut rounds = 0;
                while let Some((from, act)) = saying.pop() {
                    rounds += 1;
                    prop_assert!(rounds < 200, "they never stop talking");
                    let Act::Say(priority) = act else { continue };
                    let from_address = address(31 + from as u8);
                    for (at, election) in all.iter_mut().enumerate().filter(|(at, _)| *at != from && ms(start[*at].0) <= now) {
                        let acts = election.heard(now, &said(priority), from_address);
                        saying.extend(acts.into_iter().map(|act| (at, act)));
                    }
                }
                holders = all.iter().filter(|election| election.holds()).count();
            }
            prop_assert_eq!(holders, 1);
            let holder = all.iter().position(Election::holds).unwrap();
            prop_assert!(healthy[holder] || healthy.iter().all(|healthy| !healthy));
        }
    }
}
