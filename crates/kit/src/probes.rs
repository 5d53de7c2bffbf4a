//! The probes of a manager: alive, started, ready, and its figures.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::time::Instant;

use crate::health::Health;
use crate::hub::Hub;
use crate::limits::BLIND_AFTER;
use crate::metrics;

/// `/livez`: it answers. `/startupz`: every kind was listed, or refused once. `/readyz`: it sees what it decides about.
/// `/metrics`: figures.
///
/// The admission server stands behind readiness, and judges by what is watched: a manager that is blind for a kind of its
/// own must not judge. What somebody's object names, and what cannot be decoded, never makes it unready.
pub fn probes(hub: &Arc<Hub>) -> Router {
    let probe = |check: fn(&[Health], Instant) -> (StatusCode, String)| {
        let hub = Arc::clone(hub);
        get(move || async move { check(&hub.health(), Instant::now()) })
    };
    let figures = Arc::clone(hub);
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/startupz", probe(started))
        .route("/readyz", probe(ready))
        .route("/metrics", get(move || async move { metrics::render(&figures.health()) }))
}

/// A kind that cannot be listed must not have the process killed again and again: the others are served.
fn started(watches: &[Health], _now: Instant) -> (StatusCode, String) {
    let waits = |health: &&Health| health.required && !health.listed && health.failing.is_none();
    answer(watches.iter().find(waits).is_none(), watches)
}

fn ready(watches: &[Health], now: Instant) -> (StatusCode, String) {
    let blind = |health: &Health| health.required && health.is_blind(now, BLIND_AFTER);
    answer(!watches.is_empty() && !watches.iter().any(blind), watches)
}

fn answer(well: bool, watches: &[Health]) -> (StatusCode, String) {
    let (code, word) = match well {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let complaints = watches.iter().filter_map(|health| {
        let complaint = health.complaint()?;
        Some(if health.required { complaint } else { format!("{complaint} (waited for by nobody)") })
    });
    (code, std::iter::once(word.to_owned()).chain(complaints).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(kind: &str) -> Health {
        Health { kind: kind.to_owned(), required: true, listed: true, ..Health::default() }
    }

    fn failing(mut health: Health, at: Instant) -> Health {
        health.failed(at, "forbidden".to_owned());
        health
    }

    #[test]
    fn a_blind_manager_is_not_ready_and_says_for_what() {
        let now = Instant::now();
        assert_eq!(ready(&[], now).0, StatusCode::SERVICE_UNAVAILABLE, "nothing has begun");
        assert_eq!(ready(&[listed("Machine")], now), (StatusCode::OK, "ok".to_owned()));
        let unlisted = Health { listed: false, ..listed("Cluster") };
        let (code, body) = ready(&[listed("Machine"), unlisted.clone()], now);
        assert_eq!(
            (code, body.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\nCluster is not listed yet")
        );
        assert_eq!(started(std::slice::from_ref(&unlisted), now).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(started(&[failing(unlisted, now)], now).0, StatusCode::OK, "not killed for it");
    }

    #[test]
    fn a_watch_that_fails_is_named_at_once_and_counts_after_a_while() {
        let now = Instant::now();
        let watches = [failing(listed("Cluster"), now)];
        assert_eq!(
            ready(&watches, now),
            (StatusCode::OK, "ok\nwatching Cluster fails: forbidden".to_owned())
        );
        assert_eq!(ready(&watches, now + BLIND_AFTER).0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn what_somebodys_object_names_does_not_count() {
        let now = Instant::now();
        let foreign = Health { required: false, listed: false, ..listed("NutanixCluster") };
        let (code, body) = ready(&[listed("Cluster"), failing(foreign, now)], now + BLIND_AFTER);
        assert_eq!(code, StatusCode::OK);
        assert_eq!(body, "ok\nlisting NutanixCluster fails: forbidden (waited for by nobody)");
    }

    #[test]
    fn what_cannot_be_decoded_does_not_count() {
        let watches = [Health { unreadable: 5, ..listed("Cluster") }];
        assert_eq!(ready(&watches, Instant::now()).0, StatusCode::OK);
    }
}
