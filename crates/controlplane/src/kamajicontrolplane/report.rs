//! How far a run came, and what is said of a KamajiControlPlane.

use std::sync::Arc;

use jiff::Timestamp;
use scute_api::controlplane::{ControlPlaneInitialization, KamajiControlPlane, KamajiControlPlaneStatus};
use scute_api::kamaji::{Phase, TenantControlPlane};
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Status};
use serde_json::{Value, json};

/// The steps of a run, in their order. Each has a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The TenantControlPlane is as wanted.
    Created,
    /// It has an address.
    Address,
    /// The address is in this object's spec.
    Endpoint,
    /// The infrastructure object knows the address.
    Infrastructure,
    /// Its API server took a request once.
    Initialized,
    /// The Secrets that Cluster API reads are there.
    Secrets,
}

impl Stage {
    const ALL: [Self; 6] = [
        Self::Created,
        Self::Address,
        Self::Endpoint,
        Self::Infrastructure,
        Self::Initialized,
        Self::Secrets,
    ];

    fn condition(self) -> &'static str {
        match self {
            Self::Created => "TenantControlPlaneCreated",
            Self::Address => "TenantControlPlaneAddressReady",
            Self::Endpoint => "ControlPlaneEndpointPatched",
            Self::Infrastructure => "InfrastructureClusterPatched",
            Self::Initialized => "KamajiControlPlaneIsInitialized",
            Self::Secrets => "KubeadmResourcesCreated",
        }
    }
}

/// What stopped a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// At which step.
    pub stage: Stage,
    /// Why.
    pub why: Why,
    /// It failed and is tried again; otherwise something that is watched has to change.
    pub failed: bool,
}

impl Stop {
    /// Stopped until something changes.
    pub fn wait(stage: Stage, why: Why) -> Self {
        Self { stage, why, failed: false }
    }

    /// Stopped by a failure.
    pub fn failed(stage: Stage, why: Why) -> Self {
        Self { stage, why, failed: true }
    }
}

/// How far a run came.
#[derive(Default)]
pub struct Progress {
    /// Nothing was done: somebody asked for that.
    pub paused: bool,
    /// The TenantControlPlane as it is.
    pub tenant: Option<Arc<TenantControlPlane>>,
    /// What stopped the run.
    pub stopped: Option<Stop>,
}

/// The whole status.
pub fn status(kcp: &KamajiControlPlane, progress: &Progress, now: Timestamp) -> Value {
    let before = kcp.status.clone().unwrap_or_default();
    let mut status = before.clone();
    status.external_managed_control_plane = true;
    if !progress.paused {
        status.observed_generation = kcp.metadata.generation;
        numbers(&mut status, progress);
    }
    status.conditions = conditions(kcp, &before, &status, progress, now);
    json!(status)
}

fn numbers(status: &mut KamajiControlPlaneStatus, progress: &Progress) {
    let seen = progress.tenant.as_ref().and_then(|tcp| tcp.status.clone()).unwrap_or_default();
    status.ready = progress.tenant.as_deref().is_some_and(serves);
    if initialized(progress) {
        status.initialized = true;
        status.initialization = Some(ControlPlaneInitialization { control_plane_initialized: Some(true) });
    }
    let Some(resources) = seen.kubernetes_resources else { return };
    status.version = resources.version.version.or(status.version.take());
    let Some(pods) = resources.deployment else { return };
    status.replicas = pods.replicas;
    status.ready_replicas = pods.ready_replicas;
    status.available_replicas = pods.available_replicas;
    status.up_to_date_replicas = pods.updated_replicas;
    status.updated_replicas = pods.updated_replicas;
    status.unavailable_replicas = pods.unavailable_replicas;
    status.selector = Some(pods.selector);
}

/// Whether requests are answered, also while Pods are being replaced.
pub fn serves(tcp: &TenantControlPlane) -> bool {
    let resources = tcp.status.as_ref().and_then(|status| status.kubernetes_resources.as_ref());
    resources.is_some_and(|resources| {
        matches!(
            resources.version.status,
            Phase::Ready | Phase::Upgrading | Phase::CertificateAuthorityRotating | Phase::WriteLimited
        )
    })
}

/// Everything up to the Secrets is there, and the API server has answered.
fn initialized(progress: &Progress) -> bool {
    progress.stopped.is_none() && progress.tenant.as_deref().is_some_and(serves)
}

type Said = (Status, String, String);

fn conditions(
    kcp: &KamajiControlPlane,
    before: &KamajiControlPlaneStatus,
    after: &KamajiControlPlaneStatus,
    progress: &Progress,
    now: Timestamp,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let mut made = Conditions::new(&before.conditions, kcp.metadata.generation, now);
    if progress.paused {
        for old in before.conditions.iter().filter(|old| old.type_ != "Paused") {
            made =
                made.put(&old.type_, Status::from(old.status == "True"), &old.reason, old.message.as_str());
        }
        let message = "the Cluster or an annotation asks to leave it alone";
        return made.put("Paused", Status::True, "Paused", message).finish();
    }
    for stage in Stage::ALL {
        let (status, reason, message) = stage_said(stage, progress);
        made = made.put(stage.condition(), status, &reason, message);
    }
    let (status, reason, message) = available(kcp, after, progress);
    made = made.put("KamajiControlPlaneIsReady", status, &reason, message.as_str());
    made = made.put("Available", status, &reason, message);
    made.put("Paused", Status::False, "NotPaused", "").finish()
}

fn stage_said(stage: Stage, progress: &Progress) -> Said {
    match &progress.stopped {
        Some(stop) if stop.stage == stage => {
            (Status::False, stop.why.reason.to_string(), stop.why.message.clone())
        }
        Some(stop) if stop.stage < stage => {
            (Status::Unknown, "Waiting".to_owned(), format!("waits for {}", stop.stage.condition()))
        }
        _ => (Status::True, "Succeeded".to_owned(), String::new()),
    }
}

/// One sentence about what is missing: the first thing that stopped, else what the TenantControlPlane says.
fn available(kcp: &KamajiControlPlane, after: &KamajiControlPlaneStatus, progress: &Progress) -> Said {
    if kcp.metadata.deletion_timestamp.is_some() {
        let message = progress.stopped.as_ref().map_or("", |stop| stop.why.message.as_str());
        return (Status::False, "Deleting".to_owned(), message.to_owned());
    }
    match (&progress.stopped, after.ready) {
        (None, true) => (Status::True, "Available".to_owned(), String::new()),
        (Some(stop), ready) => {
            (Status::from(ready && after.initialized), stop.why.reason.to_string(), stop.why.message.clone())
        }
        (None, false) => {
            let (reason, message) = tenant_says(progress.tenant.as_deref());
            (Status::False, reason, message)
        }
    }
}

/// What a TenantControlPlane says of its being ready.
pub fn tenant_says(tcp: Option<&TenantControlPlane>) -> (String, String) {
    let conditions = tcp.and_then(|tcp| tcp.status.as_ref()).map(|status| status.conditions.as_slice());
    let ready = conditions.unwrap_or_default().iter().find(|condition| condition.type_ == "Ready");
    match ready {
        Some(ready) => (ready.reason.clone(), ready.message.clone()),
        None => ("NotAvailable".to_owned(), "the TenantControlPlane says nothing yet".to_owned()),
    }
}
