//! Who may do what: accounts with roles, and sessions.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

/// Accounts at most.
const ACCOUNTS: usize = 16;

/// Redfish's standard roles.
pub const ROLES: [(&str, &[&str]); 3] = [
    (
        "Administrator",
        &["Login", "ConfigureManager", "ConfigureUsers", "ConfigureComponents", "ConfigureSelf"],
    ),
    ("Operator", &["Login", "ConfigureComponents", "ConfigureSelf"]),
    ("ReadOnly", &["Login", "ConfigureSelf"]),
];

/// What a method on a resource needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    Login,
    ConfigureUsers,
    ConfigureManager,
    ConfigureComponents,
    ConfigureSelf,
}

/// Somebody who may log in.
#[derive(Clone)]
pub struct Account {
    pub id: String,
    pub user: String,
    pub password: String,
    pub role: String,
    pub enabled: bool,
    /// Refused logins since the last good one, and until when it is locked because of them.
    pub refusals: u32,
    pub locked_until: Option<Instant>,
}

impl Account {
    pub fn may(&self, privilege: Privilege) -> bool {
        let wanted = format!("{privilege:?}");
        ROLES.iter().any(|(role, may)| *role == self.role && may.contains(&wanted.as_str()))
    }

    pub fn unlock(&mut self) {
        self.refusals = 0;
        self.locked_until = None;
    }

    pub fn is_locked(&self, now: Instant) -> bool {
        self.locked_until.is_some_and(|until| now < until)
    }
}

/// A login.
#[derive(Clone)]
pub struct Session {
    pub id: String,
    pub token: String,
    pub user: String,
    /// What the client said to find it again.
    pub context: Option<String>,
    pub used: Instant,
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Accounts and sessions.
#[derive(Default)]
pub struct Access {
    pub accounts: Vec<Account>,
    pub sessions: Vec<Session>,
    next: u64,
}

impl Access {
    pub fn next_id(&mut self) -> String {
        self.next += 1;
        self.next.to_string()
    }

    pub fn has_room(&self) -> bool {
        self.accounts.len() < ACCOUNTS
    }

    pub fn account(&mut self, id: &str) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.id == id)
    }

    /// Checks a password; too many wrong ones lock the account.
    pub fn login(
        &mut self,
        user: &str,
        password: &str,
        lockout: Option<(u32, Duration)>,
        now: Instant,
    ) -> Result<Account, Refused> {
        let account = self.accounts.iter_mut().find(|account| account.user == user).ok_or(Refused)?;
        if account.is_locked(now) || !account.enabled {
            return Err(Refused);
        }
        if account.password == password {
            account.refusals = 0;
            return Ok(account.clone());
        }
        account.refusals += 1;
        if let Some((most, locked)) = lockout.filter(|(most, _)| account.refusals >= *most) {
            tracing::debug!(refusals = most, "the account is locked");
            account.refusals = 0;
            account.locked_until = Some(now + locked);
        }
        Err(Refused)
    }

    /// Whose token it is; using it keeps its session alive.
    pub fn bearer(&mut self, token: &str, ttl: Duration, now: Instant) -> Option<Account> {
        self.expire(ttl, now);
        let session = self.sessions.iter_mut().find(|session| session.token == token)?;
        session.used = now;
        let user = session.user.clone();
        self.accounts.iter().find(|account| account.user == user && account.enabled).cloned()
    }

    pub fn expire(&mut self, ttl: Duration, now: Instant) {
        self.sessions.retain(|session| now.duration_since(session.used) < ttl);
    }
}

pub fn session_document(session: &Session) -> Value {
    let mut document = json!({
        "@odata.id": format!("/redfish/v1/SessionService/Sessions/{}", session.id),
        "@odata.type": "#Session.v1_5_0.Session",
        "Id": session.id,
        "Name": "User Session",
        "UserName": session.user,
        "Password": null,
        "SessionType": "Redfish",
    });
    if let Some(context) = &session.context {
        document["Context"] = json!(context);
    }
    document
}

pub fn account_document(account: &Account, now: Instant) -> Value {
    json!({
        "@odata.id": format!("/redfish/v1/AccountService/Accounts/{}", account.id),
        "@odata.type": "#ManagerAccount.v1_12_0.ManagerAccount",
        "Id": account.id,
        "Name": "User Account",
        "UserName": account.user,
        "Password": null,
        "RoleId": account.role,
        "Enabled": account.enabled,
        "Locked": account.is_locked(now),
        "AccountTypes": ["Redfish"],
        "Links": {"Role": {"@odata.id": format!("/redfish/v1/AccountService/Roles/{}", account.role)}},
    })
}
