//! A store in memory that checks permissions as etcd does, and fails on command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::claim::Seen;
use crate::{
    Access, Answer, Claim, Connect, Error, Foreign, Health, History, Member, Part, Range, Store, Tenant,
    Traces,
};

/// What a fault strikes: a method of [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Store::health`].
    Health,
    /// [`Store::secure`].
    Secure,
    /// [`Store::ensure`].
    Ensure,
    /// [`Store::remove`].
    Remove,
    /// [`Store::release`].
    Release,
    /// [`Store::traces`].
    Traces,
    /// [`Store::history`].
    History,
    /// [`Store::members`].
    Members,
    /// [`Store::defragment`].
    Defragment,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation does not reach the store.
    Unavailable,
    /// The operation stops after this many of its steps, and the caller learns nothing but a lost connection.
    LostAfter(usize),
    /// The client certificate is not accepted.
    Denied,
}

impl Operation {
    fn doing(self) -> &'static str {
        match self {
            Self::Health => "asking for the status",
            Self::Secure => "turning authentication on",
            Self::Ensure => "adding the tenant",
            Self::Remove => "removing the tenant",
            Self::Release => "releasing the tenant",
            Self::Traces => "looking for the tenant",
            Self::History => "reading an old revision",
            Self::Members => "asking a member for its size",
            Self::Defragment => "defragmenting a member",
        }
    }
}

#[derive(Default)]
struct State {
    auth: bool,
    users: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, BTreeSet<Range>>,
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Revision of the last write of a key, and the oldest that can still be read.
    revision: i64,
    oldest: i64,
    members: Vec<Member>,
    faults: BTreeMap<Operation, VecDeque<Fault>>,
    writes: u64,
    opened: u64,
    looks: u64,
}

/// A fake etcd. Clones are the same store.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

/// How many operations on users and roles a test saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes of users, roles, permissions and authentication.
    pub writes: u64,
    /// Times the store was opened.
    pub opened: u64,
    /// Times it was asked for its health.
    pub looks: u64,
}

impl Fake {
    /// An empty store with authentication off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next operations of a kind fail, one fault each.
    pub fn fail(&self, operation: Operation, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.entry(operation).or_default().extend(faults);
    }

    /// Ends all faults that were not met.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts { writes: state.writes, opened: state.opened, looks: state.looks }
    }

    /// Names of all users.
    #[must_use]
    pub fn users(&self) -> Vec<String> {
        self.state().users.keys().cloned().collect()
    }

    /// Names of all roles.
    #[must_use]
    pub fn roles(&self) -> Vec<String> {
        self.state().roles.keys().cloned().collect()
    }

    /// Writes a key as a user would; false when permissions refuse.
    pub fn put(&self, user: &str, key: &str, value: &str) -> bool {
        let mut state = self.state();
        let allowed = state.allows(user, key.as_bytes());
        if allowed {
            state.write(key.into(), Some(value.into()));
        }
        allowed
    }

    /// Reads a key as a user would.
    ///
    /// # Errors
    /// When the user may not read the key.
    pub fn get(&self, user: &str, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let state = self.state();
        if state.allows(user, key.as_bytes()) {
            return Ok(state.keys.get(key.as_bytes()).cloned());
        }
        Err(Error::Denied { doing: "reading a key", cause: "permission denied".to_owned() })
    }

    /// Grants a role more than it should have, as a careless hand would.
    pub fn grant(&self, role: &str, range: Range) {
        self.state().roles.entry(role.to_owned()).or_default().insert(range);
    }

    /// Writes much in little time, as some years do.
    pub fn grow_old(&self, revisions: i64) {
        self.state().revision += revisions;
    }

    /// Forgets what came before now.
    pub fn compact(&self) {
        let mut state = self.state();
        state.oldest = state.revision;
    }

    /// Sets what the members say.
    pub fn set_members(&self, members: Vec<Member>) {
        self.state().members = members;
    }

    /// Loses users, roles and keys, as a store does that is set up anew under the same address.
    pub fn lose_everything(&self) {
        let mut state = self.state();
        let writes = state.writes;
        *state = State { writes, opened: state.opened, ..State::default() };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the steps of an operation up to where a fault ends it.
    fn run(&self, operation: Operation, steps: &[&dyn Fn(&mut State)]) -> Result<(), Error> {
        let doing = operation.doing();
        let mut state = self.state();
        let lost = || Error::Unavailable { doing, cause: "connection lost".to_owned() };
        let last = match state.faults.get_mut(&operation).and_then(VecDeque::pop_front) {
            None => steps.len(),
            Some(Fault::Unavailable) => return Err(lost()),
            Some(Fault::Denied) => {
                return Err(Error::Denied { doing, cause: "permission denied".to_owned() });
            }
            Some(Fault::LostAfter(last)) => {
                steps.iter().take(last).for_each(|step| step(&mut state));
                return Err(lost());
            }
        };
        steps.iter().take(last).for_each(|step| step(&mut state));
        Ok(())
    }
}

impl State {
    fn allows(&self, user: &str, key: &[u8]) -> bool {
        let Some(roles) = self.users.get(user) else { return !self.auth };
        !self.auth
            || roles.contains("root")
            || roles.iter().filter_map(|role| self.roles.get(role)).flatten().any(|range| range.contains(key))
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.revision += 1;
        match value {
            Some(value) => _ = self.keys.insert(key, value),
            None => _ = self.keys.remove(&key),
        }
    }

    fn look(&self, tenant: &Tenant) -> Seen {
        let record = |part: Part| self.keys.get(&part.key(tenant)).cloned();
        Seen {
            user_record: record(Part::User),
            prefix_record: record(Part::Prefix),
            roles: self.users.get(&tenant.user).map(|roles| roles.iter().cloned().collect()),
            prefix: self.roles.contains_key(&tenant.schema)
                || self.keys.keys().any(|key| tenant.range().contains(key)),
        }
    }

    fn foreign(&self, tenant: &Tenant, claim: &Claim) -> Vec<Foreign> {
        let seen = self.look(tenant);
        Part::ALL.into_iter().filter_map(|part| seen.foreign(part, tenant, claim)).collect()
    }

    fn record(&mut self, tenant: &Tenant, claim: &Claim, parts: &[Part]) {
        let seen = self.look(tenant);
        for part in parts.iter().filter(|part| seen.record(**part).is_none()) {
            self.write(part.key(tenant), Some(claim.record()));
        }
    }

    fn release(&mut self, tenant: &Tenant, claim: &Claim) {
        let seen = self.look(tenant);
        for part in Part::ALL {
            if seen.record(part).is_some_and(|record| claim.wrote(record)) {
                self.write(part.key(tenant), None);
            }
        }
    }

    fn remove_prefix(&mut self, tenant: &Tenant) {
        self.roles.remove(&tenant.schema);
        for roles in self.users.values_mut() {
            roles.remove(&tenant.schema);
        }
    }

    fn add_role(&mut self, role: &str, ranges: BTreeSet<Range>) {
        if self.roles.get(role) != Some(&ranges) {
            self.roles.insert(role.to_owned(), ranges);
            self.writes += 1;
        }
    }

    fn add_user(&mut self, user: &str, role: &str) {
        let roles = BTreeSet::from([role.to_owned()]);
        if self.users.get(user) != Some(&roles) {
            self.users.insert(user.to_owned(), roles);
            self.writes += 1;
        }
    }
}

impl Connect for Fake {
    fn open(&self, access: &Access) -> Answer<'_, Arc<dyn Store>> {
        let usable = !access.endpoints.is_empty();
        Box::pin(async move {
            self.state().opened += 1;
            if usable {
                Ok(Arc::new(self.clone()) as Arc<dyn Store>)
            } else {
                Err(Error::Access("no endpoints".to_owned()))
            }
        })
    }
}

impl Store for Fake {
    fn health(&self) -> Answer<'_, Health> {
        Box::pin(async move {
            self.state().looks += 1;
            self.run(Operation::Health, &[])?;
            let state = self.state();
            let (auth, revision) = (state.auth, state.revision);
            Ok(Health { version: "3.6.6".to_owned(), auth, alarms: Vec::new(), revision })
        })
    }

    fn secure(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.run(
                Operation::Secure,
                &[
                    &|state| state.add_role("root", BTreeSet::new()),
                    &|state| state.add_user("root", "root"),
                    &|state| state.auth = true,
                ],
            )
        })
    }

    fn ensure<'a>(&'a self, tenant: &'a Tenant, claim: &'a Claim) -> Answer<'a, ()> {
        Box::pin(async move {
            if let Some(foreign) = self.state().foreign(tenant, claim).into_iter().next() {
                return Err(Error::Foreign(foreign));
            }
            self.run(
                Operation::Ensure,
                &[
                    &|state| state.record(tenant, claim, &Part::ALL),
                    &|state| state.add_role(&tenant.schema, BTreeSet::from([tenant.range()])),
                    &|state| state.add_user(&tenant.user, &tenant.schema),
                ],
            )
        })
    }

    fn remove<'a>(&'a self, tenant: &'a Tenant, claim: &'a Claim) -> Answer<'a, Vec<Foreign>> {
        Box::pin(async move {
            let foreign = self.state().foreign(tenant, claim);
            let is_own = |part: Part| foreign.iter().all(|foreign| foreign.part != part);
            let own: Vec<_> = Part::ALL.into_iter().filter(|part| is_own(*part)).collect();
            self.run(
                Operation::Remove,
                &[
                    &|state| {
                        state.record(tenant, claim, &own);
                        if is_own(Part::User) {
                            state.users.remove(&tenant.user);
                        }
                    },
                    &|state| {
                        if is_own(Part::Prefix) {
                            state.keys.retain(|key, _| !tenant.range().contains(key));
                        }
                    },
                    &|state| {
                        if is_own(Part::Prefix) {
                            state.remove_prefix(tenant);
                        }
                    },
                    &|state| state.release(tenant, claim),
                ],
            )?;
            Ok(foreign)
        })
    }

    fn release<'a>(&'a self, tenant: &'a Tenant, claim: &'a Claim) -> Answer<'a, ()> {
        Box::pin(async move { self.run(Operation::Release, &[&|state| state.release(tenant, claim)]) })
    }

    fn traces<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, Traces> {
        Box::pin(async move {
            self.run(Operation::Traces, &[])?;
            let state = self.state();
            Ok(Traces {
                keys: state.keys.keys().filter(|key| tenant.range().contains(key)).count() as u64,
                user: state.users.contains_key(&tenant.user),
                role: state.roles.contains_key(&tenant.schema),
            })
        })
    }

    fn history(&self, revision: i64) -> Answer<'_, History> {
        Box::pin(async move {
            self.run(Operation::History, &[])?;
            let state = self.state();
            Ok(History { revision: state.revision, kept: revision >= state.oldest })
        })
    }

    fn members(&self) -> Answer<'_, Vec<Member>> {
        Box::pin(async move {
            self.run(Operation::Members, &[])?;
            Ok(self.state().members.clone())
        })
    }

    fn defragment<'a>(&'a self, endpoint: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.run(
                Operation::Defragment,
                &[&|state| {
                    for member in state.members.iter_mut().filter(|member| member.endpoint == endpoint) {
                        member.size = member.in_use;
                    }
                }],
            )
        })
    }
}
