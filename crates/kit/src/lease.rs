//! A lease: of several managers one works, and another takes over when it ends.
//!
//! As client-go's leader election does it: the holder writes its name into a Lease object every few seconds, and gives up
//! when it cannot; the others wait until the name is taken out, or the object has not changed for as long as it says.
//! What is added: a holder names its Pod, and a Pod that is gone, or that has been started again, holds nothing.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock::Clock;
use crate::key::Key;
use crate::limits::Tenure;
use crate::said;
use crate::write::post_params;

/// Who wants a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Namespace, name and uid of its Pod; none outside of a cluster.
    pub pod: Option<(Key, String)>,
    /// What no other process has, not even one of the same Pod.
    pub unique: String,
}

impl Holder {
    /// As the Lease has it: `namespace/name/uid/unique`, or the last alone.
    fn identity(&self) -> String {
        match &self.pod {
            Some((pod, uid)) => format!("{pod}/{uid}/{}", self.unique),
            None => self.unique.clone(),
        }
    }
}

/// Namespace, name and uid of the Pod in an identity of ours.
fn pod_of(identity: &str) -> Option<(Key, &str)> {
    let parts: Vec<_> = identity.split('/').collect();
    let [namespace, name, uid, _] = parts[..] else { return None };
    Some((Key::new(namespace, name), uid))
}

/// Says by a label of the holder's Pod whether it works, for Services that reach only who does. A process outside of a
/// cluster has no Pod.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn label(client: &Client, holder: &Holder, label: &str, works: bool) -> Result<(), kube::Error> {
    let Some((pod, uid)) = &holder.pod else { return Ok(()) };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let value = works.then_some("true");
    // Not the Pod that was made again under the name.
    let patch = json!({"metadata": {"uid": uid, "labels": {label: value}}});
    pods.patch_metadata(&pod.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

/// How long giving a lease back may take: who ends does not wait for an API server that is gone.
const RELEASE: Duration = Duration::from_secs(2);

/// Why a lease is held no more.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Lost {
    /// Somebody else holds it.
    #[error("the lease {lease} is held by {holder:?}")]
    Taken {
        /// The lease.
        lease: Key,
        /// Who holds it.
        holder: String,
    },
    /// It could not be renewed in time.
    #[error("the lease {lease} could not be renewed for {} s: {why}", after.as_secs())]
    Silent {
        /// The lease.
        lease: Key,
        /// For how long.
        after: Duration,
        /// What the API server said last.
        why: String,
    },
}

/// A Lease that several want and one holds.
pub struct Election {
    client: Client,
    lease: Key,
    me: Holder,
    tenure: Tenure,
    clock: Clock,
}

/// The lease is held, as long as [`Held::keep`] runs.
pub struct Held {
    election: Election,
    lease: Lease,
}

impl Election {
    /// Nothing is asked for yet.
    #[must_use]
    pub fn new(client: Client, lease: Key, me: Holder, tenure: Tenure, clock: Clock) -> Self {
        Self { client, lease, me, tenure, clock }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.lease.namespace)
    }

    /// Waits until the lease can be had, and takes it.
    pub async fn win(self) -> Held {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.lease.name));
        let mut changes = std::pin::pin!(watcher(self.leases(), config).default_backoff());
        let mut seen = (None, Instant::now());
        loop {
            match self.attempt(&mut seen).await {
                Ok(Ok(lease)) => {
                    tracing::info!(lease = %self.lease, holder = self.me.identity(), "lease taken");
                    return Held { election: self, lease };
                }
                Ok(Err(until)) => {
                    // Its end, its release or its deletion: whatever comes first.
                    tokio::select! {
                        () = sleep_until(until) => {}
                        Some(_) = changes.next() => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(lease = %self.lease, error = said(&error), "no lease yet");
                    sleep(self.tenure.renew).await;
                }
            }
        }
    }

    /// One attempt: the lease, or until when it is worth waiting. `seen` is the version seen last, and since when.
    async fn attempt(
        &self,
        seen: &mut (Option<String>, Instant),
    ) -> Result<Result<Lease, Instant>, kube::Error> {
        let soon = Instant::now() + self.tenure.renew;
        let Some(lease) = self.leases().get_opt(&self.lease.name).await? else {
            return conflict_is(soon, self.leases().create(&post_params(), &self.lease(None)).await);
        };
        // What others' clocks say is not asked: it has ended when it has not changed for so long here.
        if seen.0 != lease.resource_version() {
            *seen = (lease.resource_version(), Instant::now());
        }
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let ends = seen.1 + Duration::from_secs(seconds.unsigned_abs().into());
        if !holder.is_empty() && Instant::now() < ends && !self.is_gone(&holder).await {
            tracing::info!(lease = %self.lease, holder, "waiting for the lease");
            return Ok(Err(ends));
        }
        let wanted = self.lease(Some(&lease));
        conflict_is(soon, self.leases().replace(&self.lease.name, &post_params(), &wanted).await)
    }

    /// Whether the holder's Pod is gone or has ended, or is this one's own: then its earlier process has.
    async fn is_gone(&self, holder: &str) -> bool {
        let Some((key, uid)) = pod_of(holder) else { return false };
        if self.me.pod.as_ref().is_some_and(|(_, mine)| mine == uid) {
            return true;
        }
        let pods = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        match pods.get_opt(&key.name).await {
            Ok(Some(pod)) => {
                let phase =
                    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
                pod.uid().as_deref() != Some(uid) || matches!(phase, "Succeeded" | "Failed")
            }
            Ok(None) => true,
            // Who cannot be asked about may be there.
            Err(_) => false,
        }
    }

    /// The object with this holder in it.
    fn lease(&self, before: Option<&Lease>) -> Lease {
        let now = MicroTime(self.clock.now());
        let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let changes = i32::from(before.is_some()) + spec.lease_transitions.unwrap_or_default();
        Lease {
            metadata: before.map_or_else(
                || ObjectMeta {
                    name: Some(self.lease.name.clone()),
                    namespace: Some(self.lease.namespace.clone()),
                    ..ObjectMeta::default()
                },
                |lease| lease.metadata.clone(),
            ),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.identity()),
                lease_duration_seconds: i32::try_from(self.tenure.ends.as_secs()).ok(),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(changes),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Somebody was faster: look again.
fn conflict_is(
    soon: Instant,
    answer: Result<Lease, kube::Error>,
) -> Result<Result<Lease, Instant>, kube::Error> {
    match answer {
        Ok(lease) => Ok(Ok(lease)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Err(soon)),
        Err(error) => Err(error),
    }
}

impl Held {
    /// Renews the lease again and again; returns when it is lost. Nothing may be written after that.
    pub async fn keep(&mut self) -> Lost {
        let Tenure { renew, gives_up, .. } = self.election.tenure;
        let mut renewed = Instant::now();
        let mut why = String::new();
        loop {
            sleep(renew).await;
            let left = gives_up.saturating_sub(renewed.elapsed());
            match timeout(left, self.renew()).await {
                Ok(Ok(lease)) => {
                    self.lease = lease;
                    renewed = Instant::now();
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                    return Lost::Taken { lease: self.election.lease.clone(), holder: self.holder().await };
                }
                Ok(Err(error)) => why = said(&error),
                Err(_) => {}
            }
            if renewed.elapsed() >= gives_up {
                return Lost::Silent { lease: self.election.lease.clone(), after: gives_up, why };
            }
        }
    }

    async fn renew(&self) -> Result<Lease, kube::Error> {
        let mut lease = self.lease.clone();
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(self.election.clock.now()));
        self.election.leases().replace(&self.election.lease.name, &post_params(), &lease).await
    }

    async fn holder(&self) -> String {
        let found = self.election.leases().get_opt(&self.election.lease.name).await.ok().flatten();
        found.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    }

    /// Gives the lease back, so that the next one need not wait for its end. A failure is no matter: then it waits.
    pub async fn release(self) {
        match timeout(RELEASE, self.give_back()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(lease = %self.election.lease, error = said(&error), "lease not released");
            }
            Err(_) => tracing::debug!(lease = %self.election.lease, "lease not released in time"),
        }
    }

    async fn give_back(&self) -> Result<(), kube::Error> {
        let (leases, name) = (self.election.leases(), &self.election.lease.name);
        let mut lease = self.lease.clone();
        loop {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            match leases.replace(name, &post_params(), &lease).await {
                // A renewal whose answer nobody waited for was done all the same.
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let ours = |lease: &Lease| {
                        lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone())
                            == Some(self.election.me.identity())
                    };
                    match leases.get_opt(name).await?.filter(ours) {
                        Some(renewed) => lease = renewed,
                        None => return Ok(()),
                    }
                }
                done => return done.map(|_| ()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_names_the_pod_and_others_do_not() {
        let me = Holder { pod: Some((Key::new("ns", "p"), "uid".into())), unique: "1".into() };
        assert_eq!(pod_of(&me.identity()), Some((Key::new("ns", "p"), "uid")));
        for foreign in ["", "host_1234", "a/b", "a/b/c/d/e"] {
            assert_eq!(pod_of(foreign), None, "{foreign}");
        }
    }
}
