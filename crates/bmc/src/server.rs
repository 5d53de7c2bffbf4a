//! A service behind HTTP or HTTPS on an address of its own.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::{Accept, DefaultAcceptor};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use crate::service::Service;

/// After so long without a byte from the client, `close-idle` closes.
const IDLE: Duration = Duration::from_millis(20);

/// A BMC that can be reached. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, PEM; empty without TLS.
    pub certificate_pem: String,
    handle: Handle<SocketAddr>,
    task: JoinHandle<()>,
}

/// By what a BMC is known.
#[derive(Clone)]
pub struct Identity {
    /// Its certificate, signed by itself.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
}

/// The server could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its address.
    #[error("listening")]
    Listen(#[source] io::Error),
    /// Its certificate.
    #[error("making a certificate")]
    Certificate(#[source] rcgen::Error),
    /// A certificate or key that was made before.
    #[error("reading the certificate or its key")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// Its TLS.
    #[error("setting up TLS")]
    Tls(#[source] rustls::Error),
}

impl Server {
    /// HTTP on this listener.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn http(service: &Arc<Service>, listener: TcpListener) -> Result<Self, ServerError> {
        let address = ready_to_serve(&listener)?;
        let server = axum_server::from_tcp(listener).map_err(ServerError::Listen)?;
        let app = service.router().into_make_service();
        let idle = Idle { inner: DefaultAcceptor::new(), closes: service.profile.quirks.close_idle };
        let handle = Handle::new();
        let server = server.handle(handle.clone()).acceptor(idle);
        let task = tokio::spawn(async move { tell(server.serve(app).await) });
        Ok(Self { address, certificate_pem: String::new(), handle, task })
    }

    /// HTTPS on this listener, with a certificate of its own making.
    ///
    /// # Errors
    /// When the listener cannot be used, or no certificate can be made.
    pub fn https(service: &Arc<Service>, listener: TcpListener) -> Result<Self, ServerError> {
        let address = listener.local_addr().map_err(ServerError::Listen)?;
        Self::https_as(service, listener, &Identity::new(address.ip())?)
    }

    /// HTTPS on this listener, with a certificate that was made before.
    ///
    /// # Errors
    /// When the listener or the certificate cannot be used.
    pub fn https_as(
        service: &Arc<Service>,
        listener: TcpListener,
        identity: &Identity,
    ) -> Result<Self, ServerError> {
        let address = ready_to_serve(&listener)?;
        let quirks = &service.profile.quirks;
        let config = tls(identity, quirks.tls12_only)?;
        let certificate_pem = identity.certificate_pem.clone();
        let inner = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(config)));
        let acceptor = Idle { inner, closes: quirks.close_idle };
        let server = axum_server::from_tcp(listener).map_err(ServerError::Listen)?;
        let app = service.router().into_make_service();
        let handle = Handle::new();
        let server = server.handle(handle.clone()).acceptor(acceptor);
        let task = tokio::spawn(async move { tell(server.serve(app).await) });
        Ok(Self { address, certificate_pem, handle, task })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Open connections end too.
        self.handle.shutdown();
        self.task.abort();
    }
}

fn tell(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::warn!(%error, "a BMC stopped listening");
    }
}

fn ready_to_serve(listener: &TcpListener) -> Result<SocketAddr, ServerError> {
    listener.set_nonblocking(true).map_err(ServerError::Listen)?;
    listener.local_addr().map_err(ServerError::Listen)
}

impl Identity {
    /// A new one for a server at this address.
    ///
    /// # Errors
    /// When no key or certificate can be made.
    pub fn new(address: IpAddr) -> Result<Self, ServerError> {
        let key = KeyPair::generate().map_err(ServerError::Certificate)?;
        let mut params =
            CertificateParams::new(vec!["localhost".into()]).map_err(ServerError::Certificate)?;
        params.subject_alt_names.push(SanType::IpAddress(address));
        let certificate = params.self_signed(&key).map_err(ServerError::Certificate)?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn tls(identity: &Identity, tls12_only: bool) -> Result<ServerConfig, ServerError> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes());
    let certificate = certificate.map_err(ServerError::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(ServerError::Pem)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let only: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let versions = if tls12_only { only } else { rustls::ALL_VERSIONS };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(ServerError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Closes connections that wait for another request, if so. Around the rest, so that a handshake is not cut off.
#[derive(Clone, Debug)]
struct Idle<A> {
    inner: A,
    closes: bool,
}

impl<A, S> Accept<TcpStream, S> for Idle<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
{
    type Stream = Idling<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepting = self.inner.accept(stream, service);
        let closes = self.closes;
        Box::pin(async move {
            let (stream, service) = accepting.await?;
            let idle = closes.then(|| Box::pin(sleep(IDLE)));
            Ok((Idling { stream, idle, answered: false }, service))
        })
    }
}

/// A connection that ends, without a word, when nothing follows an answer.
#[derive(Debug)]
struct Idling<S> {
    stream: S,
    idle: Option<Pin<Box<Sleep>>>,
    answered: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Idling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            self.answered = false;
            return Poll::Ready(read);
        }
        if self.answered
            && let Some(idle) = &mut self.idle
        {
            ready!(idle.as_mut().poll(cx));
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Idling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.answered = true;
        if let Some(idle) = &mut self.idle {
            idle.as_mut().reset(tokio::time::Instant::now() + IDLE);
            // The reader is asked again, so that the new deadline wakes the connection.
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
