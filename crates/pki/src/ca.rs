//! Certificate authorities: made new with kubeadm's extensions, or loaded from what a user or an earlier run left.

use crate::{Certificate, Error, KeyAlgorithm, PrivateKey, leaf::set_life};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use std::time::Duration;

/// A certificate authority that can sign: certificate and key are known to belong together.
pub struct Ca {
    certificate_pem: String,
    key_pem: String,
    certificate: Certificate,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// A new self-signed authority, valid from five minutes before `now` for `validity`.
    pub fn generate(
        common_name: &str,
        validity: Duration,
        algorithm: KeyAlgorithm,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let key = PrivateKey::generate(algorithm)?;
        let params = params(common_name, validity, now)?;
        let certificate = params.self_signed(&key.pair).map_err(Error::Sign)?;
        Self::load(&certificate.pem(), key.pem())
    }

    /// Reads an authority and checks that it may sign and that the key is its own. Of a bundle the first certificate
    /// counts; keys may be PKCS#8, PKCS#1 or SEC1.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let certificate = Certificate::parse(certificate_pem)?;
        let key = PrivateKey::load(key_pem)?;
        if !certificate.is_ca() {
            return Err(Error::NotAnAuthority { subject: certificate.common_name().to_owned() });
        }
        if !certificate.has_key(&key) {
            return Err(Error::KeyMismatch { subject: certificate.common_name().to_owned() });
        }
        if let Some(subject) = certificate.repeated_name() {
            return Err(Error::RepeatedName { subject });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate.der().into(), key.pair).map_err(Error::Sign)?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            certificate,
            issuer,
        })
    }

    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, PEM. A secret.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The certificate, read.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// `sha256:<hex>` of the public key: an entry of `caCertHashes` in kubeadm's discovery.
    pub fn public_key_hash(&self) -> String {
        self.certificate.public_key_hash()
    }
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn params(common_name: &str, validity: Duration, now: Timestamp) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    set_life(&mut params, now, validity, None)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    // kubeadm puts the name into the SANs of a CA as well; readers that ignore common names find it there.
    if let Ok(dns) = common_name.try_into() {
        params.subject_alt_names = vec![SanType::DnsName(dns)];
    }
    Ok(params)
}
