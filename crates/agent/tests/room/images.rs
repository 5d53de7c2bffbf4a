//! An image server with ranges, and with faults.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{StreamExt, stream};

/// What goes wrong in one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// The whole file is sent whatever was asked for.
    NoRanges,
    /// The file is said to be another one.
    Changed,
    /// An answer without a body.
    Status(u16),
    /// Nothing comes after so many bytes.
    Stall(usize),
}

#[derive(Default)]
struct Files {
    files: HashMap<String, Bytes>,
    faults: VecDeque<Fault>,
    /// Ranges as they were asked for; empty without one.
    asked: Vec<String>,
}

/// The files that are served below `/images/`.
#[derive(Clone, Default)]
pub struct Images(Arc<Mutex<Files>>);

impl Images {
    pub fn put(&self, name: &str, content: impl Into<Bytes>) {
        self.0.lock().unwrap().files.insert(name.to_owned(), content.into());
    }

    /// Faults of the next answers, one each.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().unwrap().faults.extend(faults);
    }

    pub fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.clone()
    }

    pub fn router(&self) -> Router {
        Router::new().route("/images/{name}", get(serve)).with_state(self.clone())
    }
}

async fn serve(State(images): State<Images>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let mut files = images.0.lock().unwrap();
    let range =
        headers.get(header::RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default().to_owned();
    files.asked.push(range.clone());
    let Some(file) = files.files.get(&name).cloned() else { return StatusCode::NOT_FOUND.into_response() };
    let fault = files.faults.pop_front();
    if let Some(Fault::Status(status)) = fault {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let tag = if fault == Some(Fault::Changed) { "\"other\"" } else { "\"first\"" };
    let same = headers.get(header::IF_RANGE).is_none_or(|known| known == tag);
    let wanted = parse(&range, file.len()).filter(|_| same && fault != Some(Fault::NoRanges));
    let (start, end) = wanted.unwrap_or((0, file.len()));
    let response = Response::builder().header(header::ETAG, tag).header(header::CONTENT_LENGTH, end - start);
    let response = if wanted.is_some() {
        let said = format!("bytes {start}-{}/{}", end - 1, file.len());
        response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, said)
    } else {
        response
    };
    response.body(body(file.slice(start..end), fault)).unwrap()
}

fn body(content: Bytes, fault: Option<Fault>) -> Body {
    match fault {
        Some(Fault::Cut(after)) => super::registry::broken(content, after),
        Some(Fault::Stall(after)) => {
            let sent = content.slice(..after.min(content.len()));
            let never = stream::pending::<Result<Bytes, std::io::Error>>();
            Body::from_stream(stream::iter([Ok(sent)]).chain(never))
        }
        _ => Body::from(content),
    }
}

fn parse(range: &str, length: usize) -> Option<(usize, usize)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start = start.parse().ok()?;
    let end = if end.is_empty() { length } else { (end.parse::<usize>().ok()? + 1).min(length) };
    (start < end).then_some((start, end))
}
