//! When an existing key pair can stay, and the reason when it cannot.

use crate::{Ca, Certificate, KeyPairPem, LeafRequest, PrivateKey};
use jiff::Timestamp;
use std::{fmt, time::Duration};

/// Why a certificate has to be issued (again). `Display` is fit for a condition or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// There is none.
    Missing,
    /// Certificate or key cannot be read.
    Unreadable,
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
    /// A kubeconfig points at another server, or trusts another authority.
    OtherEndpoint,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist yet"),
            Self::Unreadable => f.write_str("is unreadable"),
            Self::KeyMismatch => f.write_str("private key belongs to another certificate"),
            Self::OtherAuthority => f.write_str("signed by another certificate authority"),
            Self::Expiring { not_after } => write!(f, "expires at {not_after}"),
            Self::OtherSubject => f.write_str("has another subject or usage"),
            Self::MissingName(name) => write!(f, "lacks the alternative name {name}"),
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

    /// Why `existing` does not satisfy `request`, or `None` if it can stay. Additional names do not make it stale,
    /// and neither does another kind of key: whoever put it there may have had a reason.
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
    }

    /// Why an authority cannot go on: unreadable, not an authority, key of another, or expiring.
    pub fn check_ca(&self, existing: Option<&KeyPairPem>) -> Result<Ca, Stale> {
        let existing = existing.ok_or(Stale::Missing)?;
        let ca = Ca::load(&existing.certificate_pem, &existing.key_pem).map_err(|error| match error {
            crate::Error::KeyMismatch { .. } => Stale::KeyMismatch,
            _ => Stale::Unreadable,
        })?;
        match self.expiring(ca.certificate()) {
            Some(stale) => Err(stale),
            None => Ok(ca),
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
