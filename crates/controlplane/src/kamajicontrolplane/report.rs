//! How far a run came, and what is said of a KamajiControlPlane.

use std::sync::Arc;

use jiff::Timestamp;
use scute_api::controlplane::{ControlPlaneInitialization, KamajiControlPlane, KamajiControlPlaneStatus};
use scute_api::kamaji::{Phase, TenantControlPlane};
use scute_contract::paused::only_paused;
use scute_kit::conditions::{Conditions, Draft, Status};
use scute_kit::ladder::{self, Stage as _};
use serde_json::{Value, json};

use super::words;

/// The stages of a KamajiControlPlane.
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

impl ladder::Stage for Stage {
    const ALL: &'static [Self] = &[
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

    fn goal(self) -> &'static str {
        match self {
            Self::Created => "a Cluster refers to this object, and its TenantControlPlane is as wanted",
            Self::Address => "the TenantControlPlane has an address",
            Self::Endpoint => "spec.controlPlaneEndpoint of this object is that address",
            Self::Infrastructure => "the infrastructure object has the same endpoint",
            Self::Initialized => "the API server has taken a request once",
            Self::Secrets => "Secrets <cluster>-kubeconfig and <cluster>-ca are there",
        }
    }
}

/// What stopped a run.
pub type Stop = ladder::Stop<Stage>;

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

fn conditions(
    kcp: &KamajiControlPlane,
    before: &KamajiControlPlaneStatus,
    after: &KamajiControlPlaneStatus,
    progress: &Progress,
    now: Timestamp,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    if progress.paused {
        let why = "the Cluster or an annotation asks to leave it alone";
        return only_paused(&before.conditions, &kcp.metadata, now, why);
    }
    let passed = |stage: Stage| Draft::new(stage.condition(), Status::True, "Succeeded", "");
    let available = available(kcp, after, progress);
    Conditions::new(&before.conditions, kcp.metadata.generation, now)
        .put_all(ladder::conditions(progress.stopped.as_ref(), passed))
        .put_all([Draft { type_: "KamajiControlPlaneIsReady".to_owned(), ..available.clone() }, available])
        .put("Paused", Status::False, "NotPaused", "")
        .finish()
}

/// One sentence about what is missing: the first thing that stopped, else what the TenantControlPlane says.
fn available(kcp: &KamajiControlPlane, after: &KamajiControlPlaneStatus, progress: &Progress) -> Draft {
    let said = |status: Status, reason: &str, message: &str| Draft::new("Available", status, reason, message);
    if kcp.metadata.deletion_timestamp.is_some() {
        let message = progress.stopped.as_ref().map_or("", |stop| stop.why.message.as_str());
        return said(Status::False, "Deleting", message);
    }
    match (&progress.stopped, after.ready) {
        (None, true) => said(Status::True, "Available", ""),
        (Some(stop), ready) => {
            let status = Status::from(ready && after.initialized);
            said(status, &stop.why.reason, &stop.why.message)
        }
        (None, false) => {
            let (reason, message) = tenant_says(progress.tenant.as_deref());
            said(Status::False, &reason, &message)
        }
    }
}

/// What a TenantControlPlane says of its being ready, in the user's words.
pub fn tenant_says(tcp: Option<&TenantControlPlane>) -> (String, String) {
    let conditions = tcp.and_then(|tcp| tcp.status.as_ref()).map(|status| status.conditions.as_slice());
    let ready = conditions.unwrap_or_default().iter().find(|condition| condition.type_ == "Ready");
    match ready {
        Some(ready) => (ready.reason.clone(), words::translated(&ready.message)),
        None => {
            ("WaitingForTenantControlPlane".to_owned(), "the TenantControlPlane says nothing yet".to_owned())
        }
    }
}
