//! When an existing key pair can stay, and the reason when it cannot.

use crate::{Ca, Certificate, Error, KeyPairPem, LeafRequest, PrivateKey};
use jiff::Timestamp;
use std::{fmt, time::Duration};

/// Why a certificate has to be issued (again). `Display` is fit for a condition or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// There is none.
    Missing,
    /// Certificate or key cannot be read.
    Unreadable,
    /// An authority that is there and cannot be used. It is never replaced unasked: the only copy of its key may be
    /// the user's.
    Unusable(Flaw),
    /// Certificate and key are of different key pairs.
    KeyMismatch,
    /// Signed by another authority: it was rotated.
    OtherAuthority,
    /// Ends within the deadline, or has ended.
    Expiring {
        /// End of its validity.
        not_after: Timestamp,
    },
    /// Common name, organization or usage is not the wanted one.
    OtherSubject,
    /// A wanted alternative name is missing.
    MissingName(
        /// The first missing one.
        String,
    ),
    /// It has an alternative name that is wanted no more.
    ExtraName(
        /// The first of them.
        String,
    ),
    /// A kubeconfig points at another server, or trusts another authority.
    OtherEndpoint,
}

/// What is wrong with an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The certificate is no X.509 PEM.
    Certificate,
    /// The private key is no PEM of a known form.
    Key,
    /// The private key is protected by a password.
    EncryptedKey,
    /// The private key is of a kind that cannot sign here.
    UnsupportedKey,
    /// The certificate may not sign others.
    NotAnAuthority,
    /// The subject has a kind of name more than once, which leaves cannot repeat.
    RepeatedName {
        /// The whole subject.
        subject: String,
    },
    /// Certificate and key are of different key pairs.
    KeyMismatch,
    /// Its validity is over.
    Ended {
        /// End of its validity.
        not_after: Timestamp,
    },
    /// One half of the pair is not there.
    Lacks(
        /// The missing key of the Secret.
        String,
    ),
}

impl From<Error> for Flaw {
    fn from(error: Error) -> Self {
        match error {
            Error::ReadKey => Self::Key,
            Error::EncryptedKey => Self::EncryptedKey,
            Error::UnsupportedKey => Self::UnsupportedKey,
            Error::NotAnAuthority { .. } => Self::NotAnAuthority,
            Error::RepeatedName { subject } => Self::RepeatedName { subject },
            Error::KeyMismatch { .. } => Self::KeyMismatch,
            // The rest is said of making, not of reading.
            _ => Self::Certificate,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("the certificate is not a readable X.509 PEM block"),
            Self::Key => f.write_str("the private key is not a readable PKCS#8, PKCS#1 or SEC1 PEM block"),
            Self::EncryptedKey => f.write_str("the private key is encrypted"),
            Self::UnsupportedKey => f.write_str("the private key is of a kind that is not supported"),
            Self::NotAnAuthority => f.write_str("the certificate is not one of an authority"),
            Self::RepeatedName { subject } => {
                write!(f, "the subject {subject:?} has a kind of name more than once, which is not supported")
            }
            Self::KeyMismatch => f.write_str("the private key belongs to another certificate"),
            Self::Ended { not_after } => write!(f, "the authority ended at {not_after}"),
            Self::Lacks(key) => write!(f, "there is no {key}"),
        }
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist yet"),
            Self::Unreadable => f.write_str("is unreadable"),
            Self::Unusable(flaw) => flaw.fmt(f),
            Self::KeyMismatch => f.write_str("private key belongs to another certificate"),
            Self::OtherAuthority => f.write_str("signed by another certificate authority"),
            Self::Expiring { not_after } => write!(f, "expires at {not_after}"),
            Self::OtherSubject => f.write_str("has another subject or usage"),
            Self::MissingName(name) => write!(f, "lacks the alternative name {name}"),
            Self::ExtraName(name) => write!(f, "still has the alternative name {name}"),
            Self::OtherEndpoint => f.write_str("points at another server or authority"),
        }
    }
}

/// The renewal rule: replace what would end less than `deadline` after `now` (Kamaji's default and minimum: 24 h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The current time.
    pub now: Timestamp,
    /// How long before its end a certificate is replaced.
    pub deadline: Duration,
}

impl Renewal {
    /// Kamaji's default deadline of 24 hours.
    pub fn at(now: Timestamp) -> Self {
        Self { now, deadline: Duration::from_secs(24 * 3600) }
    }

    /// When the rule will want `certificate` replaced: the time to look again.
    pub fn due(&self, certificate: &Certificate) -> Timestamp {
        certificate.not_after().checked_sub(self.deadline).unwrap_or(Timestamp::MIN)
    }

    /// Why `existing` does not satisfy `request`, or `None` if it can stay. A name that was taken back must not be
    /// served for the rest of the year; another kind of key is left: whoever put it there may have had a reason.
    pub fn check(&self, existing: Option<&KeyPairPem>, request: &LeafRequest, ca: &Ca) -> Option<Stale> {
        let Some(existing) = existing else { return Some(Stale::Missing) };
        let Ok(certificate) = Certificate::parse(&existing.certificate_pem) else {
            return Some(Stale::Unreadable);
        };
        let Ok(key) = PrivateKey::load(&existing.key_pem) else { return Some(Stale::Unreadable) };
        if !certificate.has_key(&key) {
            return Some(Stale::KeyMismatch);
        }
        self.check_issued(&certificate, ca)
            .or_else(|| other_subject(&certificate, request))
            .or_else(|| missing_name(&certificate, request))
            .or_else(|| extra_name(&certificate, request))
    }

    /// Why an authority cannot sign: there is none, or it is there and unusable. One that ends soon can: that it does
    /// is for its owner to hear of, not for us to change.
    pub fn check_ca(&self, existing: Option<&KeyPairPem>) -> Result<Ca, Stale> {
        let existing = existing.ok_or(Stale::Missing)?;
        let ca = Ca::load(&existing.certificate_pem, &existing.key_pem)
            .map_err(|error| Stale::Unusable(error.into()))?;
        match ca.certificate().not_after() {
            not_after if not_after <= self.now => Err(Stale::Unusable(Flaw::Ended { not_after })),
            _ => Ok(ca),
        }
    }

    pub(crate) fn check_issued(&self, certificate: &Certificate, ca: &Ca) -> Option<Stale> {
        if !certificate.is_signed_by(ca.certificate()) {
            return Some(Stale::OtherAuthority);
        }
        // A leaf cut at its authority's end cannot get better by issuing it again.
        let as_long_as_possible = certificate.not_after() >= ca.certificate().not_after();
        if as_long_as_possible && certificate.not_after() > self.now {
            return None;
        }
        self.expiring(certificate)
    }

    fn expiring(&self, certificate: &Certificate) -> Option<Stale> {
        (self.due(certificate) < self.now).then(|| Stale::Expiring { not_after: certificate.not_after() })
    }
}

pub(crate) fn other_subject(certificate: &Certificate, request: &LeafRequest) -> Option<Stale> {
    let same = certificate.common_name() == request.common_name
        && certificate.organizations().iter().eq(request.organizations.iter())
        && request.usages.is_subset(certificate.usages());
    (!same).then_some(Stale::OtherSubject)
}

fn missing_name(certificate: &Certificate, request: &LeafRequest) -> Option<Stale> {
    let has = certificate.sans();
    let dns = request.sans.dns.difference(&has.dns).next().cloned();
    dns.or_else(|| request.sans.ips.difference(&has.ips).next().map(ToString::to_string))
        .map(Stale::MissingName)
}

fn extra_name(certificate: &Certificate, request: &LeafRequest) -> Option<Stale> {
    let has = certificate.sans();
    let dns = has.dns.difference(&request.sans.dns).next().cloned();
    dns.or_else(|| has.ips.difference(&request.sans.ips).next().map(ToString::to_string))
        .map(Stale::ExtraName)
}
