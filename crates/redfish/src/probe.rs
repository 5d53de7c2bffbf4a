//! Whether a BMC answers at all: its service root, which everybody may read. Nothing is shown that could lock an account.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONNECTION, HOST};
use http_body_util::Full;

use crate::connection::Connection;
use crate::tls::{Shown, config};
use crate::types::{Origin, Patience, Trust};

const ROOT: &str = "/redfish/v1/";
/// For each step: who is slower is as good as away, and others wait for the place.
const LIMIT: Duration = Duration::from_secs(5);

/// Whether the service root is given, or a reason why it is not; a BMC that is still starting says 5xx. Its certificate is
/// not looked at, as nothing is told to it.
pub async fn answers(origin: Origin, patience: Patience) -> bool {
    let patience =
        Patience { connect: patience.connect.min(LIMIT), request: patience.request.min(LIMIT), ..patience };
    let shown = Shown::default();
    let tls = match origin.tls.then(|| config(&Trust::Any, &shown)).transpose() {
        Ok(tls) => tls.map(Arc::new),
        Err(_) => return false,
    };
    let Ok(mut connection) = Connection::open(&origin, tls.as_ref(), &shown, &patience).await else {
        return false;
    };
    let request = Request::get(ROOT)
        .header(HOST, origin.authority())
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::new()));
    let Ok(request) = request else { return false };
    connection.send(request, &patience).await.is_ok_and(|raw| raw.status < 500)
}
