//! Addresses from pools: `ipam.metal3.io`, and the claims of Cluster API's contract, `ipam.cluster.x-k8s.io`.

pub mod contract;
pub mod pool;
pub mod range;
mod validate;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::conversion::{Conversion, Rule, with_old};

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
    };
    vec![conversion("IPAddressClaim", CLAIM), conversion("IPAddress", &[])]
}

const CLAIM: &[Rule] = &[
    Rule::Emptied("status.deprecated"),
    Rule::Emptied("status.deprecated.v1beta1"),
    Rule::Moved("status.conditions", "status.deprecated.v1beta1.conditions"),
    Rule::Moved("status.v1beta2.conditions", "status.conditions"),
    Rule::Emptied("status.v1beta2"),
];

/// The CustomResourceDefinitions of this module.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    let contract = [IPAddressClaim::crd(), contract::IPAddress::crd()];
    let contract = contract.into_iter().zip(conversions()).map(|(crd, both)| {
        let columns = crd.spec.versions.first().and_then(|new| new.additional_printer_columns.clone());
        let mut crd = with_old(crd, &both, &[]);
        crd.spec
            .versions
            .iter_mut()
            .for_each(|version| version.additional_printer_columns.clone_from(&columns));
        crd
    });
    [IPPool::crd(), IPClaim::crd(), IPAddress::crd()].into_iter().chain(contract).collect()
}
