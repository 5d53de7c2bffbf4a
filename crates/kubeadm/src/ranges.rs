//! Service ranges as kube-apiserver takes them: a bad one is refused where it is written, and not by a process that
//! ends again and again.

use crate::{Version, dns_service_ip};
use ipnet::IpNet;
use std::net::IpAddr;

/// Why a control plane cannot have a Service range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// kube-apiserver ends at less than eight addresses.
    #[error("is too small: kube-apiserver needs at least 8 addresses, so a /{longest} or a wider range")]
    TooSmall {
        /// The longest prefix that is wide enough.
        longest: u8,
    },
    /// kube-apiserver ends, or never gives an address of it to a Service.
    #[error("is too wide: Kubernetes {version} takes a /{shortest} or a narrower range")]
    TooWide {
        /// The version that was asked for.
        version: String,
        /// The shortest prefix that is narrow enough.
        shortest: u8,
    },
    /// The DNS Service would have another address than the one that kubelets are told.
    #[error(
        "has no {tenth}, which is the DNS Service's: take a /{longest} or a wider range, or set dnsServiceIPs"
    )]
    NoDnsAddress {
        /// Which address is missing.
        tenth: &'static str,
        /// The longest prefix that has it.
        longest: u8,
    },
    /// The Service `kubernetes` has an address of the first range, and its endpoint the API server's.
    #[error(
        "is of another family than {address}, at which the API server is reached: the first range has to be {family}"
    )]
    OtherFamily {
        /// Where the API server is reached.
        address: IpAddr,
        /// The family of that address.
        family: &'static str,
    },
}

/// The first version of which the API server keeps no bitmap of a range, which limits it to 20 bits.
const WITHOUT_BITMAP: (u32, u32) = (1, 34);

/// Whether kube-apiserver of a version takes a Service range.
///
/// # Errors
/// What is wrong with the range.
pub fn check_service_range(range: &IpNet, version: &Version) -> Result<(), RangeError> {
    let (prefix, length) = (range.prefix_len(), range.max_prefix_len());
    let longest = length - 3;
    if prefix > longest {
        return Err(RangeError::TooSmall { longest });
    }
    let shortest = match range {
        _ if (version.major, version.minor) < WITHOUT_BITMAP => length - 20,
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 64,
    };
    match prefix < shortest {
        true => Err(RangeError::TooWide { version: version.minor_text(), shortest }),
        false => Ok(()),
    }
}

/// Whether a Service range has the address that the DNS Service gets where nobody names one.
///
/// # Errors
/// When it has not.
pub fn check_dns_address(range: &IpNet) -> Result<(), RangeError> {
    let (tenth, longest) = match range {
        IpNet::V4(_) => ("tenth address", 28),
        IpNet::V6(_) => ("address ::10", 123),
    };
    dns_service_ip(range).map(|_| ()).ok_or(RangeError::NoDnsAddress { tenth, longest })
}

/// Whether the first Service range has the family of the address at which the API server is reached.
///
/// # Errors
/// When it has not.
pub fn check_first_family(first: &IpNet, address: IpAddr) -> Result<(), RangeError> {
    match (first, address) {
        (IpNet::V4(_), IpAddr::V4(_)) | (IpNet::V6(_), IpAddr::V6(_)) => Ok(()),
        (_, IpAddr::V4(_)) => Err(RangeError::OtherFamily { address, family: "IPv4" }),
        (_, IpAddr::V6(_)) => Err(RangeError::OtherFamily { address, family: "IPv6" }),
    }
}
