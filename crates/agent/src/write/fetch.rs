//! The image, as a server gives it: from the first byte to the last, over as many connections as it takes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderValue, IF_RANGE, LAST_MODIFIED,
    LOCATION, RANGE,
};
use hyper::{Request, Response, StatusCode};
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use super::decode::Piece;
use super::digest::Digest;
use super::progress::Progress;
use crate::http::{Client, HttpError, Url, UrlError};
use crate::oci::{Registry, RegistryError};

const HEAD: Duration = Duration::from_secs(60);
/// A connection on which so long nothing comes is given up.
const STALL: Duration = Duration::from_secs(60);
/// Attempts without a new byte, one after the other: some minutes, in which a server may restart.
const ATTEMPTS: u32 = 20;
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const REDIRECTS: usize = 5;

/// Why the image does not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Whom nobody should trust.
    #[error("{0}")]
    Http(#[source] HttpError),
    /// The server's answer, which will not change.
    #[error("{0} answers {1}")]
    Status(String, StatusCode),
    /// Where it points to.
    #[error("{0} points to another place: {1}")]
    Redirect(String, #[source] UrlError),
    /// Endless.
    #[error("{0} points to other places again and again")]
    Redirects(String),
    /// It never worked, or not any more.
    #[error("the image cannot be read, after {0} bytes: {1}")]
    Broken(u64, String),
    /// Two parts of two images make none.
    #[error("the image at {0} was changed while it was read")]
    Changed(String),
    /// The server knows no ranges.
    #[error("{0} does not serve ranges of a file, which a qcow2 image needs: serve it elsewhere, or as raw")]
    NoRanges(String),
    /// Who may not read.
    #[error("{0}")]
    Refused(String),
}

/// Where a file is.
#[derive(Clone)]
pub struct Place {
    /// Its address.
    pub url: Url,
    /// Which forms of it are read.
    pub accept: Option<&'static str>,
    /// The registry that it is in.
    pub registry: Option<Arc<Registry>>,
}

impl Place {
    /// On a server that everybody may read from.
    pub fn open(url: Url) -> Self {
        Self { url, accept: None, registry: None }
    }
}

/// A file on a server.
pub struct Source {
    client: Client,
    url: Url,
    accept: Option<&'static str>,
    registry: Option<Arc<Registry>>,
    /// What tells this file from the next one at the same place.
    validator: Option<HeaderValue>,
    /// Bytes, when the server says it.
    pub length: Option<u64>,
    attempts: u32,
}

/// An answer, and how many of its first bytes are known already.
struct Body {
    body: Incoming,
    known: u64,
}

impl Source {
    /// Asks for the file, and keeps asking for a while.
    pub async fn open(client: Client, place: Place) -> Result<(Self, Incoming), FetchError> {
        let Place { url, accept, registry } = place;
        let mut source =
            Source { client, url, accept, registry, validator: None, length: None, attempts: ATTEMPTS };
        let response = source.insist(0, None).await?;
        let header = |name| response.headers().get(name).cloned();
        // A weak tag does not promise the same bytes.
        let strong = header(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
        source.validator = strong.or_else(|| header(LAST_MODIFIED));
        source.length = header(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Ok((source, response.into_body()))
    }

    /// Passes the whole file on, in order. `first` is the answer of [`Self::open`].
    pub async fn pump(
        &self,
        first: Incoming,
        pieces: &Sender<Piece>,
        digest: &mut Digest,
        progress: &Arc<Progress>,
    ) -> Result<(), FetchError> {
        let (mut at, mut failures) = (0_u64, 0);
        let mut body = Body { body: first, known: 0 };
        loop {
            let before = at;
            let why = match self.drain(body, &mut at, pieces, digest, progress).await {
                Ok(()) => {
                    let _ = pieces.send(Piece::End).await;
                    return Ok(());
                }
                Err(why) => why,
            };
            if pieces.is_closed() {
                // Whoever writes has a reason of its own.
                return Ok(());
            }
            failures = if at > before { 1 } else { failures + 1 };
            if failures > self.attempts {
                return Err(FetchError::Broken(at, why));
            }
            tracing::warn!(at, why, "the image is read on");
            body = self.resume(at).await?;
        }
    }

    /// One connection's part; an error when it broke.
    async fn drain(
        &self,
        mut body: Body,
        at: &mut u64,
        pieces: &Sender<Piece>,
        digest: &mut Digest,
        progress: &Arc<Progress>,
    ) -> Result<(), String> {
        loop {
            let frame = timeout(STALL, body.body.frame()).await;
            let frame = match frame.map_err(|_| format!("nothing came for {} s", STALL.as_secs()))? {
                Some(frame) => frame.map_err(|error| error.to_string())?,
                None if self.length.is_none_or(|length| *at >= length) => return Ok(()),
                None => return Err("the server ended early".into()),
            };
            let Ok(mut data) = frame.into_data() else { continue };
            let known = body.known.min(data.len() as u64);
            data.advance(known as usize);
            body.known -= known;
            if data.is_empty() {
                continue;
            }
            *at += data.len() as u64;
            digest.update(&data);
            progress.add(data.len() as u64);
            pieces.send(Piece::Data(data)).await.map_err(|_| "nobody writes".to_owned())?;
        }
    }

    /// The rest from `at` on, of the same file.
    async fn resume(&self, at: u64) -> Result<Body, FetchError> {
        let response = self.insist(at, None).await?;
        let changed = || FetchError::Changed(self.url.to_string());
        let same = match &self.validator {
            Some(known) => {
                [ETAG, LAST_MODIFIED].iter().any(|name| response.headers().get(name) == Some(known))
            }
            None => true,
        };
        if !same {
            return Err(changed());
        }
        if response.status() != StatusCode::PARTIAL_CONTENT {
            // The server knows no ranges: what is known comes again.
            return Ok(Body { body: response.into_body(), known: at });
        }
        match range_of(&response) {
            Some((start, total)) if start == at && (self.length.is_none() || total == self.length) => {
                Ok(Body { body: response.into_body(), known: 0 })
            }
            _ => Err(changed()),
        }
    }

    /// A part of the file in memory.
    pub async fn part(&self, range: Range<u64>) -> Result<Bytes, FetchError> {
        let mut why = String::new();
        for _ in 0..=self.attempts {
            let response = self.insist(range.start, Some(range.end)).await?;
            if response.status() != StatusCode::PARTIAL_CONTENT {
                return Err(FetchError::NoRanges(self.url.authority()));
            }
            let length = (range.end - range.start) as usize;
            let whole = http_body_util::Limited::new(response.into_body(), length).collect();
            match timeout(STALL, whole).await {
                Ok(Ok(whole)) => return Ok(whole.to_bytes()),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = "too slow".into(),
            }
        }
        Err(FetchError::Broken(range.start, why))
    }

    /// Asks until there is an answer that is one.
    async fn insist(&self, start: u64, end: Option<u64>) -> Result<Response<Incoming>, FetchError> {
        let mut wait = Duration::from_secs(1);
        let mut attempt = 0;
        loop {
            let why = match self.follow(start, end).await? {
                Ok(response) => match response.status() {
                    StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(response),
                    StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                        response.status().to_string()
                    }
                    status if status.is_server_error() => status.to_string(),
                    status => return Err(FetchError::Status(self.url.to_string(), status)),
                },
                Err(error) if error.is_final() => return Err(FetchError::Http(error)),
                Err(error) => error.to_string(),
            };
            attempt += 1;
            if attempt > self.attempts {
                return Err(FetchError::Broken(start, why));
            }
            tracing::warn!(why, "the image's server is asked again");
            // A server that is down tells nobody when it is up.
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn follow(
        &self,
        start: u64,
        end: Option<u64>,
    ) -> Result<Result<Response<Incoming>, HttpError>, FetchError> {
        let mut url = self.url.clone();
        let mut entered = false;
        for _ in 0..=REDIRECTS {
            let mut request = Request::get("/");
            if let Some(accept) = self.accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(ticket) = self.registry.as_ref().and_then(|registry| registry.ticket(&url)) {
                request = request.header(AUTHORIZATION, ticket);
            }
            if start > 0 || end.is_some() {
                let end = end.map(|end| (end - 1).to_string()).unwrap_or_default();
                request = request.header(RANGE, format!("bytes={start}-{end}"));
                if let Some(validator) = &self.validator {
                    request = request.header(IF_RANGE, validator);
                }
            }
            let request = match request.body(Full::new(Bytes::new())) {
                Ok(request) => request,
                Err(error) => return Ok(Err(HttpError::Request(error))),
            };
            let response = match self.client.send(&url, request, HEAD).await {
                Ok(response) => response,
                Err(error) => return Ok(Err(error)),
            };
            // Tickets end, too: for an image that takes an hour another one is needed.
            let registry = self.registry.as_ref().filter(|registry| !entered && registry.is_at(&url));
            if let (StatusCode::UNAUTHORIZED, Some(registry)) = (response.status(), registry) {
                entered = true;
                match registry.enter(&self.client, response.headers()).await {
                    Ok(()) => continue,
                    Err(RegistryError::Http(error)) => return Ok(Err(error)),
                    Err(RegistryError::Away(from, why)) => return Ok(Err(HttpError::Answer(from, why))),
                    Err(RegistryError::Refused(why)) => return Err(FetchError::Refused(why)),
                }
            }
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            match location {
                Some(location) if response.status().is_redirection() => {
                    url = url
                        .follow(location)
                        .map_err(|error| FetchError::Redirect(self.url.to_string(), error))?;
                }
                _ => return Ok(Ok(response)),
            }
        }
        Err(FetchError::Redirects(self.url.to_string()))
    }
}

/// First byte and whole length of `bytes 5-9/10`.
fn range_of(response: &Response<Incoming>) -> Option<(u64, Option<u64>)> {
    let said = response.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = said.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}
