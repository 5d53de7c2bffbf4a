//! Images for disks, served to whoever asks: there is nothing secret in them. `/images/NAME` in any ranges, and
//! `/images/NAME.sha256sum`, which a host's `spec.image.checksum` may name.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::ranges::{Readable, answer};

const SUM: &str = ".sha256sum";
/// Bytes that are read at a time for a digest.
const PIECE: usize = 1 << 20;

/// The images, by name.
pub struct Images {
    images: BTreeMap<String, Image>,
}

struct Image {
    file: PathBuf,
    /// Digest of what had this tag. Whoever asks meanwhile waits for the one who computes it.
    digest: Mutex<Option<(String, String)>>,
}

impl Images {
    /// These files, by the names in their URLs.
    pub fn new(files: BTreeMap<String, PathBuf>) -> Self {
        let image = |file| Image { file, digest: Mutex::default() };
        Self { images: files.into_iter().map(|(name, file)| (name, image(file))).collect() }
    }
}

/// The routes.
pub fn router(images: Arc<Images>) -> Router {
    Router::new().route("/images/{name}", get(serve)).with_state(images)
}

async fn serve(State(images): State<Arc<Images>>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let done = match (images.images.get(&name), name.strip_suffix(SUM)) {
        (Some(image), _) => image.open().await.map(|opened| answer(opened, &headers)),
        (None, Some(of)) => match images.images.get(of) {
            Some(image) => image.digest().await.map(|digest| {
                let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
                (text, format!("{digest}  {of}\n")).into_response()
            }),
            None => return StatusCode::NOT_FOUND.into_response(),
        },
        (None, None) => return StatusCode::NOT_FOUND.into_response(),
    };
    done.unwrap_or_else(|error| {
        tracing::warn!(%error, image = name, "an image cannot be served");
        (StatusCode::SERVICE_UNAVAILABLE, "the image cannot be read").into_response()
    })
}

impl Image {
    async fn open(&self) -> io::Result<Opened> {
        let file = self.file.clone();
        spawn_blocking(move || {
            let file = File::open(file)?;
            let about = file.metadata()?;
            Ok(Opened { tag: tag(&about), length: about.len(), file })
        })
        .await
        .map_err(io::Error::other)?
    }

    /// SHA-256 of the file as it is now, in hexadecimal digits.
    async fn digest(&self) -> io::Result<String> {
        let mut known = self.digest.lock().await;
        let opened = self.open().await?;
        if let Some((_, digest)) = known.as_ref().filter(|(tag, _)| *tag == opened.tag) {
            return Ok(digest.clone());
        }
        let tag = opened.tag.clone();
        let digest = spawn_blocking(move || opened.digest()).await.map_err(io::Error::other)??;
        *known = Some((tag, digest.clone()));
        Ok(digest)
    }
}

/// An image that is being read; it stays the same when another takes its place.
struct Opened {
    file: File,
    length: u64,
    tag: String,
}

/// Of a file: another file, or one that was written to, has another.
fn tag(about: &Metadata) -> String {
    let (inode, seconds, nanoseconds) = (about.ino(), about.mtime(), about.mtime_nsec());
    format!("\"{:x}-{inode:x}-{seconds:x}-{nanoseconds:x}\"", about.len())
}

impl Opened {
    fn digest(&self) -> io::Result<String> {
        let (mut context, mut buffer, mut at) = (Context::new(&SHA256), vec![0; PIECE], 0);
        loop {
            match self.file.read_at(&mut buffer, at)? {
                0 => return Ok(hex::encode(context.finish())),
                length => {
                    context.update(&buffer[..length]);
                    at += length as u64;
                }
            }
        }
    }
}

impl Readable for Opened {
    fn length(&self) -> u64 {
        self.length
    }

    fn tag(&self) -> Option<String> {
        Some(self.tag.clone())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    struct Answer {
        status: u16,
        headers: HeaderMap,
        body: Vec<u8>,
    }

    async fn ask(router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// `printf 0123456789 | sha256sum`, and of `other`.
    const DIGITS: &str = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
    const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

    #[tokio::test]
    async fn an_image_is_served_in_parts_with_its_digest_and_a_new_one_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        std::fs::write(&file, "0123456789").unwrap();
        let files = BTreeMap::from([("node.qcow2".to_owned(), file.clone())]);
        let router = router(Arc::new(Images::new(files)));
        let whole = ask(&router, "/images/node.qcow2", &[]).await;
        assert_eq!((whole.status, whole.body.as_slice()), (200, &b"0123456789"[..]));
        assert_eq!(whole.headers["accept-ranges"], "bytes");
        let tag = whole.headers["etag"].to_str().unwrap().to_owned();
        let part = ask(&router, "/images/node.qcow2", &[("range", "bytes=4-"), ("if-range", &tag)]).await;
        assert_eq!((part.status, part.body.as_slice()), (206, &b"456789"[..]));
        assert_eq!(part.headers["content-range"], "bytes 4-9/10");
        let sum = ask(&router, "/images/node.qcow2.sha256sum", &[]).await;
        assert_eq!(String::from_utf8(sum.body).unwrap(), format!("{DIGITS}  node.qcow2\n"));

        let next = dir.path().join("next");
        std::fs::write(&next, "other").unwrap();
        std::fs::rename(next, &file).unwrap();
        let rest = ask(&router, "/images/node.qcow2", &[("range", "bytes=4-"), ("if-range", &tag)]).await;
        assert_eq!((rest.status, rest.body.as_slice()), (200, &b"other"[..]), "never parts of two");
        let sum = ask(&router, "/images/node.qcow2.sha256sum", &[]).await;
        assert_eq!(String::from_utf8(sum.body).unwrap(), format!("{OTHER}  node.qcow2\n"));
    }

    #[tokio::test]
    async fn nothing_else_is_served() {
        let files = BTreeMap::from([("gone".to_owned(), PathBuf::from("/nonexistent"))]);
        let router = router(Arc::new(Images::new(files)));
        for path in ["/images/x", "/images/x.sha256sum", "/images/..%2f..%2fetc%2fpasswd", "/images/"] {
            assert_eq!(ask(&router, path, &[]).await.status, 404, "{path}");
        }
        for path in ["/images/gone", "/images/gone.sha256sum"] {
            assert_eq!(ask(&router, path, &[]).await.status, 503, "{path}");
        }
    }
}
