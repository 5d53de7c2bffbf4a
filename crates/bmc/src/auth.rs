//! Who asks, and whether he may.

use axum::http::{HeaderMap, Method, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use crate::account::{Account, Privilege};
use crate::answer::{Message, Refusal};
use crate::path::Place;
use crate::service::Service;

impl Service {
    /// The account behind a request's token or password.
    pub(crate) fn who(&self, headers: &HeaderMap, path: &str) -> Result<Account, Refusal> {
        let refused = || Refusal::unauthorized(path);
        let now = Instant::now();
        let quirks = &self.profile.quirks;
        let mut state = self.state();
        if let Some(token) = headers.get("x-auth-token") {
            let token = token.to_str().map_err(|_| refused())?;
            return state.access.bearer(token, quirks.token_ttl, now).ok_or_else(refused);
        }
        let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (user, password) = basic.and_then(password_of).ok_or_else(refused)?;
        let lockout = state.lockout;
        state.access.login(&user, &password, lockout, now).map_err(|_| refused())
    }
}

fn password_of(basic: &str) -> Option<(String, String)> {
    let (scheme, encoded) = basic.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Whether this account may do this.
pub fn allowed(account: &Account, method: &Method, place: &Place, own: bool) -> Result<(), Refusal> {
    let needed = match (method, place) {
        (&Method::GET | &Method::HEAD, Place::Account(_)) if own => Privilege::Login,
        (&Method::GET | &Method::HEAD, Place::Accounts | Place::Account(_)) => Privilege::ConfigureUsers,
        (&Method::GET | &Method::HEAD, _) => Privilege::Login,
        (_, Place::Session(_) | Place::Account(_)) if own => Privilege::ConfigureSelf,
        (_, Place::Accounts | Place::Account(_) | Place::AccountService) => Privilege::ConfigureUsers,
        (_, Place::Session(_) | Place::SessionService) => Privilege::ConfigureManager,
        (_, Place::Insert(..) | Place::Eject(..) | Place::Slot(..) | Place::Attributes) => {
            Privilege::ConfigureManager
        }
        _ => Privilege::ConfigureComponents,
    };
    if account.may(needed) {
        return Ok(());
    }
    Err(Refusal::new(axum::http::StatusCode::FORBIDDEN, Message::base("InsufficientPrivilege", &[])))
}
