//! How far one run came, and what stopped it.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
pub use scute_kit::ladder::Retry;
use scute_kit::{Why, ladder};

use super::endpoint::Endpoint;
use super::secrets::Known;
use super::validate::Wanted;

/// The stages of a TenantControlPlane.
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

impl ladder::Stage for Stage {
    const ALL: &'static [Self] =
        &[Self::Spec, Self::DataStore, Self::Endpoint, Self::Certificates, Self::Deployment];

    fn condition(self) -> &'static str {
        match self {
            Self::Spec => "SpecValid",
            Self::DataStore => "DataStoreReady",
            Self::Endpoint => "EndpointAssigned",
            Self::Certificates => "CertificatesReady",
            Self::Deployment => "DeploymentAvailable",
        }
    }

    fn goal(self) -> &'static str {
        match self {
            Self::Spec => "the spec can be brought about, and user and prefix are free",
            Self::DataStore => "the DataStore is ready, and has the user, the role and the prefix",
            Self::Endpoint => "Service T has an address, given or by a load balancer",
            Self::Certificates => "every Secret holds what it shall, valid and signed by its authority",
            Self::Deployment => "Deployment T is applied, in its turn, and a Pod is ready",
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
    /// What is wrong with its Pods.
    pub trouble: Option<Why>,
    /// Extra arguments that are not honoured.
    pub ignored: Vec<String>,
    /// What stopped the run.
    pub stopped: Option<Stop>,
}
