//! Reading certificates: names, dates, usages, and whose key and whose signature they carry.

use crate::{Error, PrivateKey, Sans, Usage, pem};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, net::IpAddr};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    common_name: String,
    organizations: BTreeSet<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    sans: Sans,
    usages: BTreeSet<Usage>,
    is_ca: bool,
    public_key_der: Vec<u8>,
    der: Vec<u8>,
}

impl Certificate {
    /// Reads the first `CERTIFICATE` block of a PEM text.
    pub fn parse(certificate_pem: &str) -> Result<Self, Error> {
        let (_, der) =
            pem::first(certificate_pem, |label| label == "CERTIFICATE").ok_or(Error::ReadCertificate)?;
        let (_, x509) = X509Certificate::from_der(&der).map_err(|_| Error::ReadCertificate)?;
        let validity = x509.validity();
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| Error::ReadCertificate);
        Ok(Self {
            common_name: x509.subject().iter_common_name().find_map(text).unwrap_or_default(),
            organizations: x509.subject().iter_organization().filter_map(text).collect(),
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
            sans: sans(&x509)?,
            usages: usages(&x509)?,
            is_ca: x509.is_ca(),
            public_key_der: x509.public_key().raw.to_vec(),
            der: der.clone(),
        })
    }

    /// Subject common name, empty if there is none.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// Subject organizations.
    pub fn organizations(&self) -> &BTreeSet<String> {
        &self.organizations
    }

    /// Start of the validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// End of the validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Subject alternative names (DNS and IP).
    pub fn sans(&self) -> &Sans {
        &self.sans
    }

    /// Extended key usages that we know.
    pub fn usages(&self) -> &BTreeSet<Usage> {
        &self.usages
    }

    /// Whether the basic constraints make it an authority.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The whole subject as text, if it has a kind of name more than once.
    pub(crate) fn repeated_name(&self) -> Option<String> {
        let (_, x509) = X509Certificate::from_der(&self.der).ok()?;
        let mut seen = BTreeSet::new();
        let kinds = x509.subject().iter_attributes().map(|name| name.attr_type().to_id_string());
        kinds.into_iter().any(|kind| !seen.insert(kind)).then(|| x509.subject().to_string())
    }

    /// Whether `key` is the private half of its public key.
    pub fn has_key(&self, key: &PrivateKey) -> bool {
        key.public_key_der() == self.public_key_der
    }

    /// Whether it carries a valid signature of `ca` and names it as issuer. Says nothing about dates.
    pub fn is_signed_by(&self, ca: &Certificate) -> bool {
        let Ok((_, leaf)) = X509Certificate::from_der(&self.der) else { return false };
        let Ok((_, issuer)) = X509Certificate::from_der(&ca.der) else { return false };
        leaf.issuer().as_raw() == issuer.subject().as_raw()
            && leaf.verify_signature(Some(issuer.public_key())).is_ok()
    }

    /// `sha256:<hex>` of the SubjectPublicKeyInfo: what `caCertHashes` of kubeadm's discovery wants.
    pub fn public_key_hash(&self) -> String {
        format!("sha256:{}", hex::encode(Sha256::digest(&self.public_key_der)))
    }
}

fn text(value: &x509_parser::x509::AttributeTypeAndValue<'_>) -> Option<String> {
    value.as_str().ok().map(str::to_owned)
}

fn sans(x509: &X509Certificate<'_>) -> Result<Sans, Error> {
    let mut sans = Sans::default();
    let extension = x509.subject_alternative_name().map_err(|_| Error::ReadCertificate)?;
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(dns) => _ = sans.dns.insert((*dns).to_owned()),
            GeneralName::IPAddress(bytes) => sans.ips.extend(ip_of(bytes)),
            _ => {}
        }
    }
    Ok(sans)
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn usages(x509: &X509Certificate<'_>) -> Result<BTreeSet<Usage>, Error> {
    let extension = x509.extended_key_usage().map_err(|_| Error::ReadCertificate)?;
    let Some(usage) = extension.map(|extension| extension.value) else { return Ok(BTreeSet::new()) };
    let server = (usage.server_auth || usage.any).then_some(Usage::Server);
    let client = (usage.client_auth || usage.any).then_some(Usage::Client);
    Ok(server.into_iter().chain(client).collect())
}
