//! Clients that do not storm an API server.

use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::limit::ConcurrencyLimitLayer;

/// A client with at most `at_once` requests that wait for an answer; a watch counts until it begins.
///
/// Each request under way has a connection of its own, with a handshake on both sides and buffers for as long as it is
/// kept: what a controller has to say to a hundred objects must not open a hundred of them.
///
/// # Errors
/// When certificates or keys of the configuration cannot be used.
pub fn client(mut config: Config, at_once: usize) -> kube::Result<Client> {
    // A refused eviction is an answer (429), not something to try again for a quarter of an hour; and every controller
    // tries again by itself, later each time.
    config.default_retry = false;
    let limit = ConcurrencyLimitLayer::new(at_once);
    Ok(ClientBuilder::try_from(config)?.with_layer(&limit).build())
}
