//! Where the objects of a watch come from: pages of a listing, then a stream of lines, each object as raw JSON.
//!
//! Written here and not taken from `kube::runtime`, whose watcher decodes a listing as a whole (one object that cannot be
//! decoded stops the kind, and the client logs the body) and does not give its resource version, without which a
//! relist cannot be merged with own writes.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::Status;
use kube::core::request::Request;
use kube::runtime::watcher;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::key::Kind;
use crate::limits::PAGE;

/// Why a listing or a watch ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server has forgotten this version: list anew.
    #[error("the version is too old")]
    Expired,
    #[error("{}", brief(.0))]
    Client(#[from] kube::Error),
    #[error("the request cannot be built: {0}")]
    Request(#[from] kube::core::request::Error),
    #[error("the API server answered {code}: {message}")]
    Status { code: u16, message: String },
    #[error("the connection broke: {0}")]
    Read(#[from] std::io::Error),
    /// The cause names a place in the answer, never its content.
    #[error("the answer is not what a listing or watch is: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("the API server ended the watch as soon as it began")]
    EndedAtOnce,
}

/// The client library puts a debug dump of the whole answer behind its message.
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

type Admit<K> = Arc<dyn Fn(watcher::Event<K>) -> Option<watcher::Event<K>> + Send + Sync>;

/// All objects of a kind on an API server.
#[derive(Clone)]
pub struct Source<K: Kind> {
    client: Client,
    pub(crate) kind: String,
    request: Request,
    page: u32,
    fields: Option<&'static str>,
    admit: Option<Admit<K>>,
    _kind: PhantomData<K>,
}

impl<K: Kind> Source<K> {
    /// All objects of the kind, in all namespaces.
    pub fn all(client: Client, kind: &K::DynamicType) -> Self {
        Self {
            client,
            kind: K::kind(kind).into_owned(),
            request: Request::new(K::url_path(kind, None)),
            page: PAGE,
            fields: None,
            admit: None,
            _kind: PhantomData,
        }
    }

    /// At most so many objects in one page of a listing.
    #[must_use]
    pub fn pages_of(mut self, objects: u32) -> Self {
        self.page = objects;
        self
    }

    /// Only the objects that this field selector lets through.
    #[must_use]
    pub fn fields(mut self, selector: &'static str) -> Self {
        self.fields = Some(selector);
        self
    }

    /// For an API server of strangers: calls `admit` with everything that it says, before it is kept. It may take away
    /// what nobody reads, and answers with what is kept: None, or a deletion, for an object that is left out. What
    /// cannot be read is left out too.
    #[must_use]
    pub fn admit(
        mut self,
        admit: impl Fn(watcher::Event<K>) -> Option<watcher::Event<K>> + Send + Sync + 'static,
    ) -> Self {
        self.admit = Some(Arc::new(admit));
        self
    }

    /// What is kept of an event.
    pub(crate) fn admitted(&self, event: watcher::Event<K>) -> Option<watcher::Event<K>> {
        // managedFields are half of an object's memory, and nothing here reads them.
        let event = event.modify(|object| object.meta_mut().managed_fields = None);
        match &self.admit {
            Some(admit) => admit(event),
            None => Some(event),
        }
    }

    /// Whether objects that cannot be read are kept.
    pub(crate) fn keeps_unreadable(&self) -> bool {
        self.admit.is_none()
    }

    /// One page of a listing.
    pub(crate) async fn page(&self, continue_token: Option<String>) -> Result<Page, Error> {
        let field_selector = self.fields.map(str::to_owned);
        let params =
            ListParams { limit: Some(self.page), continue_token, field_selector, ..ListParams::default() };
        let request = match K::metadata_api() {
            true => self.request.list_metadata(&params),
            false => self.request.list(&params),
        }?;
        let mut body = Box::pin(self.client.request_stream(request).await.map_err(gone)?);
        let mut text = Vec::new();
        body.read_to_end(&mut text).await?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// A stream of events from this version on.
    pub(crate) async fn watch(&self, version: &str) -> Result<Lines, Error> {
        // How long a watch may be silent is the client's to limit.
        let field_selector = self.fields.map(str::to_owned);
        let params = WatchParams { bookmarks: true, field_selector, ..WatchParams::default() };
        let request = match K::metadata_api() {
            true => self.request.watch_metadata(&params, version),
            false => self.request.watch(&params, version),
        }?;
        let stream = self.client.request_stream(request).await.map_err(gone)?;
        Ok(Lines { stream: Box::pin(stream), line: Vec::new() })
    }
}

fn gone(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if status.code == 410 => Error::Expired,
        other => Error::Client(other),
    }
}

/// One page of a listing; the objects are not decoded yet.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub metadata: PageMeta,
    /// The API server writes `null` for none.
    pub items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMeta {
    #[serde(default)]
    pub resource_version: String,
    #[serde(default, rename = "continue")]
    pub continue_token: String,
}

/// What a line of a watch says.
pub(crate) enum Event {
    Applied(Box<RawValue>),
    Deleted(Box<RawValue>),
    /// Nothing changed up to this version.
    Bookmark(String),
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    type_: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: PageMeta,
}

/// The lines of a watch.
pub(crate) struct Lines {
    stream: Pin<Box<dyn AsyncBufRead + Send>>,
    /// What has come of the next one: a call that is given up loses nothing.
    line: Vec<u8>,
}

impl Lines {
    /// The next event; None at the end of the stream. Half a line at the end counts as none.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Error> {
        while self.read().await? {
            if self.line.last() == Some(&b'\n') {
                let event = event(&self.line);
                self.line.clear();
                if let Some(event) = event? {
                    return Ok(Some(event));
                }
            }
        }
        Ok(None)
    }

    /// Takes what has come, up to the end of the line; false at the end of the stream.
    async fn read(&mut self) -> Result<bool, Error> {
        let chunk = self.stream.fill_buf().await?;
        let end = chunk.iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |end| end + 1);
        self.line.extend_from_slice(&chunk[..end]);
        self.stream.as_mut().consume(end);
        Ok(end > 0)
    }
}

fn event(line: &[u8]) -> Result<Option<Event>, Error> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let line: Line<'_> = serde_json::from_slice(line)?;
    match line.type_.as_str() {
        "ADDED" | "MODIFIED" => Ok(Some(Event::Applied(line.object.to_owned()))),
        "DELETED" => Ok(Some(Event::Deleted(line.object.to_owned()))),
        "BOOKMARK" => {
            let bookmark: Bookmark = serde_json::from_str(line.object.get())?;
            Ok(Some(Event::Bookmark(bookmark.metadata.resource_version)))
        }
        "ERROR" => {
            let status: Status = serde_json::from_str(line.object.get())?;
            if status.code == 410 {
                return Err(Error::Expired);
            }
            Err(Error::Status { code: status.code, message: status.message })
        }
        // A type that a later version may bring.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use futures::io::{BufReader, Cursor};

    use super::*;

    fn lines(text: &'static str) -> Lines {
        // Small pieces: no line comes in one.
        let stream = Box::pin(BufReader::with_capacity(7, Cursor::new(text.as_bytes())));
        Lines { stream, line: Vec::new() }
    }

    #[tokio::test]
    async fn lines_become_events_and_half_a_line_is_none() {
        let mut lines = lines(
            "{\"object\":{\"a\":1},\"type\":\"ADDED\"}\n\n{\"type\":\"LATER\",\"object\":{}}\n\
             {\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}\n{\"type\":\"DELE",
        );
        assert!(matches!(lines.next().await, Ok(Some(Event::Applied(raw))) if raw.get() == "{\"a\":1}"));
        assert!(matches!(lines.next().await, Ok(Some(Event::Bookmark(version))) if version == "7"));
        assert!(matches!(lines.next().await, Ok(None)));
    }

    #[tokio::test]
    async fn an_old_version_is_told_from_other_errors_and_no_error_has_content() {
        let expired = "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"message\":\"too old\"}}\n";
        assert!(matches!(lines(expired).next().await, Err(Error::Expired)));
        let other = "{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"etcd is away\"}}\n";
        let error = lines(other).next().await.err().unwrap().to_string();
        assert_eq!(error, "the API server answered 500: etcd is away");
        let garbage = lines("{\"type\":\"ADDED\",\"password\":\"hunter2\"}\n").next().await;
        assert!(!garbage.err().unwrap().to_string().contains("hunter2"));
    }
}
