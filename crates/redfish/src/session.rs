//! Sessions: begun on first use, found again after a restart, ended on leaving.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::classify::Failure;
use crate::connection::Raw;
use crate::document::{link, links, path};
use crate::error::Error;
use crate::line::{As, Asked, Line, Talk, read};
use crate::types::Credentials;

/// Where every service has its root, and its sessions unless it says otherwise.
pub const ROOT: &str = "/redfish/v1/";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
/// Sessions that are looked at.
const LOOKED_AT: usize = 16;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// A session of ours.
pub struct Session {
    pub token: SecretString,
    /// Its address, to end it.
    path: Option<String>,
}

impl Credentials {
    /// As the header Authorization has them.
    pub fn basic(&self) -> SecretString {
        let both = format!("{}:{}", self.user, self.password.expose_secret());
        SecretString::from(format!("Basic {}", STANDARD.encode(both)))
    }
}

impl Line {
    /// Begins a session, unless there is one or the BMC has none.
    pub async fn log_in(&self, talk: &mut Talk) -> Result<(), Asked> {
        if self.is_locked() {
            return Err(Error::Locked.into());
        }
        if talk.session.is_some() || talk.basic {
            return Ok(());
        }
        let root = self.root(talk).await?;
        let advertised = link(&root, "/SessionService").map(|_| SESSIONS.to_owned());
        let Some(sessions) = link(&root, "/Links/Sessions").or(advertised) else {
            // Not asked for: some answer 401 to what they do not have, which would look like a refusal.
            talk.basic = true;
            return Ok(());
        };
        let mut raw = self.begin(talk, &sessions).await?;
        if let Some(failure) = failure(&raw) {
            if failure.is_too_many_sessions() {
                // By user name and password, since there is no session to be had.
                self.sweep(talk, &sessions, &As::Basic).await;
                raw = self.begin(talk, &sessions).await?;
            } else if raw.status == 400 && !talk.no_context {
                talk.no_context = true;
                raw = self.begin(talk, &sessions).await?;
            }
        }
        match raw.status {
            401 | 403 => return Err(self.refuse("the login", raw.status).into()),
            404 | 405 | 501 => {
                talk.basic = true;
                return Ok(());
            }
            _ => {}
        }
        let reply = read(raw)?;
        let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
        let token =
            header("x-auth-token").ok_or_else(|| Error::Unreachable("a session has no token".into()))?;
        let own = header(header::LOCATION.as_str())
            .and_then(local)
            .or_else(|| path(reply.document.get("@odata.id")?));
        talk.session = Some(Session { token: SecretString::from(token.to_owned()), path: own });
        self.refusals.store(0, Ordering::Relaxed);
        let kept = reply.document.get("Context").and_then(Value::as_str) == Some(&self.owner);
        if kept && !talk.swept {
            let token = SecretString::from(token.to_owned());
            self.sweep(talk, &sessions, &As::Token(token)).await;
        }
        Ok(())
    }

    /// The root of the service, read once.
    pub async fn root(&self, talk: &mut Talk) -> Result<Value, Asked> {
        if let Some(root) = &talk.root {
            return Ok(root.clone());
        }
        let root = read(self.send(talk, &Method::GET, ROOT, None, None, false).await?)?.document;
        talk.root = Some(root.clone());
        Ok(root)
    }

    async fn begin(&self, talk: &mut Talk, sessions: &str) -> Result<Raw, Error> {
        let mut body = json!({
            "UserName": self.credentials.user,
            "Password": self.credentials.password.expose_secret(),
        });
        if !talk.no_context {
            body["Context"] = json!(self.owner);
        }
        self.send(talk, &Method::POST, sessions, Some(&body), None, false).await
    }

    /// Ends sessions that an earlier run of ours left behind: those that carry our mark, and no others, since other
    /// tools may use the same account. What fails is left for the next time.
    async fn sweep(&self, talk: &mut Talk, sessions: &str, asking: &As) {
        let own = talk.session.as_ref().and_then(|session| session.path.clone());
        let Ok(raw) = self.send_as(talk, &Method::GET, sessions, None, None, asking).await else { return };
        let Ok(list) = read(raw) else { return };
        for path in links(&list.document, "/Members").into_iter().take(LOOKED_AT) {
            if Some(&path) == own.as_ref() {
                continue;
            }
            let Ok(raw) = self.send_as(talk, &Method::GET, &path, None, None, asking).await else { return };
            let ours = read(raw)
                .is_ok_and(|it| it.document.get("Context").and_then(Value::as_str) == Some(&self.owner));
            if ours && self.send_as(talk, &Method::DELETE, &path, None, None, asking).await.is_err() {
                return;
            }
        }
        talk.swept = true;
    }

    /// Ends the session and the connection.
    pub async fn leave(&self, talk: &mut Talk) -> Result<(), Error> {
        let ended = match &talk.session {
            Some(Session { path: Some(path), .. }) => {
                let path = path.clone();
                self.send(talk, &Method::DELETE, &path, None, None, true).await.map(|_| ())
            }
            _ => Ok(()),
        };
        talk.session = None;
        talk.connection = None;
        ended
    }
}

fn failure(raw: &Raw) -> Option<Failure> {
    if (200..300).contains(&raw.status) {
        return None;
    }
    Some(Failure::read(raw.status, &serde_json::from_slice(&raw.body).unwrap_or_default(), None))
}

/// A path out of a Location, which may be a whole address.
fn local(location: &str) -> Option<String> {
    let at = location.find("/redfish")?;
    Some(location[at..].to_owned())
}

/// Ends the session of a line that nobody uses any more, if there is still a runtime to do so.
pub fn farewell(line: Arc<Line>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        let leaving = async {
            let mut talk = line.queue.lock().await;
            line.leave(&mut talk).await
        };
        if !matches!(timeout(FAREWELL, leaving).await, Ok(Ok(()))) {
            tracing::debug!(bmc = %line.origin.host, "a session was left to its time limit");
        }
    });
}
