//! Whom we trust: authorities, one certificate, or anybody; and what was shown.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::Error;
use crate::types::Trust;

/// SHA-256 of the certificate that a BMC showed last.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<Option<String>>>);

impl Shown {
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, certificate: &CertificateDer<'_>) -> String {
        let print = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(print.clone());
        print
    }
}

/// TLS 1.2 and 1.3 with this trust.
pub fn config(trust: &Trust, shown: &Shown) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let wanted = match trust {
        Trust::Any => Wanted::Any,
        Trust::Pinned(print) => Wanted::This(print.to_ascii_lowercase().replace(':', "")),
        Trust::Authorities(pem) => Wanted::IssuedBy(authorities(pem, &provider)?),
    };
    let verifier = Verifier { wanted, provider: provider.clone(), shown: shown.clone() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| untrusted(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

fn untrusted(words: String) -> Error {
    Error::Tls { fingerprint: None, words }
}

fn authorities(pem: &str, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|error| untrusted(format!("the authorities are no PEM: {error}")))?;
        roots.add(certificate).map_err(|error| untrusted(format!("an authority is not usable: {error}")))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| untrusted(format!("the authorities are not usable: {error}")))
}

#[derive(Debug)]
enum Wanted {
    Any,
    This(String),
    IssuedBy(Arc<WebPkiServerVerifier>),
}

#[derive(Debug)]
struct Verifier {
    wanted: Wanted,
    provider: Arc<CryptoProvider>,
    shown: Shown,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let print = self.shown.set(end_entity);
        match &self.wanted {
            Wanted::Any => Ok(ServerCertVerified::assertion()),
            Wanted::This(pinned) if *pinned == print => Ok(ServerCertVerified::assertion()),
            Wanted::This(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            Wanted::IssuedBy(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
