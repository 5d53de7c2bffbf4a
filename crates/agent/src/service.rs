//! The metal room, as the agent speaks with it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::{self, Client, HttpError, PinError, Url, UrlError};
use crate::protocol::{HELD_SECONDS, Hello, Parameters, Report, Welcome, Work};

const LIMIT: Duration = Duration::from_secs(20);
/// A question may be held back so long.
const HELD: Duration = Duration::from_secs(HELD_SECONDS + 15);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// After so long without a word of the metal room nobody knows any more what the host is for.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Why the agent has no business here any more.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The command line.
    #[error("{0}")]
    Url(#[from] UrlError),
    /// The command line.
    #[error("{0}")]
    Pin(#[from] PinError),
    /// 401, 403 or 409: it will not get better.
    #[error("the service refuses this agent ({0}): {1}")]
    Refused(StatusCode, String),
    /// It was asked for an hour.
    #[error("no word from the service within an hour; the last: {0}")]
    Silent(String),
}

/// What came of one attempt.
enum Said {
    Answer(Bytes),
    /// 410: what the question was about is over.
    Gone,
    /// To be asked again.
    Later(String),
}

/// A session.
pub struct Service {
    client: Client,
    base: Url,
    session: String,
    patience: Duration,
}

/// Whether a report was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Go on.
    Yes,
    /// Stop.
    No,
}

impl Service {
    /// Says hello until there is an answer.
    pub async fn open(parameters: &Parameters, hello: &Hello) -> Result<(Self, Welcome), ServiceError> {
        let client = Client::new(http::pinned(&parameters.pin)?);
        let base = Url::parse(&parameters.service)?;
        if !base.is_https() {
            return Err(UrlError::not_https(&parameters.service).into());
        }
        let mut service = Service { client, base, session: String::new(), patience: PATIENCE };
        let body = service.insist(Method::POST, "/agent/v1/hello", to_json(hello), LIMIT).await?;
        let welcome: Welcome = body.and_then(|body| from_json(&body)).ok_or_else(|| {
            ServiceError::Refused(StatusCode::OK, "the answer to hello is not understood".into())
        })?;
        service.session = welcome.session.clone();
        Ok((service, welcome))
    }

    /// What to do next.
    pub async fn work(&self) -> Result<Work, ServiceError> {
        let answer = self.insist(Method::GET, "/agent/v1/work", Bytes::new(), HELD).await?;
        // A kind of work that this agent does not know must not end it: the next one may be known.
        Ok(answer.and_then(|body| from_json(&body)).unwrap_or(Work::Wait))
    }

    /// Tells the end of a work, until it is heard.
    pub async fn tell(&self, report: &Report) -> Result<(), ServiceError> {
        self.insist(Method::POST, "/agent/v1/report", to_json(report), LIMIT).await.map(drop)
    }

    /// Tells progress, once: the next one comes soon.
    pub async fn mention(&self, report: &Report) -> Wanted {
        match self.ask(Method::POST, "/agent/v1/report", to_json(report), LIMIT).await {
            Ok(Said::Gone) | Err(ServiceError::Refused(..)) => Wanted::No,
            Ok(Said::Later(why)) => {
                tracing::warn!(why, "progress was not heard");
                Wanted::Yes
            }
            _ => Wanted::Yes,
        }
    }

    /// Asks until there is an answer; nothing when the question is over.
    async fn insist(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Option<Bytes>, ServiceError> {
        let started = tokio::time::Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            match self.ask(method.clone(), path, body.clone(), limit).await? {
                Said::Answer(body) => return Ok(Some(body)),
                Said::Gone => return Ok(None),
                Said::Later(why) if started.elapsed() > self.patience => {
                    return Err(ServiceError::Silent(why));
                }
                Said::Later(why) => tracing::warn!(path, why, "the service is asked again"),
            }
            // A server that is down tells nobody when it is up.
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Said, ServiceError> {
        let url = self.base.at(path)?;
        let mut request = Request::builder().method(method).header(CONTENT_TYPE, "application/json");
        if !self.session.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.session));
        }
        let sent = match request.body(Full::new(body)) {
            Ok(request) => self.client.send(&url, request, limit).await,
            Err(error) => Err(HttpError::Request(error)),
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Ok(Said::Later(error.to_string())),
        };
        let status = response.status();
        let Some(body) = http::words(response.into_body(), LIMIT).await else {
            return Ok(Said::Later("the answer was cut off".into()));
        };
        let words = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        match status {
            StatusCode::GONE => Ok(Said::Gone),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT => {
                Err(ServiceError::Refused(status, words()))
            }
            status if status.is_success() => Ok(Said::Answer(body)),
            status => Ok(Said::Later(format!("{status}: {}", words()))),
        }
    }
}

/// Never the session.
impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("base", &self.base).finish_non_exhaustive()
    }
}

fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(%error, "an answer is not understood");
            None
        }
    }
}
