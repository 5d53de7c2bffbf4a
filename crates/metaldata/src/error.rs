//! Why a template cannot be rendered for a server.

use scute_api::infrastructure::FromObject;

/// Why a template cannot be rendered for a server: the field, what it names, what is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The host has no such interface.
    #[error("{field}: the BareMetalHost {host} has no interface {name:?}; it has {known}")]
    NoInterface {
        /// Field of the template.
        field: &'static str,
        /// Name of the host.
        host: String,
        /// What the template names.
        name: String,
        /// Interfaces that the host has.
        known: String,
    },
    /// The host has no boot MAC address.
    #[error("spec.metaData.fromHostInterfaces: the BareMetalHost {0} has no spec.bootMACAddress")]
    NoBootMac(String),
    /// No address of the pool is there.
    #[error("{field}: there is no address of the pool {pool} for this server")]
    NoAddress {
        /// Field of the template.
        field: &'static str,
        /// Name of the pool.
        pool: String,
    },
    /// The address of a pool lacks something.
    #[error("{field}: the pool {pool} says no {what}")]
    Lacks {
        /// Field of the template.
        field: &'static str,
        /// Name of the pool.
        pool: String,
        /// What is not there.
        what: &'static str,
    },
    /// The address of a pool is of the other family.
    #[error("{field}: {address}, of the pool {pool}, is no address of {family}")]
    Family {
        /// Field of the template.
        field: &'static str,
        /// Name of the pool.
        pool: String,
        /// The address.
        address: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// An annotation that names something is not there.
    #[error("{field}: the {object} has no annotation {annotation}")]
    NoAnnotation {
        /// Field of the template.
        field: &'static str,
        /// Kind of the object.
        object: &'static str,
        /// The annotation.
        annotation: String,
    },
    /// A MAC address is none.
    #[error("spec.networkData.links: the link {link} would get the MAC address {mac:?}, which is none")]
    Mac {
        /// Id of the link.
        link: String,
        /// What was found.
        mac: String,
    },
    /// Two pools of one name.
    #[error(
        "the pool {name} is referred to as {one} and as {other}: pools of one template must have different names"
    )]
    TwoPools {
        /// Name of the pools.
        name: String,
        /// Kind and group of the first.
        one: String,
        /// Kind and group of the second.
        other: String,
    },
    /// What was rendered cannot be written.
    #[error("writing YAML: {0}")]
    Yaml(String),
}

/// The kind of an object that a template reads from.
pub(crate) fn kind(object: FromObject) -> &'static str {
    match object {
        FromObject::Machine => "Machine",
        FromObject::Metal3Machine => "Metal3Machine",
        FromObject::BareMetalHost => "BareMetalHost",
    }
}
