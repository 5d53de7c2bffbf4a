//! The certificate that is served with, and what follows its changes.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use scute_pki::KeyPairPem;
use tokio::sync::watch;

/// The certificate and key to serve with, once there are some.
pub type Told = watch::Receiver<Option<KeyPairPem>>;

pub(super) async fn read(folder: &Path) -> io::Result<KeyPairPem> {
    let text = async |file: &str| tokio::fs::read_to_string(folder.join(file)).await;
    Ok(KeyPairPem { certificate_pem: text("tls.crt").await?, key_pem: text("tls.key").await? })
}

/// Looks again and again whether certificate and key were exchanged; does not return.
pub(super) async fn look(tell: &watch::Sender<Option<KeyPairPem>>, folder: &Path, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if let Ok(found) = read(folder).await {
            tell.send_if_modified(|told| told.replace(found.clone()) != Some(found));
        }
    }
}

/// Takes each new certificate; does not return. One that cannot be used (a new certificate beside an old key, for a
/// moment) is left.
pub(super) async fn exchange(tls: &RustlsConfig, mut told: Told) {
    while told.changed().await.is_ok() {
        let Some(pair) = told.borrow_and_update().clone() else { continue };
        match tls.reload_from_pem(pair.certificate_pem.into(), pair.key_pem.into()).await {
            Ok(()) => tracing::info!("the webhook certificate has been exchanged"),
            Err(error) => tracing::warn!(%error, "the new webhook certificate cannot be used"),
        }
    }
    std::future::pending().await
}
