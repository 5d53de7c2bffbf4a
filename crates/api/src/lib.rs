//! Every custom resource that Scute serves.
//!
//! Takes nothing, gives types with their defaults, schemas and validation. Never talks to anything:
//! no client, no clock, no randomness.

pub mod addons;
pub mod addresses;
pub mod bootstrap;
pub mod bounds;
pub mod cluster;
pub mod controlplane;
pub mod conversion;
pub mod engines;
pub mod infrastructure;
mod invalid;
pub mod ipam;
pub mod kamaji;
pub mod kubevirt;
pub mod meta;
pub mod metal3;
pub mod naming;
pub mod ranges;
pub mod unserved;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

pub use invalid::Invalid;

/// Every CustomResourceDefinition that Scute serves, in a stable order, as it is installed: unserved fields are refused
/// with a reason, and everything has bounds.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let refusing = served().into_iter().map(unserved::refusing).collect();
    conversion::with_old(refusing).into_iter().map(bounds::bounded).collect()
}

/// The definitions as the types give them, without old versions.
fn served() -> Vec<CustomResourceDefinition> {
    [
        cluster::crds(),
        bootstrap::crds(),
        controlplane::crds(),
        infrastructure::crds(),
        kamaji::crds(),
        kubevirt::crds(),
        metal3::crds(),
        ipam::crds(),
        addons::crds(),
    ]
    .concat()
}
