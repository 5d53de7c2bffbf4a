//! Throw-away certificates, made without the code under test.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// A certificate authority of one test.
pub(crate) struct Authority {
    /// PEM.
    pub certificate: String,
    /// PEM, ECDSA P-256: etcd and kube-apiserver take any, the products under test read it too.
    pub key: String,
}

impl Authority {
    /// A new authority.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
    }

    /// One that was made before.
    pub fn load(certificate: &str, key: &str) -> Result<Self> {
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned() })
    }

    /// A certificate and its key, PEM, for loopback when it is a server's.
    pub fn issue(&self, name: &str, organizations: &[&str], server: bool) -> Result<(String, String)> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let names = if server {
            ["localhost", "127.0.0.1", "kubernetes"].map(str::to_owned).to_vec()
        } else {
            Vec::new()
        };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = if server {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        } else {
            vec![ExtendedKeyUsagePurpose::ClientAuth]
        };
        Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
    }
}
