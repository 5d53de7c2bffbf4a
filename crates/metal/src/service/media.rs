//! The media of the hosts: read by BMCs, in pieces and as often as they like.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use scute_agent::protocol::Parameters;
use scute_image::media::PerHostIso;
use tokio::task::spawn_blocking;

use super::desk::Desk;
use super::ranges::{Readable, answer};
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

/// The routes.
pub fn router(media: Arc<Media>) -> Router {
    Router::new().route("/media/{file}", get(medium)).with_state(media)
}

async fn medium(State(media): State<Arc<Media>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some(parameters) = media.parameters(&file) else { return StatusCode::NOT_FOUND.into_response() };
    let made = spawn_blocking(move || {
        let base = File::open(&media.ramdisk)?;
        PerHostIso::new(base, &parameters).map_err(io::Error::other)
    });
    let medium = match made.await.map_err(io::Error::other).flatten() {
        Ok(medium) => medium,
        Err(error) => {
            tracing::warn!(%error, "the ISO of the ramdisk cannot be served");
            return (StatusCode::SERVICE_UNAVAILABLE, "the medium cannot be read").into_response();
        }
    };
    answer(medium, &headers)
}

impl Readable for PerHostIso {
    fn length(&self) -> u64 {
        self.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
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
