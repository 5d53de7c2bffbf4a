//! Whether the API server of this machine answers: `/livez` over TLS, by the authority of its certificate.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::watch::Sender;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// An API server tells nobody that it has died: it is asked this often, and may take this long.
const EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(1);
/// A name that every API server's certificate has.
const NAME: &str = "kubernetes";

/// Tells whether it answers, whenever that changes; does not return.
pub async fn watch(api_server: SocketAddr, ca: &Path, tell: &Sender<bool>) -> Infallible {
    let mut before = true;
    loop {
        let found = timeout(PATIENCE, ask(api_server, ca)).await;
        let answers = matches!(found, Ok(Ok(())));
        if let (true, Ok(Err(why))) = (before, &found) {
            tracing::warn!(%api_server, %why, "the API server does not answer");
        }
        before = answers;
        tell.send_if_modified(|told| std::mem::replace(told, answers) != answers);
        sleep(EVERY).await;
    }
}

/// One question. Whoever is refused has been answered.
async fn ask(api_server: SocketAddr, ca: &Path) -> Result<(), String> {
    let said = |what: &str, error: &dyn std::error::Error| format!("{what}: {error}");
    // It may be renewed, and is small.
    let pem = tokio::fs::read(ca).await.map_err(|error| said(&ca.display().to_string(), &error))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(NAME).map_err(|error| said(NAME, &error))?;
    let stream = TcpStream::connect(api_server).await.map_err(|error| said("connect", &error))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| said("TLS", &error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| said("HTTP", &error))?;
    let request = Request::get("/livez").header("host", NAME).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| said("HTTP", &error))?;
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer.map_err(|error| said("HTTP", &error))?,
        ended = connection => return Err(format!("HTTP: {ended:?}")),
    };
    if answer.status().is_server_error() { Err(format!("/livez: {}", answer.status())) } else { Ok(()) }
}
