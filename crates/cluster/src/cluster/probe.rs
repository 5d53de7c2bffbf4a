//! Whether a tenant's API server answers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_kit::Key;
use scute_kit::tenants::{TenantKey, Tenants};
use tokio::time::{Instant, timeout};

/// How long an answer counts. Nothing tells when a server stops answering, so it is asked again then.
pub const GOOD_FOR: Duration = Duration::from_secs(60);
/// As [`GOOD_FOR`], of a failure.
pub const BAD_FOR: Duration = Duration::from_secs(10);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an API server answered; why not, if it did not.
type Answer = Result<(), String>;

/// The latest answers.
#[derive(Default)]
pub struct Probes {
    answers: Mutex<HashMap<Key, (Instant, Answer)>>,
}

impl Probes {
    /// Asks the Cluster's API server, or repeats a recent answer; `None` before it has been initialized.
    pub async fn ask(&self, cluster: &Cluster, tenants: &Tenants) -> Option<Answer> {
        let initialization = cluster.status.as_ref()?.initialization.as_ref()?;
        if initialization.control_plane_initialized != Some(true) {
            return None;
        }
        let key = Key::of(cluster);
        let known = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((asked, answer)) = known {
            let counts = if answer.is_ok() { GOOD_FOR } else { BAD_FOR };
            if asked.elapsed() < counts {
                return Some(answer);
            }
        }
        let answer = ask(&cluster.namespace().unwrap_or_default(), &cluster.name_any(), tenants).await;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(key, (Instant::now(), answer.clone()));
        Some(answer)
    }

    /// Forgets a Cluster that is gone.
    pub fn forget(&self, key: &Key) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

async fn ask(namespace: &str, name: &str, tenants: &Tenants) -> Result<(), String> {
    let client = tenants.client(&TenantKey::capi(namespace, name)).await;
    let client = client.map_err(|error| error.to_string())?;
    match timeout(PATIENCE, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("the API server does not answer: {error}")),
        Err(_) => Err(format!("the API server did not answer within {} s", PATIENCE.as_secs())),
    }
}
