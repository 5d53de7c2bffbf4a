//! A real kube-apiserver and etcd for tests.
//!
//! Takes the multi-call Kubernetes binary, gives one API server per test binary, fresh namespaces in
//! it, and its etcd. Never a fake: what passes here passes on a cluster that has no kubelet.
//!
//! ```no_run
//! # async fn example() {
//! let server = scute_testkit::server().await;
//! let namespace = server.namespace("machines").await;
//! # }
//! ```

mod case;
mod certificates;
mod etcd;
mod figure;
mod manager;
mod mortal;
mod process;
mod server;
mod stories;
pub mod usage;
pub mod writes;

pub use case::{Case, Kind, once, runtime};
pub use etcd::{Etcd, EtcdRing, RingMember};
pub use figure::{Figure, MIB};
pub use manager::Manager;
pub use mortal::Mortal;
pub use process::{Process, free_port, kube_binary};
pub use server::{ApiServer, second_server, server};
pub use stories::every_story_ends_as_written;

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};

/// Waits until the object of this name satisfies `is`, by watching it. `what` names it in the panic
/// that ends the test after [`PATIENCE`].
///
/// # Panics
/// When it does not happen in time: the test has failed.
pub async fn eventually<K>(api: Api<K>, name: &str, what: &str, is: impl Fn(&K) -> bool) -> K
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut last = None;
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut objects = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    let found = tokio::time::timeout(PATIENCE, async {
        while let Some(object) = objects.next().await {
            let Ok(object) = object else { continue };
            if is(&object) {
                return Some(object);
            }
            last = Some(object);
        }
        None
    })
    .await;
    match found {
        Ok(Some(object)) => object,
        _ => panic!("{name} was never {what}; last seen: {last:#?}"),
    }
}

/// Waits until an object of this name is gone, by watching it.
///
/// # Panics
/// When it does not go in time: the test has failed.
pub async fn eventually_gone<K>(api: Api<K>, name: &str)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let gone = tokio::time::timeout(PATIENCE, gone(api, name)).await;
    assert!(gone.is_ok(), "{name} is still there");
}

/// Waits until an object of this name is gone, by watching it, for as long as the caller waits.
pub async fn gone<K>(api: Api<K>, name: &str)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut listed = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = 0,
            Ok(watcher::Event::InitApply(_)) => listed += 1,
            Ok(watcher::Event::InitDone) if listed == 0 => return,
            Ok(watcher::Event::Delete(_)) => return,
            _ => {}
        }
    }
}

/// How long a test waits for what it wants to see.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `check` again until it is `Some`, for what cannot be watched.
///
/// # Panics
/// When it does not happen within [`PATIENCE`]: the test has failed.
pub async fn until<T, F>(what: &str, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
