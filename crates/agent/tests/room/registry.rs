//! A registry as the distribution specification has it, for one repository: manifests, blobs in ranges, the challenge of 401 and
//! tokens, blobs that are elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt, stream};

pub const REPOSITORY: &str = "disks/node";
pub const USER: &str = "reader";
pub const PASSWORD: &str = "correct-horse";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Who may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Everybody.
    #[default]
    Open,
    /// With the password.
    Basic,
    /// With a token of this address, which is good for so many requests, and which everybody gets, or who has the password.
    Bearer { realm: String, uses: usize, password: bool },
}

#[derive(Default)]
struct Content {
    manifests: HashMap<String, (&'static str, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
    guard: Guard,
    tokens: HashMap<String, usize>,
    given: usize,
    /// Where blobs are instead.
    elsewhere: Option<String>,
    /// The next answers with a blob break after so many bytes.
    cuts: Vec<usize>,
    asked: Vec<String>,
}

#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Content>>);

/// `sha256:…`
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)))
}

impl Registry {
    /// Pushes an image of these layers under a tag, for all machines or for one beside others; gives the manifest's digest.
    pub fn push(&self, tag: &str, layers: &[(&str, &[u8])], listed: bool) -> String {
        let mut content = self.0.lock().unwrap();
        let mut descriptors = Vec::new();
        for (media_type, bytes) in layers {
            content.blobs.insert(digest(bytes), bytes.to_vec());
            descriptors.push(
                serde_json::json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()}),
            );
        }
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": descriptors});
        let manifest = manifest.to_string().into_bytes();
        let id = digest(&manifest);
        content.manifests.insert(id.clone(), (MANIFEST, manifest.clone()));
        let named = if listed {
            let entry = |digest: &str, architecture: &str| {
                serde_json::json!({"mediaType": MANIFEST, "digest": digest, "size": 1,
                    "platform": {"os": "linux", "architecture": architecture}})
            };
            let others = entry(&digest(b"another"), "arm64");
            let list = serde_json::json!({"schemaVersion": 2, "manifests": [others, entry(&id, "amd64")]});
            (INDEX, list.to_string().into_bytes())
        } else {
            (MANIFEST, manifest)
        };
        let id = digest(&named.1);
        content.manifests.insert(id.clone(), named.clone());
        content.manifests.insert(tag.to_owned(), named);
        id
    }

    /// What has this digest or tag is something else.
    pub fn corrupt(&self, name: &str) {
        let mut content = self.0.lock().unwrap();
        if let Some((_, manifest)) = content.manifests.get_mut(name) {
            manifest.push(b' ');
        }
        if let Some(blob) = content.blobs.get_mut(name) {
            blob[0] ^= 1;
        }
    }

    pub fn guard(&self, guard: Guard) {
        self.0.lock().unwrap().guard = guard;
    }

    pub fn elsewhere(&self, base: Option<String>) {
        self.0.lock().unwrap().elsewhere = base;
    }

    pub fn cut(&self, cuts: impl IntoIterator<Item = usize>) {
        self.0.lock().unwrap().cuts.extend(cuts);
    }

    /// Path, range and kind of authorization of each request since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    pub fn router(&self) -> Router {
        Router::new().route("/v2/{*rest}", get(serve)).route("/token", get(token)).with_state(self.clone())
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn knows_password(headers: &HeaderMap) -> bool {
    text(headers, header::AUTHORIZATION)
        == format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

async fn token(
    State(registry): State<Registry>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut content = registry.0.lock().unwrap();
    let kind = text(&headers, header::AUTHORIZATION).split(' ').next().unwrap_or_default().to_owned();
    content.asked.push(format!("token {kind}").trim().to_owned());
    let Guard::Bearer { uses, password, .. } = content.guard.clone() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let wanted = [("service", "registry of the test"), ("scope", "repository:disks/node:pull")];
    if wanted.iter().any(|(name, value)| query.get(*name).map(String::as_str) != Some(value)) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    if password && !knows_password(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    content.given += 1;
    let token = format!("token-{}", content.given);
    content.tokens.insert(token.clone(), uses);
    axum::Json(serde_json::json!({"access_token": token, "expires_in": 60})).into_response()
}

async fn serve(
    State(registry): State<Registry>,
    Path(rest): Path<String>,
    headers: HeaderMap,
    uri: axum::http::Uri,
) -> Response {
    let mut content = registry.0.lock().unwrap();
    let (range, shown) = (text(&headers, header::RANGE), text(&headers, header::AUTHORIZATION));
    let kind = shown.split(' ').next().unwrap_or_default();
    let line =
        format!("{} {range} {kind}", uri.path_and_query().map(ToString::to_string).unwrap_or_default());
    content.asked.push(line.trim().to_owned());
    let signed = uri.query() == Some("signed");
    let challenge = match content.guard.clone() {
        Guard::Open => None,
        Guard::Basic => (!knows_password(&headers)).then(|| r#"Basic realm="test""#.to_owned()),
        Guard::Bearer { realm, .. } => {
            let left = shown.strip_prefix("Bearer ").and_then(|token| content.tokens.get_mut(token));
            let good = left.is_some_and(|left| std::mem::replace(left, left.saturating_sub(1)) > 0);
            let scope = "repository:disks/node:pull";
            let words = format!(r#"Bearer realm="{realm}",service="registry of the test",scope="{scope}""#);
            (!good).then_some(words)
        }
    };
    if let Some(challenge) = challenge.filter(|_| !signed) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    }
    let path = rest.strip_prefix(REPOSITORY).unwrap_or_default();
    if let Some(name) = path.strip_prefix("/manifests/") {
        let Some((media_type, manifest)) = content.manifests.get(name).cloned() else {
            return StatusCode::NOT_FOUND.into_response();
        };
        if !text(&headers, header::ACCEPT).contains(media_type) {
            return StatusCode::NOT_ACCEPTABLE.into_response();
        }
        return ([(header::CONTENT_TYPE, media_type)], manifest).into_response();
    }
    let Some(name) = path.strip_prefix("/blobs/") else { return StatusCode::NOT_FOUND.into_response() };
    let Some(blob) = content.blobs.get(name).cloned() else { return StatusCode::NOT_FOUND.into_response() };
    if let Some(base) = content.elsewhere.clone().filter(|_| !signed) {
        let place = format!("{base}/v2/{rest}?signed");
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, place)]).into_response();
    }
    let cut = if content.cuts.is_empty() { None } else { Some(content.cuts.remove(0)) };
    let wanted = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let wanted = wanted.and_then(|(start, end)| {
        let end = end.parse::<usize>().map_or(blob.len(), |end| (end + 1).min(blob.len()));
        Some((start.parse::<usize>().ok()?, end))
    });
    let (start, end) = wanted.unwrap_or((0, blob.len()));
    let mut response = Response::builder().header(header::CONTENT_LENGTH, end - start);
    if wanted.is_some() {
        let said = format!("bytes {start}-{}/{}", end - 1, blob.len());
        response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, said);
    }
    let bytes = blob[start..end].to_vec();
    let body = match cut {
        Some(after) => broken(bytes.into(), after),
        None => Body::from(bytes),
    };
    response.body(body).unwrap()
}

/// A body that breaks off after so many bytes.
pub fn broken(content: Bytes, after: usize) -> Body {
    let sent = content.slice(..after.min(content.len()));
    // The server drops what it has not sent yet when it hears of the end: nothing tells when it has.
    let broken = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        Err(std::io::Error::other("cut by the test"))
    };
    Body::from_stream(stream::iter([Ok(sent)]).chain(stream::once(broken)))
}
