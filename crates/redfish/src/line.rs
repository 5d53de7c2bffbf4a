//! The line to one BMC: one connection, one session, one request at a time; the others queue.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::Full;
use rustls::ClientConfig;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::classify::Failure;
use crate::connection::{Connection, Lost, Raw};
use crate::error::Error;
use crate::media::Negotiated;
use crate::session::Session;
use crate::tls::{self, Shown};
use crate::types::{Credentials, Origin, Patience, Trust};

/// After so many refusals the credentials are not sent again.
const REFUSALS: u8 = 2;
/// A connection that was idle for longer may have been closed without notice: a write does not risk it.
const FRESH: Duration = Duration::from_secs(1);

/// The line to one BMC.
pub struct Line {
    pub origin: Origin,
    pub credentials: Credentials,
    pub trust: Trust,
    pub patience: Patience,
    /// By what our sessions are found again after a restart.
    pub owner: String,
    pub shown: Shown,
    /// Refusals of these credentials so far.
    pub refusals: Arc<AtomicU8>,
    tls: Option<Arc<ClientConfig>>,
    pub(crate) queue: tokio::sync::Mutex<Talk>,
    learned: Mutex<Learned>,
}

/// What the one request at a time uses.
#[derive(Default)]
pub struct Talk {
    pub connection: Option<Connection>,
    pub session: Option<Session>,
    pub root: Option<Value>,
    /// No sessions here: user name and password go with each request.
    pub basic: bool,
    /// Whether sessions that we left behind are gone.
    pub swept: bool,
    /// The BMC takes no Context for a session.
    pub no_context: bool,
    /// The BMC has ended a connection that was kept: no write goes over one any more.
    pub ends_connections: bool,
}

/// What was found out about this BMC; lost with the process, and found out again.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// Which way of writing Boot worked.
    pub boot: usize,
    /// What an insert demands.
    pub insert: Negotiated,
    /// Slots for CDs, by System.
    pub slots: BTreeMap<String, Vec<String>>,
    /// Whether it is an iDRAC that boots virtual media by its attributes only.
    pub old_idrac: Option<bool>,
}

/// A successful answer.
pub struct Reply {
    pub document: Value,
    pub etag: Option<String>,
    pub headers: HeaderMap,
}

/// Who is said to ask.
pub enum As {
    Nobody,
    Token(secrecy::SecretString),
    Basic,
}

impl Line {
    pub fn new(
        origin: Origin,
        credentials: Credentials,
        trust: Trust,
        owner: String,
        patience: Patience,
    ) -> Result<Self, Error> {
        let shown = Shown::default();
        let tls = if origin.tls { Some(Arc::new(tls::config(&trust, &shown)?)) } else { None };
        Ok(Self {
            origin,
            credentials,
            trust,
            patience,
            owner,
            shown,
            refusals: Arc::default(),
            tls,
            queue: tokio::sync::Mutex::default(),
            learned: Mutex::default(),
        })
    }

    pub fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn get(&self, path: &str) -> Result<Reply, Error> {
        self.ask(path).await.map_err(|failed| self.told(failed))
    }

    pub async fn post(self: &Arc<Self>, path: &str, body: &Value) -> Result<Reply, Asked> {
        self.write(Method::POST, path, body, None).await
    }

    /// Writes properties. `etag` is that of a fresh GET of the same resource.
    pub async fn patch(
        self: &Arc<Self>,
        path: &str,
        body: &Value,
        etag: Option<String>,
    ) -> Result<Reply, Asked> {
        let first = self.write(Method::PATCH, path, body, etag.as_deref()).await;
        let Err(Asked::Failed(failure)) = &first else { return first };
        if !matches!(failure.status, 412 | 428) {
            return first;
        }
        // Some make an ETag weak on the way out and do not know it again; some change it with each answer.
        let fresh = self.ask(path).await?.etag;
        let strong = fresh.as_deref().map_or("*", |etag| etag.trim_start_matches("W/"));
        let second = self.write(Method::PATCH, path, body, Some(strong)).await;
        match &second {
            Err(Asked::Failed(failure)) if failure.status == 412 => {
                self.write(Method::PATCH, path, body, None).await
            }
            _ => second,
        }
    }

    /// A request that changes something. Who gives it up does not take it back: once it is on its way, it keeps its
    /// turn until its end, so that the next one sees what it did. While it waits for its turn it is forgotten.
    async fn write(
        self: &Arc<Self>,
        method: Method,
        path: &str,
        body: &Value,
        etag: Option<&str>,
    ) -> Result<Reply, Asked> {
        let (line, path, body) = (Arc::clone(self), path.to_owned(), body.clone());
        let etag = etag.map(str::to_owned);
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            let reply = match line.turn().await {
                Ok(_) if answer.is_closed() => return,
                Ok(mut talk) => line.talk(&mut talk, method, &path, Some(&body), etag.as_deref()).await,
                Err(error) => Err(error.into()),
            };
            // Whoever asked may have given up.
            let _ = answer.send(reply);
        });
        answered.await.unwrap_or_else(|_| Err(Error::Unreachable("the request was given up".into()).into()))
    }

    /// A question in its turn, logged in.
    async fn ask(&self, path: &str) -> Result<Reply, Asked> {
        let mut talk = self.turn().await?;
        self.talk(&mut talk, Method::GET, path, None, None).await
    }

    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, Talk>, Error> {
        let queue = timeout(self.patience.request * 2, self.queue.lock()).await;
        queue.map_err(|_| Error::busy("it is still busy with another request"))
    }

    async fn talk(
        &self,
        talk: &mut Talk,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Reply, Asked> {
        self.log_in(talk).await?;
        let mut raw = self.send(talk, &method, path, body, etag, true).await?;
        if raw.status == 401 && talk.session.take().is_some() {
            // The session has ended, which is no refusal of the credentials. What was asked was not done.
            self.log_in(talk).await?;
            raw = self.send(talk, &method, path, body, etag, true).await?;
        }
        if raw.status == 401 {
            // Of a token that was made a moment ago, it is no word on the credentials either.
            return Err(match talk.session.take() {
                Some(_) => Error::busy("it forgets its sessions at once"),
                None => self.refuse("the request", raw.status),
            }
            .into());
        }
        self.refusals.store(0, Ordering::Relaxed);
        read(raw)
    }

    /// Sends a request; `known` with who we are.
    pub async fn send(
        &self,
        talk: &mut Talk,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
        known: bool,
    ) -> Result<Raw, Error> {
        let asking = match (&talk.session, known) {
            (_, false) => As::Nobody,
            (Some(session), true) => As::Token(session.token.clone()),
            (None, true) => As::Basic,
        };
        self.send_as(talk, method, path, body, etag, &asking).await
    }

    pub async fn send_as(
        &self,
        talk: &mut Talk,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
        asking: &As,
    ) -> Result<Raw, Error> {
        let reads = method == Method::GET;
        for again in [false, true] {
            // Taken out, so that a request that is given up midway closes its connection.
            let kept = talk.connection.take();
            talk.ends_connections |= kept.as_ref().is_some_and(Connection::is_closed);
            let risky = !reads && talk.ends_connections;
            let kept = kept.filter(|kept| !kept.is_closed() && !again && !risky);
            let kept = kept.filter(|kept| reads || kept.used.elapsed() < FRESH);
            let mut connection = match kept {
                Some(kept) => kept,
                None => {
                    Connection::open(&self.origin, self.tls.as_ref(), &self.shown, &self.patience).await?
                }
            };
            let request = self.request(method, path, body, etag, asking)?;
            match connection.send(request, &self.patience).await {
                Ok(raw) => {
                    tracing::debug!(bmc = %self.origin.host, %method, path, status = raw.status, "asked a BMC");
                    talk.connection = Some(connection);
                    return Ok(raw);
                }
                Err(Lost::Unsent) if !again => {}
                Err(Lost::Midway(_)) if reads && !again => {}
                Err(Lost::Unsent) => return Err(Error::Unreachable("it closes each connection".into())),
                Err(Lost::Midway(why)) => return Err(Error::Unreachable(format!("{method} {path}: {why}"))),
                Err(Lost::Late) => {
                    let limit = self.patience.request.as_secs();
                    return Err(Error::Unreachable(format!("{method} {path}: no answer within {limit} s")));
                }
            }
        }
        Err(Error::Unreachable("it closes each connection".into()))
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
        asking: &As,
    ) -> Result<Request<Full<Bytes>>, Error> {
        // No Accept-Encoding: some answer 406 to it, some make their ETags useless.
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.origin.authority())
            .header(header::ACCEPT, "application/json")
            .header("OData-Version", "4.0");
        match asking {
            As::Nobody => {}
            As::Token(token) => request = request.header("X-Auth-Token", token.expose_secret()),
            As::Basic => {
                request = request.header(header::AUTHORIZATION, self.credentials.basic().expose_secret())
            }
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_MATCH, etag);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        request
            .body(Full::new(body))
            .map_err(|error| Error::Unreachable(format!("{path:?} cannot be asked: {error}")))
    }

    /// Counts a refusal of the credentials.
    pub fn refuse(&self, what: &str, status: u16) -> Error {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        Error::Refused(format!("{what} was answered with {status}"))
    }

    pub fn is_locked(&self) -> bool {
        self.refusals.load(Ordering::Relaxed) >= REFUSALS
    }

    /// The error of a request, without the password should the BMC have repeated it.
    pub fn told(&self, asked: Asked) -> Error {
        let clean = |words: String| match self.credentials.password.expose_secret() {
            "" => words,
            password => words.replace(password, "…"),
        };
        match asked {
            Asked::Error(error) => error,
            Asked::Failed(failure) => match failure.error() {
                Error::Busy { retry_after, words } => Error::Busy { retry_after, words: clean(words) },
                Error::Rejected { field, words } => Error::Rejected { field, words: clean(words) },
                Error::NotSupported(words) => Error::NotSupported(clean(words)),
                Error::Refused(words) => Error::Refused(clean(words)),
                other => other,
            },
        }
    }
}

/// Why there is no successful answer.
pub enum Asked {
    /// The BMC said why.
    Failed(Failure),
    /// It did not come so far.
    Error(Error),
}

impl From<Error> for Asked {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// An answer as a document or a failure.
pub fn read(raw: Raw) -> Result<Reply, Asked> {
    let text = |name: header::HeaderName| raw.headers.get(name).and_then(|value| value.to_str().ok());
    let document = serde_json::from_slice::<Value>(&raw.body);
    if !(200..300).contains(&raw.status) {
        let document = document.unwrap_or_default();
        return Err(Asked::Failed(Failure::read(raw.status, &document, text(header::RETRY_AFTER))));
    }
    let document = match document {
        Ok(document) => document,
        Err(_) if raw.body.is_empty() => Value::Null,
        Err(_) => return Err(Error::Unreachable("it answers with something that is no JSON".into()).into()),
    };
    let etag = text(header::ETAG).map(str::to_owned);
    let etag = etag.or_else(|| document.get("@odata.etag").and_then(Value::as_str).map(str::to_owned));
    Ok(Reply { document, etag, headers: raw.headers })
}
