//! HTTP/1.1 for what asks few questions: one connection each, every step with a time limit.

mod tls;
mod url;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub use tls::{PinError, TrustError, pinned, trusting};
pub use url::{Url, UrlError};

const CONNECT: Duration = Duration::from_secs(15);
/// A work may hold a config drive of 64 MiB, in base64; everything else is brief.
const WORDS: usize = 96 << 20;
/// Bounds what a connection holds of a body that nobody takes yet.
const BUFFER: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No name, no route, nobody listens.
    #[error("cannot reach {0}: {1}")]
    Connect(String, #[source] std::io::Error),
    /// The other side is not who it should be.
    #[error("no TLS with {0}: {1}")]
    Tls(String, #[source] std::io::Error),
    /// Connected, but then.
    #[error("{0} broke off: {1}")]
    Broken(String, #[source] hyper::Error),
    /// It takes too long.
    #[error("{0} did not answer within {1} s")]
    Slow(String, u64),
    /// An answer that is of no use.
    #[error("{0}: {1}")]
    Answer(String, String),
    /// The request cannot be written.
    #[error("a request that HTTP cannot say: {0}")]
    Request(#[from] hyper::http::Error),
}

impl HttpError {
    /// Whether it will be the same the next time: a certificate does not get better within minutes.
    pub fn is_final(&self) -> bool {
        matches!(self, HttpError::Tls(_, error) if error.kind() == std::io::ErrorKind::InvalidData)
            || matches!(self, HttpError::Request(_))
    }
}

/// Asks servers that a TLS configuration trusts.
#[derive(Clone)]
pub struct Client {
    tls: Arc<ClientConfig>,
}

impl Client {
    /// With this idea of whom to trust.
    pub fn new(tls: Arc<ClientConfig>) -> Self {
        Client { tls }
    }

    /// Sends a request, whose target is that of the URL; the answer's head must come within `limit`.
    pub async fn send(
        &self,
        url: &Url,
        mut request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Response<Incoming>, HttpError> {
        *request.uri_mut() = url.target().parse().map_err(hyper::http::Error::from)?;
        let host = url.authority().parse().map_err(hyper::http::Error::from)?;
        request.headers_mut().insert(hyper::header::HOST, host);
        let slow = |limit: Duration| HttpError::Slow(url.authority(), limit.as_secs());
        let broken = |error| HttpError::Broken(url.authority(), error);
        let mut sender = timeout(CONNECT, self.connect(url)).await.map_err(|_| slow(CONNECT))??;
        timeout(limit, sender.send_request(request)).await.map_err(|_| slow(limit))?.map_err(broken)
    }

    async fn connect(&self, url: &Url) -> Result<http1::SendRequest<Full<Bytes>>, HttpError> {
        let failed = |error| HttpError::Connect(url.authority(), error);
        let stream = TcpStream::connect((url.host(), url.port())).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if !url.is_https() {
            return shake_hands(url, stream).await;
        }
        let name = url
            .server_name()
            .map_err(|error| HttpError::Tls(url.authority(), std::io::Error::other(error)))?;
        let connector = TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await;
        shake_hands(url, stream.map_err(|error| HttpError::Tls(url.authority(), error))?).await
    }
}

async fn shake_hands<S>(url: &Url, stream: S) -> Result<http1::SendRequest<Full<Bytes>>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER);
    let shaken = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| HttpError::Broken(url.authority(), error))?;
    tokio::spawn(async move {
        // Whoever reads the body hears of it.
        let _ = connection.await;
    });
    Ok(sender)
}

/// The whole of a body that is no image; nothing of one that is too long, too slow or cut off.
pub async fn words(body: Incoming, limit: Duration) -> Option<Bytes> {
    let whole = timeout(limit, Limited::new(body, WORDS).collect()).await.ok()?.ok()?;
    Some(whole.to_bytes())
}
