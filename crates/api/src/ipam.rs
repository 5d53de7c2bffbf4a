//! Addresses from pools: `ipam.metal3.io`, and the claims of Cluster API's contract, `ipam.cluster.x-k8s.io`.

pub mod contract;
pub mod pool;
pub mod range;
mod validate;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::conversion::{Conversion, Rule};

pub use contract::{IPAddressClaim, IPAddressClaimSpec, IPAddressClaimStatus};
pub use pool::*;
pub use range::{PoolRange, RangeError};
pub use validate::*;

/// The conversions of this module's kinds.
pub(crate) fn conversions() -> Vec<Conversion> {
    let conversion = |kind, rules| Conversion {
        group: "ipam.cluster.x-k8s.io",
        kind,
        old: "v1beta1",
        new: "v1beta2",
        rules,
        columns: &[],
    };
    vec![conversion("IPAddressClaim", CLAIM), conversion("IPAddress", &[])]
}

const CLAIM: &[Rule] = &[Rule::Within("status", crate::cluster::versions::STATUS)];

/// The CustomResourceDefinitions of this module.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    vec![IPPool::crd(), IPClaim::crd(), IPAddress::crd(), IPAddressClaim::crd(), contract::IPAddress::crd()]
}
