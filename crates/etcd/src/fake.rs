//! A store in memory that checks permissions as etcd does, and fails on command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Access, Answer, Connect, Error, Health, Range, Store, Tenant, Traces};

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
    /// [`Store::traces`].
    Traces,
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
            Self::Traces => "looking for the tenant",
        }
    }
}

#[derive(Default)]
struct State {
    auth: bool,
    users: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, BTreeSet<Range>>,
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    faults: BTreeMap<Operation, VecDeque<Fault>>,
    writes: u64,
    opened: u64,
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
        Counts { writes: state.writes, opened: state.opened }
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
            state.keys.insert(key.into(), value.into());
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
            self.run(Operation::Health, &[])?;
            Ok(Health { version: "3.6.5".to_owned(), auth: self.state().auth, alarms: Vec::new() })
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

    fn ensure<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, ()> {
        Box::pin(async move {
            self.run(
                Operation::Ensure,
                &[&|state| state.add_role(&tenant.schema, BTreeSet::from([tenant.range()])), &|state| {
                    state.add_user(&tenant.user, &tenant.schema)
                }],
            )
        })
    }

    fn remove<'a>(&'a self, tenant: &'a Tenant) -> Answer<'a, ()> {
        Box::pin(async move {
            self.run(
                Operation::Remove,
                &[
                    &|state| _ = state.users.remove(&tenant.user),
                    &|state| state.keys.retain(|key, _| !tenant.range().contains(key)),
                    &|state| {
                        state.roles.remove(&tenant.schema);
                        for roles in state.users.values_mut() {
                            roles.remove(&tenant.schema);
                        }
                    },
                ],
            )
        })
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
}
