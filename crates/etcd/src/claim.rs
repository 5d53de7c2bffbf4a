//! Whose a user and a prefix are: a record in the store itself, under keys that no tenant's role reaches, so that no
//! tenant, no second management cluster and no leftover is taken for somebody's own (`docs/adr/0013`).

use std::fmt;

use crate::Tenant;

/// Name of etcd's user and role with every permission; never a tenant's.
pub const ROOT: &str = "root";

/// Tenants' ranges start with a slash: these keys lie outside of all of them.
const USERS: &str = "scute.dev/owner/user/";
const PREFIXES: &str = "scute.dev/owner/prefix/";

/// Who says that a tenant's user and prefix are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// UID of the object that owns them: given by an API server, so that nobody can choose another's.
    pub uid: String,
    /// Name of that object, for the operator who reads the record.
    pub name: String,
    /// Whether the claimant holds a client certificate of the user, signed by the store's authority: what proves that
    /// a user without a record is its own.
    pub certified: bool,
}

impl Claim {
    /// What stands in the record.
    pub(crate) fn record(&self) -> Vec<u8> {
        format!("{} {}", self.uid, self.name).into_bytes()
    }

    pub(crate) fn wrote(&self, record: &[u8]) -> bool {
        record.split(|byte| *byte == b' ').next() == Some(self.uid.as_bytes())
    }
}

/// A half of a tenant that has an owner of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The user.
    User,
    /// The prefix and the role of its name.
    Prefix,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::User, Self::Prefix];

    /// Name of this part of a tenant.
    #[must_use]
    pub fn of(self, tenant: &Tenant) -> &str {
        match self {
            Self::User => &tenant.user,
            Self::Prefix => &tenant.schema,
        }
    }

    /// The key of its record.
    pub(crate) fn key(self, tenant: &Tenant) -> Vec<u8> {
        let folder = match self {
            Self::User => USERS,
            Self::Prefix => PREFIXES,
        };
        format!("{folder}{}", self.of(tenant)).into_bytes()
    }
}

/// A user or prefix that is not the claimant's. `Display` does not say whose: other tenants read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Which part.
    pub part: Part,
    /// Its name.
    pub name: String,
    /// What its record says, for the operator's log; none when it exists without one.
    pub owner: Option<String>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::User => "user",
            Part::Prefix => "prefix",
        };
        let why = match &self.owner {
            _ if self.name == ROOT => "is etcd's own",
            Some(_) => "is taken",
            None => "exists there already, and nothing proves whose it is",
        };
        write!(f, "{part} {:?} {why}", self.name)
    }
}

/// What a store holds under a tenant's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Record of the user.
    pub user_record: Option<Vec<u8>>,
    /// Record of the prefix.
    pub prefix_record: Option<Vec<u8>>,
    /// Roles of the user, if it exists.
    pub roles: Option<Vec<String>>,
    /// Whether the role exists, or a key below the prefix.
    pub prefix: bool,
}

impl Seen {
    /// The record of a part.
    pub fn record(&self, part: Part) -> Option<&Vec<u8>> {
        match part {
            Part::User => self.user_record.as_ref(),
            Part::Prefix => self.prefix_record.as_ref(),
        }
    }

    /// Why a part is not the claimant's; none if it is, or if there is no such thing yet.
    pub fn foreign(&self, part: Part, tenant: &Tenant, claim: &Claim) -> Option<Foreign> {
        let name = part.of(tenant);
        let own = match self.record(part) {
            _ if name == ROOT => false,
            Some(record) => claim.wrote(record),
            None => name == claim.uid || !self.exists(part) || self.proves(part, tenant, claim),
        };
        let owner = || self.record(part).map(|record| String::from_utf8_lossy(record).into_owned());
        (!own).then(|| Foreign { part, name: name.to_owned(), owner: owner() })
    }

    fn exists(&self, part: Part) -> bool {
        match part {
            Part::User => self.roles.is_some(),
            Part::Prefix => self.prefix,
        }
    }

    /// A certificate proves the user, and through the role that it was given, the prefix.
    fn proves(&self, part: Part, tenant: &Tenant, claim: &Claim) -> bool {
        let user = claim.certified && self.foreign_user_record(claim).is_none();
        match part {
            Part::User => user,
            Part::Prefix => user && self.roles.iter().flatten().any(|role| *role == tenant.schema),
        }
    }

    fn foreign_user_record(&self, claim: &Claim) -> Option<&Vec<u8>> {
        self.user_record.as_ref().filter(|record| !claim.wrote(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Tenant {
        Tenant { user: "u".into(), schema: "s".into() }
    }

    fn claim(certified: bool) -> Claim {
        Claim { uid: "1".into(), name: "a/b".into(), certified }
    }

    fn foreign(seen: &Seen, tenant: &Tenant, claim: &Claim) -> Vec<Part> {
        Part::ALL.into_iter().filter(|part| seen.foreign(*part, tenant, claim).is_some()).collect()
    }

    #[test]
    fn what_is_not_there_is_free_and_what_is_recorded_is_the_recorders() {
        assert_eq!(foreign(&Seen::default(), &tenant(), &claim(false)), []);
        let recorded = |by: &str| Seen {
            user_record: Some(format!("{by} x/y").into_bytes()),
            prefix_record: Some(format!("{by} x/y").into_bytes()),
            ..Seen::default()
        };
        assert_eq!(foreign(&recorded("1"), &tenant(), &claim(false)), []);
        assert_eq!(foreign(&recorded("11"), &tenant(), &claim(false)), Part::ALL);
        assert_eq!(
            foreign(&recorded("2"), &tenant(), &claim(true)),
            Part::ALL,
            "a certificate beats no record"
        );
    }

    #[test]
    fn without_a_record_a_certificate_proves_the_user_and_its_role_the_prefix() {
        let there = |role: &str| Seen { roles: Some(vec![role.into()]), prefix: true, ..Seen::default() };
        assert_eq!(foreign(&there("s"), &tenant(), &claim(false)), Part::ALL);
        assert_eq!(foreign(&there("s"), &tenant(), &claim(true)), []);
        assert_eq!(foreign(&there("mine"), &tenant(), &claim(true)), [Part::Prefix], "another user's prefix");
        let no_user = Seen { prefix: true, ..Seen::default() };
        assert_eq!(foreign(&no_user, &tenant(), &claim(true)), [Part::Prefix], "keys without a user");
    }

    #[test]
    fn the_own_uid_is_its_owners_and_root_is_nobodys() {
        let own = Tenant { user: "1".into(), schema: "1".into() };
        let there = Seen { roles: Some(vec![]), prefix: true, ..Seen::default() };
        assert_eq!(foreign(&there, &own, &claim(false)), []);
        let root = Tenant { user: ROOT.into(), schema: ROOT.into() };
        assert_eq!(foreign(&Seen::default(), &root, &claim(true)), Part::ALL);
    }

    #[test]
    fn a_message_does_not_say_whose() {
        let seen = Seen { user_record: Some(b"2 team-b/secret".to_vec()), ..Seen::default() };
        let foreign = seen.foreign(Part::User, &tenant(), &claim(false)).expect("foreign");
        assert_eq!(foreign.to_string(), "user \"u\" is taken");
        assert_eq!(foreign.owner.as_deref(), Some("2 team-b/secret"));
    }
}
