//! Whom we trust. The metal room by the pin on the command line; image servers by authorities that everybody knows, or by
//! those that come with the image.
//!
//! The pin counts whatever the time is: a server's clock may be years off until the metal room has told it, so dates of the
//! chain that ends in the pinned certificate are not looked at. Who could use an old certificate of the metal room would
//! need its key, too; the authority signs no others with that name. Image servers are asked after the clock was set.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ::aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Authorities that everybody knows, as Debian has them.
const EVERYBODY: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The pin is not 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pin of the authority must be a SHA-256 digest, 64 hexadecimal digits")]
pub struct PinError;

/// An authority's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Not PEM, or not a certificate.
    #[error("the authorities for the image's URL are not certificates in PEM: {0}")]
    Pem(String),
    /// TLS itself.
    #[error("TLS: {0}")]
    Tls(#[from] Error),
}

/// Trusts servers whose certificate is signed by the authority with this digest, which must be in the chain they send.
pub fn pinned(pin: &str) -> Result<Arc<ClientConfig>, PinError> {
    let pin = hex::decode(pin).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(PinError)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Pinned { pin, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|_| PinError)?;
    Ok(Arc::new(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// Trusts whom everybody trusts, and these.
pub fn trusting(authorities: Option<&str>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    // Some are in formats that the library does not take; those are nobody's.
    let everybody = fs::read(EVERYBODY).unwrap_or_default();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&everybody).filter_map(Result::ok));
    let mut own = 0;
    for certificate in CertificateDer::pem_slice_iter(authorities.unwrap_or_default().as_bytes()) {
        let certificate = certificate.map_err(|error| TrustError::Pem(error.to_string()))?;
        roots.add(certificate).map_err(|error| TrustError::Pem(error.to_string()))?;
        own += 1;
    }
    if authorities.is_some() && own == 0 {
        return Err(TrustError::Pem("there is none".into()));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        revocation: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = |certificate: &&CertificateDer<'_>| digest(&SHA256, certificate).as_ref() == self.pin;
        let authority = chain.iter().find(pinned);
        let authority =
            authority.ok_or_else(|| Error::General("the chain does not hold the pinned authority".into()))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(leaf, &[], name, revocation, valid_at(leaf)?)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A time at which the certificate is valid.
fn valid_at(certificate: &CertificateDer<'_>) -> Result<UnixTime, Error> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| Error::General(error.to_string()))?;
    let start = u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or_default();
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(start)))
}
