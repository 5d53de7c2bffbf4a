//! One HTTP/1.1 connection to a BMC.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::tls::Shown;
use crate::types::{Origin, Patience};

/// The longest answer that is read.
const ANSWER: usize = 4 * 1024 * 1024;

/// An open connection. It closes when it is dropped.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    /// When its last answer came.
    pub used: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What came back.
pub struct Raw {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why nothing came back.
pub enum Lost {
    /// The connection had ended before the request was sent.
    Unsent,
    /// It ended later: the request may have been done.
    Midway(String),
    /// Too late.
    Late,
}

impl Connection {
    pub async fn open(
        origin: &Origin,
        tls: Option<&Arc<ClientConfig>>,
        shown: &Shown,
        patience: &Patience,
    ) -> Result<Self, Error> {
        let late = |_| Error::Unreachable(format!("no connection within {} s", patience.connect.as_secs()));
        timeout(patience.connect, Self::connect(origin, tls, shown)).await.map_err(late)?
    }

    async fn connect(origin: &Origin, tls: Option<&Arc<ClientConfig>>, shown: &Shown) -> Result<Self, Error> {
        let stream = TcpStream::connect((origin.host.as_str(), origin.port))
            .await
            .map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let Some(config) = tls else { return Self::over(stream).await };
        let name = ServerName::try_from(origin.host.clone()).map_err(|error| {
            Error::Unreachable(format!("{:?} is no name of a server: {error}", origin.host))
        })?;
        let stream = TlsConnector::from(config.clone()).connect(name, stream).await;
        Self::over(stream.map_err(|error| refused(&error, shown))?).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Error> {
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a BMC ended");
            }
        });
        Ok(Self { sender, driver, used: Instant::now() })
    }

    /// Whether the BMC has ended it, as far as is known.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>, patience: &Patience) -> Result<Raw, Lost> {
        let answer = timeout(patience.request, async {
            self.sender.ready().await.map_err(|_| Lost::Unsent)?;
            let response = self.sender.send_request(request).await.map_err(|error| lost(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER)
                .collect()
                .await
                .map_err(|error| Lost::Midway(error.to_string()))?;
            Ok(Raw { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() })
        });
        let raw = answer.await.map_err(|_| Lost::Late)??;
        self.used = Instant::now();
        Ok(raw)
    }
}

fn lost(error: &hyper::Error) -> Lost {
    if error.is_canceled() { Lost::Unsent } else { Lost::Midway(error.to_string()) }
}

fn unreachable(error: &dyn std::error::Error) -> Error {
    Error::Unreachable(error.to_string())
}

/// A handshake that failed: because of the certificate, or because nothing there speaks TLS.
fn refused(error: &io::Error, shown: &Shown) -> Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure)) => {
            Error::Tls {
                fingerprint: shown.get(),
                words: "it is another one than the one that was pinned".into(),
            }
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            Error::Tls { fingerprint: shown.get(), words: why.to_string() }
        }
        Some(other) => Error::Tls { fingerprint: None, words: other.to_string() },
        None => unreachable(error),
    }
}
