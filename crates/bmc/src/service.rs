//! The state of a service: what it stands before, whom it knows, what it was told to get wrong.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::Method;
use tokio::time::Instant;

use crate::account::{Access, Account};
use crate::bios::Bios;
use crate::boot::Boot;
use crate::faults::{Faults, Rule};
use crate::handle;
use crate::machine::Machine;
use crate::media::SlotState;
use crate::profile::Profile;

/// Requests that are remembered.
const JOURNAL: usize = 4_096;

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Status of its answer; `None` while there is none.
    pub status: Option<u16>,
}

/// A BMC.
pub struct Service {
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) profile: Profile,
    state: Mutex<State>,
    /// One write at a time, as the BMC's own processor would have it.
    pub(crate) writing: tokio::sync::Mutex<()>,
}

/// What changes.
pub struct State {
    pub access: Access,
    pub faults: Faults,
    pub boot: Boot,
    pub slots: Vec<SlotState>,
    pub post_until: Option<Instant>,
    pub resets: u64,
    pub vendor_boot: VendorBoot,
    pub bios: Bios,
    pub session_timeout: u64,
    /// As the profile has it, or as it was told since.
    pub lockout: Option<(u32, Duration)>,
    /// As the profile has it, or as it was told since.
    pub slow_power: Duration,
    journal: VecDeque<Request>,
    count: u64,
}

/// Attributes by which an old iDRAC boots virtual media.
#[derive(Default)]
pub struct VendorBoot {
    pub first_device: String,
    pub once: bool,
}

impl Service {
    /// A BMC of this machine, as the profile has it, with one administrator.
    #[must_use]
    pub fn new(machine: Arc<dyn Machine>, profile: Profile, user: &str, password: &str) -> Arc<Self> {
        let mut access = Access::default();
        let id = access.next_id();
        access.accounts.push(Account {
            id,
            user: user.to_owned(),
            password: password.to_owned(),
            role: "Administrator".into(),
            enabled: true,
            refusals: 0,
            locked_until: None,
        });
        let state = State {
            access,
            faults: Faults::default(),
            boot: Boot::of(&*machine, &profile.quirks),
            slots: SlotState::all(&profile.quirks.slots, machine.medium()),
            post_until: None,
            resets: 0,
            vendor_boot: VendorBoot::default(),
            bios: Bios::default(),
            session_timeout: profile.quirks.token_ttl.as_secs().clamp(30, 86_400),
            lockout: profile.quirks.lockout,
            slow_power: profile.quirks.slow_power,
            journal: VecDeque::new(),
            count: 0,
        };
        Arc::new(Self { machine, profile, state: Mutex::new(state), writing: tokio::sync::Mutex::new(()) })
    }

    /// The service as a router. All its paths begin with `/redfish`.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(handle::handle).with_state(self.clone())
    }

    /// From now on this goes wrong.
    pub fn inject(&self, rule: Rule) {
        self.state().faults.add(rule);
    }

    /// From now on a Reset takes effect so long after its answer.
    pub fn slow_power(&self, late: Duration) {
        self.state().slow_power = late;
    }

    /// From now on so many wrong passwords lock an account for so long.
    pub fn lock_out(&self, refusals: u32, locked: Duration) {
        self.state().lockout = Some((refusals, locked));
    }

    /// Nothing that was injected goes wrong any more, and no account is locked.
    pub fn clear_faults(&self) {
        let quirks = &self.profile.quirks;
        let mut state = self.state();
        state.faults.clear();
        (state.lockout, state.slow_power) = (quirks.lockout, quirks.slow_power);
        for account in &mut state.access.accounts {
            account.unlock();
        }
    }

    /// The requests since the last call, as many as are remembered.
    pub fn take_requests(&self) -> Vec<Request> {
        self.state().journal.drain(..).collect()
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        let mut state = self.state();
        state.access.expire(self.profile.quirks.token_ttl, Instant::now());
        state.access.sessions.len()
    }

    /// The BMC restarts: it knows no session any more.
    pub fn restart(&self) {
        self.state().access.sessions.clear();
    }

    /// The password of the first administrator is another one, and a lock is off.
    pub fn set_password(&self, password: &str) {
        if let Some(account) = self.state().access.accounts.first_mut() {
            password.clone_into(&mut account.password);
            account.unlock();
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("profile", &self.profile.name).finish_non_exhaustive()
    }
}

impl State {
    /// Notes a request; returns its number, counted from 1.
    pub fn note(&mut self, method: Method, path: &str) -> u64 {
        if self.journal.len() == JOURNAL {
            self.journal.pop_front();
        }
        self.journal.push_back(Request { method, path: path.to_owned(), status: None });
        self.count += 1;
        self.count
    }

    /// Notes how it was answered.
    pub fn answered(&mut self, number: u64, status: u16) {
        let back = usize::try_from(self.count - number).unwrap_or(usize::MAX);
        if let Some(at) = self.journal.len().checked_sub(back.saturating_add(1)) {
            self.journal[at].status = Some(status);
        }
    }
}
