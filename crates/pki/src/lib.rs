//! In: names, addresses, validity and the current time. Out: certificate authorities, leaf certificates, service
//! account keys, kubeconfigs and bootstrap tokens as PEM and YAML text, and why an existing one must be replaced.
//! Never: reads a clock, touches a file or the network, prints a private key.

mod ca;
mod inspect;
mod key;
mod kubeconfig;
mod leaf;
mod pem;
mod renewal;
mod service_account;
mod token;

pub use ca::Ca;
pub use inspect::Certificate;
pub use key::{KeyAlgorithm, PrivateKey};
pub use kubeconfig::{ClientIdentity, Kubeconfig};
pub use leaf::{KeyPairPem, LeafRequest, Sans, Usage, issue};
pub use renewal::{Flaw, Renewal, Stale};
pub use service_account::ServiceAccountKeys;
pub use token::{BootstrapToken, system_random};

use std::time::Duration;

/// How long kubeadm (and Kamaji) lets a certificate authority live.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long kubeadm (and Kamaji) lets a leaf certificate live.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Certificates start this much before `now`, as kubeadm's do, so that a Node with a slow clock accepts them.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// What can go wrong with keys, certificates, kubeconfigs and tokens. No variant carries secret material.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key generator or the random source failed.
    #[error("generating a key failed")]
    Generate,
    /// No private key block, or one that is not PKCS#8, PKCS#1 or SEC1.
    #[error("the private key is not a readable PKCS#8, PKCS#1 or SEC1 PEM block")]
    ReadKey,
    /// The private key is protected by a password.
    #[error("the private key is encrypted")]
    EncryptedKey,
    /// A private key of a kind that cannot sign here.
    #[error("the private key is of a kind that is not supported: RSA, or ECDSA on P-256, P-384 or P-521, is")]
    UnsupportedKey,
    /// No certificate block, or one that is not X.509.
    #[error("the certificate is not a readable X.509 PEM block")]
    ReadCertificate,
    /// The certificate given as an authority may not sign certificates.
    #[error("the certificate of {subject:?} is not one of an authority")]
    NotAnAuthority {
        /// Common name of the certificate.
        subject: String,
    },
    /// The authority's subject repeats a kind of name (two organizations, say), which the encoder of the leaves'
    /// issuer field cannot repeat.
    #[error("the authority's subject {subject:?} has a kind of name more than once, which is not supported")]
    RepeatedName {
        /// The whole subject.
        subject: String,
    },
    /// Certificate and private key are of different key pairs.
    #[error("the private key does not belong to the certificate of {subject:?}")]
    KeyMismatch {
        /// Common name of the certificate.
        subject: String,
    },
    /// A name that cannot stand in a certificate, such as a DNS name with non-ASCII letters.
    #[error("{value:?} cannot stand in a certificate's {field}")]
    Name {
        /// Which part of the certificate.
        field: &'static str,
        /// The refused text.
        value: String,
    },
    /// The validity asked for ends outside what X.509 can say.
    #[error("the validity asked for lies outside the range of certificates")]
    Validity,
    /// Building or signing the certificate failed.
    #[error("signing the certificate failed")]
    Sign(#[source] rcgen::Error),
    /// Not a kubeconfig.
    #[error("the kubeconfig is unreadable: {0}")]
    ReadKubeconfig(&'static str),
    /// A field of the kubeconfig that cannot be used. The content is never repeated.
    #[error("{path}: {why}")]
    RefusedKubeconfig {
        /// Path of the field.
        path: String,
        /// What would be right.
        why: &'static str,
    },
    /// The kubeconfig could not be written as YAML.
    #[error("the kubeconfig cannot be written: {0}")]
    WriteKubeconfig(String),
    /// Not of the form `[a-z0-9]{6}.[a-z0-9]{16}`.
    #[error("a bootstrap token has the form [a-z0-9]{{6}}.[a-z0-9]{{16}}")]
    Token,
}
