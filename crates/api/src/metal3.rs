//! `metal3.io`: servers and what belongs to them.

pub mod address;
pub mod annotation;
pub mod disk;
pub mod extra;
pub mod firmware;
pub mod hardware;
mod hindrance;
pub mod host;
pub mod status;
mod url;
mod validate;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use address::{AddressError, BmcAddress, Scheme};
pub use annotation::*;
pub use disk::*;
pub use extra::*;
pub use firmware::*;
pub use hardware::*;
pub use hindrance::Hindrance;
pub use host::*;
pub use status::*;
pub use validate::*;
pub(crate) use validate::{check_custom_deploy, check_image};

/// Keeps a BareMetalHost until its server is deprovisioned.
pub const HOST_FINALIZER: &str = "baremetalhost.metal3.io";
/// Keeps the Secret with a BMC's credentials as long as its host.
pub const SECRET_FINALIZER: &str = "baremetalhost.metal3.io/secret";
/// Keeps a HardwareData as long as its host.
pub const HARDWARE_DATA_FINALIZER: &str = "baremetalhost.metal3.io/hardwareData";
/// Label of Secrets that the metal room reads, with the value [`ENVIRONMENT`].
pub const ENVIRONMENT_LABEL: &str = "environment.metal3.io";
/// Value of [`ENVIRONMENT_LABEL`].
pub const ENVIRONMENT: &str = "baremetal";

/// The CustomResourceDefinitions of this module.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        BareMetalHost::crd(),
        HardwareData::crd(),
        DataImage::crd(),
        HostFirmwareSettings::crd(),
        FirmwareSchema::crd(),
        HostFirmwareComponents::crd(),
        HostUpdatePolicy::crd(),
        PreprovisioningImage::crd(),
        BMCEventSubscription::crd(),
    ]
}
