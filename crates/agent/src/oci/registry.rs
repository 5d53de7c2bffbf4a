//! A repository of a registry, as one who may read it: anonymous, by a password, or by a token that somebody else gives for
//! it (<https://distribution.github.io/distribution/spec/auth/token/>). Who is asked for a password gets it by TLS only.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{HeaderMap, Request, StatusCode};
use scute_image::oci::Reference;
use serde::Deserialize;
use tokio::time::timeout;

use super::challenge::{Challenge, challenge};
use crate::http::{Client, HttpError, Url, UrlError};
use crate::protocol::Login;

const LIMIT: Duration = Duration::from_secs(60);
/// Of an answer with a token in it. Tokens are some kilobytes.
const LONGEST: usize = 256 << 10;

/// Why a registry is not read.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Whoever gives tokens does not answer; worth another try.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// As [`RegistryError::Http`].
    #[error("{0}: {1}")]
    Away(String, String),
    /// For good.
    #[error("{0}")]
    Refused(String),
}

/// A repository that is read.
pub struct Registry {
    base: Url,
    scope: String,
    login: Option<Login>,
    ticket: Mutex<Option<HeaderValue>>,
}

#[derive(Deserialize)]
struct Tokens {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry {
    /// Not entered yet.
    ///
    /// # Errors
    /// When its name is no host.
    pub fn new(reference: &Reference, login: Option<Login>) -> Result<Self, UrlError> {
        Ok(Self {
            base: Url::parse(&reference.at(""))?,
            scope: format!("repository:{}:pull", reference.repository),
            login,
            ticket: Mutex::default(),
        })
    }

    /// Whether a URL is the registry's own: nobody else is shown what it is entered with.
    pub fn is_at(&self, url: &Url) -> bool {
        (url.is_https(), url.authority()) == (self.base.is_https(), self.base.authority())
    }

    /// What is shown at a URL.
    pub fn ticket(&self, url: &Url) -> Option<HeaderValue> {
        let ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        ticket.clone().filter(|_| self.is_at(url))
    }

    /// Gets what an answer of 401 asks for.
    ///
    /// # Errors
    /// When there is nothing to enter with, or it is not taken.
    pub async fn enter(&self, client: &Client, headers: &HeaderMap) -> Result<(), RegistryError> {
        let registry = self.base.authority();
        let refused = |why: &str| RegistryError::Refused(format!("the registry {registry} {why}"));
        let ticket = match (challenge(headers), &self.login) {
            (Some(Challenge::Basic), Some(login)) if self.base.is_https() => basic(login),
            (Some(Challenge::Basic), Some(_)) => {
                return Err(refused("wants a password, and is not asked by TLS"));
            }
            (Some(Challenge::Basic), None) => return Err(refused("wants a password: name a Secret with it")),
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let scope = scope.unwrap_or_else(|| self.scope.clone());
                self.token(client, &realm, service.as_deref(), &scope).await?
            }
            (None, _) => return Err(refused("refuses to be read, and does not say what it wants")),
        };
        let mut kept = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = ticket.ok().map(|mut ticket: HeaderValue| {
            ticket.set_sensitive(true);
            ticket
        });
        Ok(())
    }

    async fn token(
        &self,
        client: &Client,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<Result<HeaderValue, hyper::header::InvalidHeaderValue>, RegistryError> {
        let refused =
            |why: String| RegistryError::Refused(format!("the registry {} {why}", self.base.authority()));
        let joint = if realm.contains('?') { '&' } else { '?' };
        let service = service.map(|service| format!("service={}&", encoded(service))).unwrap_or_default();
        let url = Url::parse(&format!("{realm}{joint}{service}scope={}", encoded(scope)));
        let url = url.map_err(|error| refused(format!("sends for a token to another place: {error}")))?;
        if !url.is_https() && (self.base.is_https() || self.login.is_some()) {
            return Err(refused(format!("sends for a token to {url}, which is not asked by TLS")));
        }
        let mut request = Request::get("/");
        if let Some(Ok(basic)) = self.login.as_ref().map(basic) {
            request = request.header(AUTHORIZATION, basic);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(HttpError::from)?;
        let response = client.send(&url, request, LIMIT).await?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let who =
                if self.login.is_some() { "the user name and password of the Secret" } else { "anybody" };
            return Err(refused(format!("does not give {who} the right to read: {url} answers {status}")));
        }
        if !status.is_success() {
            return Err(RegistryError::Away(url.to_string(), status.to_string()));
        }
        let body = timeout(LIMIT, Limited::new(response.into_body(), LONGEST).collect()).await;
        let away =
            |why: &str| RegistryError::Away(url.to_string(), format!("{why}, where a token should be"));
        let body = body
            .map_err(|_| away("too slow an answer"))?
            .map_err(|_| away("an answer that breaks off, or is too long"))?;
        let tokens: Tokens = serde_json::from_slice(&body.to_bytes()).map_err(|_| away("no JSON"))?;
        let token = tokens.token.or(tokens.access_token).ok_or_else(|| away("nothing"))?;
        Ok(HeaderValue::from_str(&format!("Bearer {token}")))
    }
}

fn basic(login: &Login) -> Result<HeaderValue, hyper::header::InvalidHeaderValue> {
    let Login { username, password } = login;
    HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
}

/// As a part of a query.
fn encoded(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}
