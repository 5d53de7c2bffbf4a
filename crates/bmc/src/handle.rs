//! One request, from its headers to its answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::account::Account;
use crate::answer::{Message, Refusal, Reply, response};
use crate::auth;
use crate::faults::Fault;
use crate::path::{self, Place};
use crate::resources::document;
use crate::service::Service;
use crate::write;

/// The longest body that is read.
const BODY: usize = 64 * 1024;

/// The whole service: one handler, since every address follows the same rules.
pub async fn handle(State(service): State<Arc<Service>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let (number, fault) = {
        let mut state = service.state();
        (state.note(parts.method.clone(), path), state.faults.strike(&parts.method, path))
    };
    let answer = match fault {
        Some(fault) => faulty(&service, fault, number, &parts, body).await,
        None => sound(&service, number, &parts, body).await,
    };
    service.state().answered(number, answer.status().as_u16());
    answer
}

async fn faulty(service: &Arc<Service>, fault: Fault, number: u64, parts: &Parts, body: Body) -> Response {
    match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Slow(late) => {
            sleep(late).await;
            sound(service, number, parts, body).await
        }
        Fault::Http { status, message_id, retry_after } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let message =
                message_id.map_or_else(|| Message::base("GeneralError", &[]), |id| Message::oem(&id));
            let refusal = Refusal::new(status, message);
            let refusal = match retry_after {
                Some(after) => refusal.later(after),
                None => refusal,
            };
            response(refusal.into(), parts.method == Method::HEAD)
        }
        Fault::Cut => {
            let pieces: Vec<io::Result<Bytes>> = vec![
                Ok(Bytes::from_static(b"{\"Name\":")),
                Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            ];
            Response::new(Body::from_stream(Pieces(pieces.into_iter())))
        }
        Fault::Ignored => response(Reply::nothing(), false),
        Fault::Garbage => Response::new(Body::from("<html>busy</html>")),
    }
}

/// A body in pieces.
struct Pieces(std::vec::IntoIter<io::Result<Bytes>>);

impl futures::Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

async fn sound(service: &Arc<Service>, number: u64, parts: &Parts, body: Body) -> Response {
    let head = parts.method == Method::HEAD;
    let quirks = &service.profile.quirks;
    if quirks.sys518.is_some_and(|every| number % every == every - 1) {
        return response(
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Message::oem("IDRAC.2.8.SYS518")).into(),
            head,
        );
    }
    let reply = match answer(service, parts, body).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.into(),
    };
    response(reply, head)
}

async fn answer(service: &Arc<Service>, parts: &Parts, body: Body) -> Result<Reply, Refusal> {
    let path = parts.uri.path();
    acceptable(service, parts)?;
    let place = path::find(path, &service.profile);
    let login = parts.method == Method::POST && place == Some(Place::Sessions);
    let open = place.as_ref().is_some_and(Place::is_open) || login;
    // Who may not ask does not learn what there is.
    let account = if open { None } else { Some(service.who(&parts.headers, path)?) };
    let place = place.ok_or_else(|| Refusal::missing(path))?;
    accepts(parts)?;
    if place == Place::Root {
        sleep(service.profile.quirks.slow_root).await;
    }
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    if !place.allow().split(", ").any(|method| method == parts.method.as_str()) {
        return Err(Refusal::not_allowed(place.allow()));
    }
    if let Some(account) = &account {
        auth::allowed(account, &parts.method, &place, owns(service, account, &place))?;
    }
    if reads {
        let document = document(service, &place).ok_or_else(|| Refusal::missing(path))?;
        return Ok(shown(service, &place, document, &parts.headers));
    }
    let _one_at_a_time = service.writing.lock().await;
    if let Some(reply) = precondition(service, parts, &place)? {
        return Ok(reply);
    }
    let sent = sent(service, parts, body, &place).await?;
    write::write(service, &parts.method, place, &sent, account.as_ref()).await
}

/// Whether the request's headers and query can be honoured.
fn acceptable(service: &Service, parts: &Parts) -> Result<(), Refusal> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if text("odata-version").is_some_and(|version| version != "4.0") {
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, Message::base("PreconditionFailed", &[])));
    }
    let identity = text("accept-encoding").is_some_and(|encoding| encoding.contains("identity"));
    if identity && service.profile.quirks.refuse_identity {
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, Message::base("GeneralError", &[])));
    }
    let query = parts.uri.query().unwrap_or_default();
    if query.split('&').any(|part| part.starts_with('$') || part.starts_with("%24")) {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, Message::base("QueryNotSupported", &[])));
    }
    Ok(())
}

/// Whether the answer may be JSON, or XML where it is.
fn accepts(parts: &Parts) -> Result<(), Refusal> {
    let one_of = |accept: &str| {
        accept.split(',').any(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            matches!(kind, "*/*" | "application/*" | "application/json" | "application/xml" | "")
        })
    };
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_none_or(one_of) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, Message::base("GeneralError", &[])))
}

fn owns(service: &Service, account: &Account, place: &Place) -> bool {
    match place {
        Place::Account(id) => account.id == *id,
        Place::Session(id) => {
            service.state().access.sessions.iter().any(|it| it.id == *id && it.user == account.user)
        }
        _ => false,
    }
}

/// A document with the headers of a GET; without itself when the client has it already.
pub fn shown(service: &Service, place: &Place, mut document: Value, headers: &HeaderMap) -> Reply {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let quirks = &service.profile.quirks;
    let gzip = text(header::ACCEPT_ENCODING).is_some_and(|encoding| encoding.contains("gzip"));
    let etag = tagged(&mut document, quirks.etag_weak || (quirks.etag_weak_on_gzip && gzip));
    let schema = document.get("@odata.type").and_then(Value::as_str).and_then(|kind| {
        let kind = kind.trim_start_matches('#');
        Some(kind.rsplit_once('.')?.0.to_owned())
    });
    let mut reply = if text(header::IF_NONE_MATCH).is_some_and(|known| known == etag) {
        Reply { status: StatusCode::NOT_MODIFIED, ..Reply::default() }
    } else {
        Reply::document(document)
    };
    reply = reply.with(header::ETAG, etag).with(header::ALLOW, place.allow().to_owned());
    if let Some(schema) = schema {
        let link = format!("<http://redfish.dmtf.org/schemas/v1/{schema}.json>; rel=describedby");
        reply = reply.with(header::LINK, link);
    }
    reply
}

/// Puts the ETag into a resource, and returns it.
fn tagged(document: &mut Value, weak: bool) -> String {
    let etag = etag(document);
    let etag = if weak { format!("W/{etag}") } else { etag };
    if document.get("@odata.id").is_some() {
        document["@odata.etag"] = json!(etag);
    }
    etag
}

fn etag(document: &Value) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, document.to_string().as_bytes());
    format!("\"{}\"", hex::encode(&digest.as_ref()[..8]))
}

/// Checks If-Match. A reply where the profile pretends.
fn precondition(service: &Service, parts: &Parts, place: &Place) -> Result<Option<Reply>, Refusal> {
    let quirks = &service.profile.quirks;
    let Some(wanted) = parts.headers.get(header::IF_MATCH) else {
        if parts.method == Method::PATCH && quirks.if_match_required {
            let message = Message::base("PreconditionRequired", &[]);
            return Err(Refusal::new(StatusCode::PRECONDITION_REQUIRED, message));
        }
        let pretends = parts.method == Method::PATCH && quirks.if_match_ignored_write;
        return Ok(pretends.then(Reply::nothing));
    };
    let Some(document) = document(service, place) else { return Ok(None) };
    let etag = etag(&document);
    let matches = |wanted: &str| wanted.split(',').any(|one| one.trim() == "*" || one.trim() == etag);
    if wanted.to_str().is_ok_and(matches) {
        return Ok(None);
    }
    Err(Refusal::new(StatusCode::PRECONDITION_FAILED, Message::base("PreconditionFailed", &[])))
}

/// The body of a request, an object; none is an empty one.
async fn sent(
    service: &Service,
    parts: &Parts,
    body: Body,
    place: &Place,
) -> Result<Map<String, Value>, Refusal> {
    if parts.method == Method::DELETE {
        return Ok(Map::new());
    }
    let malformed = || Refusal::bad(Message::base("MalformedJSON", &[]));
    let body = tokio::time::timeout(Duration::from_secs(30), to_bytes(body, BODY)).await;
    let body = body.map_err(|_| malformed())?.map_err(|_| malformed())?;
    let eject = matches!(place, Place::Eject(..));
    if body.is_empty() && eject && !service.profile.quirks.eject_needs_body {
        return Ok(Map::new());
    }
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if body.is_empty() && eject || !kind.is_none_or(|kind| kind.starts_with("application/json")) {
        let message = Message::base("UnrecognizedRequestBody", &[]);
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(sent)) => Ok(sent),
        Ok(_) => Err(Refusal::bad(Message::base("UnrecognizedRequestBody", &[]))),
        Err(_) => Err(malformed()),
    }
}

/// The document after a write, told together with what was not taken.
pub fn written(service: &Service, place: &Place, refused: Vec<(String, Message)>) -> Reply {
    let mut document = document(service, place).unwrap_or_else(|| json!({}));
    let etag = tagged(&mut document, service.profile.quirks.etag_weak);
    if !refused.is_empty() {
        let all: Vec<Value> = refused.iter().map(|(_, message)| message.document()).collect();
        document["@Message.ExtendedInfo"] = json!(all);
    }
    for (name, message) in refused {
        document[format!("{name}@Message.ExtendedInfo")] = json!([message.document()]);
    }
    Reply::document(document).with(header::ETAG, etag)
}
