//! How far one run came, and what stopped it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use scute_kit::Why;

use super::endpoint::Endpoint;
use super::secrets::Known;
use super::validate::Wanted;

/// The steps of a run, in their order. Each has a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The spec is valid.
    Spec,
    /// User, role and prefix exist.
    DataStore,
    /// The Service has an address.
    Endpoint,
    /// The Secrets hold valid certificates.
    Certificates,
    /// The Deployment is as wanted.
    Deployment,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Spec, Self::DataStore, Self::Endpoint, Self::Certificates, Self::Deployment];

    /// Type of its condition.
    pub fn condition(self) -> &'static str {
        match self {
            Self::Spec => "SpecValid",
            Self::DataStore => "DataStoreReady",
            Self::Endpoint => "EndpointAssigned",
            Self::Certificates => "CertificatesReady",
            Self::Deployment => "DeploymentAvailable",
        }
    }
}

/// When a run that stopped is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// When something that is watched changes.
    OnChange,
    /// When something that is watched changes, and then at the latest.
    After(Duration),
    /// After a while, longer each time.
    Backoff,
}

/// What stopped a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// At which step.
    pub stage: Stage,
    /// Why.
    pub why: Why,
    /// When it is tried again.
    pub retry: Retry,
}

impl Stop {
    /// Stopped until something changes.
    pub fn wait(stage: Stage, why: Why) -> Self {
        Self { stage, why, retry: Retry::OnChange }
    }

    /// Stopped by a failure.
    pub fn failed(stage: Stage, why: Why) -> Self {
        Self { stage, why, retry: Retry::Backoff }
    }

    /// Waiting for an address or for a store to get ready is part of every start: nobody needs to be told.
    pub fn is_worth_an_event(&self) -> bool {
        !self.why.reason.starts_with("WaitingFor") && self.why.reason != "Conflict"
    }
}

/// How far a run came.
#[derive(Default)]
pub struct Progress {
    /// Nothing was done: somebody asked for that.
    pub paused: bool,
    /// What a valid spec asks for.
    pub wanted: Option<Wanted>,
    /// Name of the DataStore in which user and prefix exist.
    pub data_store: Option<String>,
    /// The Service as it is.
    pub service: Option<Arc<Service>>,
    /// Where the API server is reached.
    pub endpoint: Option<Endpoint>,
    /// The Secrets.
    pub known: Option<Arc<Known>>,
    /// The Deployment as it is.
    pub deployment: Option<Arc<Deployment>>,
    /// Extra arguments that are not honoured.
    pub ignored: Vec<String>,
    /// What stopped the run.
    pub stopped: Option<Stop>,
}
