//! Files and what is like them, answered whole or in part (RFC 9110, 14).

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream::try_unfold;
use tokio::task::spawn_blocking;

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// Something of a known length that is read from any place.
pub trait Readable: Send + Sync + 'static {
    /// In bytes.
    fn length(&self) -> u64;

    /// Which content it is; `None` when nothing else can have its name.
    fn tag(&self) -> Option<String> {
        None
    }

    /// Reads from `offset` on, and says how much.
    ///
    /// # Errors
    /// As reading a file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// The answer to a GET, or to a HEAD, of which only the headers are sent.
pub fn answer<R: Readable>(readable: R, headers: &HeaderMap) -> Response {
    let (length, tag) = (readable.length(), readable.tag());
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let same = text(header::IF_RANGE).is_none_or(|known| tag.as_deref() == Some(known));
    let asked = range(text(header::RANGE).filter(|_| same), length);
    let mut response = match asked {
        Asked::All => {
            let size = [(header::CONTENT_LENGTH, length.to_string())];
            (size, body(readable, 0..length)).into_response()
        }
        Asked::Part(part) => {
            let about = [
                (header::CONTENT_LENGTH, (part.end - part.start).to_string()),
                (header::CONTENT_RANGE, format!("bytes {}-{}/{length}", part.start, part.end - 1)),
            ];
            (StatusCode::PARTIAL_CONTENT, about, body(readable, part)).into_response()
        }
        Asked::Nothing => {
            let about = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, about).into_response();
        }
    };
    let mut put = |name, value: &str| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    put(header::ACCEPT_RANGES, "bytes");
    put(header::CONTENT_TYPE, "application/octet-stream");
    if let Some(tag) = tag {
        put(header::ETAG, &tag);
    }
    response
}

fn body<R: Readable>(readable: R, part: Range<u64>) -> Body {
    Body::from_stream(try_unfold((Arc::new(readable), part), |(readable, part)| async move {
        if part.is_empty() {
            return Ok(None);
        }
        let piece = usize::try_from(part.end - part.start).unwrap_or(PIECE).min(PIECE);
        let (readable, bytes) = spawn_blocking(move || {
            let mut buffer = vec![0; piece];
            let read = readable.read_at(&mut buffer, part.start)?;
            buffer.truncate(read);
            Ok::<_, io::Error>((readable, buffer))
        })
        .await
        .map_err(io::Error::other)??;
        if bytes.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let rest = part.start + bytes.len() as u64..part.end;
        Ok(Some((Bytes::from(bytes), (readable, rest))))
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
