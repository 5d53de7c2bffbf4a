//! What agents and BMCs ask the manager for. In: the agents' protocol, and reads of media. Out: work, and ISOs with the
//! parameters of a host. Never: a token twice, or anything for whoever cannot prove which host he is.

mod agents;
pub mod desk;
pub mod identity;
mod images;
mod media;
mod ranges;
mod seal;
mod who;

use std::io;
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;

pub use images::Images;
pub use media::Media;

use crate::Listeners;

/// Serves agents, media and images over TLS, and the latter two without it as well: many BMCs verify no certificate, or speak no TLS that
/// is worth the name. Returns when one of the two cannot go on.
///
/// # Errors
/// When the certificate or a socket cannot be used.
pub async fn serve(
    media: Arc<Media>,
    images: Arc<Images>,
    certificates: String,
    key: String,
    listeners: Listeners,
) -> io::Result<()> {
    let tls = RustlsConfig::from_pem(certificates.into(), key.into()).await?;
    let secure = axum_server::from_tcp_rustls(listeners.secure.into_std()?, tls)?;
    let plain = axum_server::from_tcp(listeners.plain.into_std()?)?;
    let agents = agents::router(Arc::clone(&media.desk));
    let files = media::router(media).merge(images::router(images));
    let router = agents.merge(files.clone());
    tokio::try_join!(secure.serve(router.into_make_service()), plain.serve(files.into_make_service()))?;
    Ok(())
}
