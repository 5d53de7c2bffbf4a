//! From the text in a Secret to a client: the one door, which knows no way to a program, a file or a proxy.

use http::Uri;
use kube::config::AuthInfo;
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use scute_pki::{ClientIdentity, Error, Kubeconfig};

use super::TenantError;
use super::heard::Heard;
use crate::key::Key;
use crate::limits::Limits;

/// A client from the text of a kubeconfig.
pub(super) fn client(text: &[u8], secret: &Key, heard: Heard) -> Result<Client, TenantError> {
    let unusable = |error: Error| TenantError::Kubeconfig(secret.clone(), error);
    let text = std::str::from_utf8(text).map_err(|_| unusable(Error::ReadKubeconfig("not UTF-8")))?;
    let config = Kubeconfig::parse(text).and_then(config).map_err(unusable)?;
    crate::client::client_with(config, Limits::TENANT, heard)
        .map_err(|source| TenantError::Client(secret.clone(), Box::new(source)))
}

/// Made field by field: what is not named here keeps a default that leads nowhere, whatever the file or the
/// environment says.
fn config(kubeconfig: Kubeconfig) -> Result<Config, Error> {
    let refused =
        |path: &str, why| Error::RefusedKubeconfig { path: format!("clusters[].cluster.{path}"), why };
    let server: Uri = kubeconfig.server.parse().map_err(|_| refused("server", "is not a URL"))?;
    let authorities: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(kubeconfig.ca_pem.as_bytes())
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|_| refused("certificate-authority-data", "is not PEM"))?;
    if authorities.is_empty() {
        return Err(refused("certificate-authority-data", "has no certificate"));
    }
    let mut config = Config::new(server);
    config.root_cert = Some(authorities);
    config.tls_server_name = kubeconfig.tls_server_name;
    config.auth_info = match kubeconfig.identity {
        ClientIdentity::Certificate(pair) => AuthInfo {
            client_certificate_data: Some(base64(&pair.certificate_pem)),
            client_key_data: Some(base64(&pair.key_pem).into()),
            ..AuthInfo::default()
        },
        ClientIdentity::Token(token) => AuthInfo { token: Some(token.into()), ..AuthInfo::default() },
    };
    Ok(config)
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
