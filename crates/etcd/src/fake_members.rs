//! An etcd of several members in memory that counts votes as etcd does, and fails on command.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::members::{Members, Peer, View};
use crate::{Answer, Error};

/// How the next request to a member fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not reach the member.
    Unavailable,
    /// The change is made, and the caller learns nothing but a lost connection.
    LostAfter,
}

#[derive(Default)]
struct State {
    members: BTreeMap<u64, Peer>,
    /// Members whose process is dead.
    dead: Vec<u64>,
    leader: u64,
    next: u64,
    alarms: Vec<(u64, String)>,
    faults: VecDeque<Fault>,
    removed: Vec<String>,
    moved: Vec<String>,
}

impl State {
    fn voters(&self) -> impl Iterator<Item = &Peer> {
        self.members.values().filter(|member| !member.learner)
    }

    fn is_alive(&self, member: &Peer) -> bool {
        !member.name.is_empty() && !self.dead.contains(&member.id)
    }

    fn has_quorum(&self) -> bool {
        let voters = self.voters().count();
        voters > 0 && self.voters().filter(|member| self.is_alive(member)).count() > voters / 2
    }

    fn elect(&mut self) {
        let leads = |id| self.voters().any(|member| member.id == id && self.is_alive(member));
        if !leads(self.leader) || !self.has_quorum() {
            let next = self.voters().find(|member| self.is_alive(member)).map(|member| member.id);
            self.leader = next.filter(|_| self.has_quorum()).unwrap_or_default();
        }
    }

    /// etcd's check before a member is taken out: those that would be left are a majority that lives.
    fn may_lose(&self, id: u64) -> bool {
        let left: Vec<_> = self.voters().filter(|member| member.id != id).collect();
        let alive = left.iter().filter(|member| self.is_alive(member)).count();
        !left.is_empty() && alive > left.len() / 2
    }
}

/// A fake etcd of several members. Clones are the same one.
#[derive(Clone, Default)]
pub struct Ring(Arc<Mutex<State>>);

impl Ring {
    /// No member yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A member that has started; returns its number.
    pub fn add(&self, name: &str) -> u64 {
        self.put(name, false)
    }

    /// A member that has no vote yet.
    pub fn add_learner(&self, name: &str) -> u64 {
        self.put(name, true)
    }

    fn put(&self, name: &str, learner: bool) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        let peer_urls = vec![format!("https://10.0.0.{id}:2380")];
        state.members.insert(id, Peer { id, name: name.to_owned(), learner, peer_urls });
        state.elect();
        id
    }

    /// The process of a member dies, and its data stays.
    pub fn kill(&self, name: &str) {
        let mut state = self.state();
        let ids: Vec<_> =
            state.members.values().filter(|member| member.name == name).map(|member| member.id).collect();
        state.dead.extend(ids);
        state.elect();
    }

    /// All that is dead lives again.
    pub fn revive(&self) {
        let mut state = self.state();
        state.dead.clear();
        state.elect();
    }

    /// A member raises an alarm.
    pub fn alarm(&self, name: &str, alarm: &str) {
        let mut state = self.state();
        let id = state.members.values().find(|member| member.name == name).map(|member| member.id);
        state.alarms.extend(id.map(|id| (id, alarm.to_owned())));
    }

    /// Makes the next requests fail, whichever member they are for.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// Names of the members, in the order in which they came.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.state().members.values().map(|member| member.name.clone()).collect()
    }

    /// Name of the one that leads.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        let state = self.state();
        state.members.get(&state.leader).map(|member| member.name.clone())
    }

    /// Names of the members that were taken out, in that order.
    #[must_use]
    pub fn removed(&self) -> Vec<String> {
        self.state().removed.clone()
    }

    /// Names of the members to which leadership was moved, in that order.
    #[must_use]
    pub fn moved(&self) -> Vec<String> {
        self.state().moved.clone()
    }

    /// Whether a member of this name runs.
    #[must_use]
    pub fn is_alive(&self, name: &str) -> bool {
        let state = self.state();
        state.members.values().any(|member| member.name == name && state.is_alive(member))
    }

    /// The member of this name.
    #[must_use]
    pub fn member(&self, name: &str) -> Arc<dyn Members> {
        Arc::new(Fake { ring: self.clone(), name: name.to_owned() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Fake {
    ring: Ring,
    name: String,
}

impl Fake {
    /// Does what is asked of a member, unless it is dead or a fault was ordered.
    fn ask<T>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&mut State, u64) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.ring.state();
        let lost = || Error::Unavailable { doing, cause: "connection lost".to_owned() };
        let fault = state.faults.pop_front();
        if fault == Some(Fault::Unavailable) {
            return Err(lost());
        }
        let found = state.members.values().find(|member| member.name == self.name);
        let id = found.filter(|member| state.is_alive(member)).map(|member| member.id).ok_or_else(lost)?;
        let done = act(&mut state, id)?;
        if fault == Some(Fault::LostAfter) { Err(lost()) } else { Ok(done) }
    }
}

impl Members for Fake {
    fn look(&self) -> Answer<'_, View> {
        let seen = self.ask("asking an etcd member for its status", |state, id| {
            let lost = (!state.has_quorum()).then(|| "etcdserver: request timed out".to_owned());
            Ok(View {
                id,
                leader: state.leader,
                members: state.members.values().cloned().collect(),
                alarms: state.alarms.clone(),
                no_quorum: lost,
            })
        });
        Box::pin(async move { seen })
    }

    fn move_leader(&self, to: u64) -> Answer<'_, ()> {
        let doing = "moving the leadership of etcd";
        let done = self.ask(doing, |state, id| {
            let refused = |cause: &str| Err(Error::Refused { doing, cause: cause.to_owned() });
            let Some(target) = state.members.get(&to) else {
                return refused("etcdserver: bad leader transferee");
            };
            if target.learner {
                return refused("etcdserver: bad leader transferee");
            }
            if state.leader != id {
                return refused("etcdserver: not leader");
            }
            let name = target.name.clone();
            state.leader = to;
            state.moved.push(name);
            Ok(())
        });
        Box::pin(async move { done })
    }

    fn remove(&self, id: u64) -> Answer<'_, ()> {
        let doing = "removing an etcd member";
        let done = self.ask(doing, |state, _| {
            let Some(member) = state.members.get(&id) else { return Ok(()) };
            if !state.has_quorum() {
                return Err(Error::Unavailable { doing, cause: "etcdserver: request timed out".to_owned() });
            }
            if !member.learner && !state.may_lose(id) {
                let cause = "etcdserver: re-configuration failed due to not enough started members";
                return Err(Error::Refused { doing, cause: cause.to_owned() });
            }
            let name = member.name.clone();
            state.members.remove(&id);
            state.alarms.retain(|(of, _)| *of != id);
            state.removed.push(name);
            state.elect();
            Ok(())
        });
        Box::pin(async move { done })
    }
}
