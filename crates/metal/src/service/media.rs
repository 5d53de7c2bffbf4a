//! The media of the hosts: read by BMCs, in pieces and as often as they like.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream::try_unfold;
use scute_agent::protocol::Parameters;
use scute_image::media::PerHostIso;
use tokio::task::spawn_blocking;

use super::desk::Desk;
use super::seal::{host_of, same};

/// What every medium says.
pub struct Media {
    /// Whose hosts.
    pub desk: Arc<Desk>,
    /// The ISO of the ramdisk, which all media share.
    pub ramdisk: PathBuf,
    /// Where agents call back.
    pub service: String,
    /// Which authority they trust.
    pub pin: String,
}

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// The routes.
pub fn router(media: Arc<Media>) -> Router {
    Router::new().route("/media/{file}", get(medium)).with_state(media)
}

/// A GET, or a HEAD, of which only the headers are sent.
async fn medium(State(media): State<Arc<Media>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some(parameters) = media.parameters(&file) else { return StatusCode::NOT_FOUND.into_response() };
    let made = spawn_blocking(move || {
        let base = File::open(&media.ramdisk)?;
        PerHostIso::new(base, &parameters).map_err(io::Error::other)
    });
    let medium = match made.await.map_err(io::Error::other).flatten() {
        Ok(medium) => Arc::new(medium),
        Err(error) => {
            tracing::warn!(%error, "the ISO of the ramdisk cannot be served");
            return (StatusCode::SERVICE_UNAVAILABLE, "the medium cannot be read").into_response();
        }
    };
    let length = medium.length();
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let usual = [
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
    ];
    match range(asked, length) {
        Asked::All => {
            let size = [(header::CONTENT_LENGTH, length.to_string())];
            (usual, size, body(medium, 0..length)).into_response()
        }
        Asked::Part(part) => {
            let about = [
                (header::CONTENT_LENGTH, (part.end - part.start).to_string()),
                (header::CONTENT_RANGE, format!("bytes {}-{}/{length}", part.start, part.end - 1)),
            ];
            (StatusCode::PARTIAL_CONTENT, usual, about, body(medium, part)).into_response()
        }
        Asked::Nothing => {
            let about = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, about).into_response()
        }
    }
}

impl Media {
    /// The parameters of the host whose medium has this name now.
    fn parameters(&self, file: &str) -> Option<String> {
        let uid = host_of(file);
        if !same(file, &self.desk.medium(uid)?) {
            return None;
        }
        let seats = self.desk.seats();
        let boot = seats.get(uid)?.boot.as_ref()?;
        let parameters = Parameters {
            service: self.service.clone(),
            host: uid.to_owned(),
            token: self.desk.seal.token(uid, &boot.nonce),
            pin: self.pin.clone(),
            addresses: boot.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        };
        Some(parameters.to_string())
    }
}

fn body(medium: Arc<PerHostIso>, part: Range<u64>) -> Body {
    Body::from_stream(try_unfold((medium, part), |(medium, part)| async move {
        if part.is_empty() {
            return Ok(None);
        }
        let piece = usize::try_from(part.end - part.start).unwrap_or(PIECE).min(PIECE);
        let (medium, bytes) = spawn_blocking(move || {
            let mut buffer = vec![0; piece];
            let read = medium.read_at(&mut buffer, part.start)?;
            buffer.truncate(read);
            Ok::<_, io::Error>((medium, buffer))
        })
        .await
        .map_err(io::Error::other)??;
        if bytes.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let rest = part.start + bytes.len() as u64..part.end;
        Ok(Some((Bytes::from(bytes), (medium, rest))))
    }))
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Part(Range<u64>),
    /// What is not there.
    Nothing,
}

/// Reads a Range header (RFC 9110, 14.2). More ranges than one are answered with everything, as is what is no range.
fn range(asked: Option<&str>, length: u64) -> Asked {
    let Some((first, last)) = asked.and_then(|text| text.trim().strip_prefix("bytes=")?.split_once('-'))
    else {
        return Asked::All;
    };
    let part = match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), "") => first..length,
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if last >= first => first..last.saturating_add(1).min(length),
            _ => return Asked::All,
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(count) => length.saturating_sub(count)..length,
            Err(_) => return Asked::All,
        },
        (Err(_), _) => return Asked::All,
    };
    if part.is_empty() { Asked::Nothing } else { Asked::Part(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_bmcs_ask_for_them() {
        for (asked, expected) in [
            (None, Asked::All),
            (Some("bytes=0-99"), Asked::Part(0..100)),
            (Some("bytes=100-"), Asked::Part(100..1000)),
            (Some("bytes=-10"), Asked::Part(990..1000)),
            (Some("bytes=900-5000"), Asked::Part(900..1000)),
            (Some("bytes=-5000"), Asked::Part(0..1000)),
            (Some("bytes=1000-"), Asked::Nothing),
            (Some("bytes=-0"), Asked::Nothing),
            (Some("bytes=9-3"), Asked::All),
            (Some("bytes=0-1,5-6"), Asked::All),
            (Some("lines=0-1"), Asked::All),
            (Some("bytes=x-"), Asked::All),
        ] {
            assert_eq!(range(asked, 1000), expected, "{asked:?}");
        }
    }
}
