//! Kubeconfigs with one cluster, one user and one context, as kubeadm and Cluster API write them.

mod read;

use crate::{
    Ca, Certificate, Error, KeyPairPem, LeafRequest, PrivateKey, Renewal, Stale, renewal::other_subject,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

/// How the user of a kubeconfig proves who it is. `Debug` hides keys and tokens.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientIdentity {
    /// Client certificate and key.
    Certificate(KeyPairPem),
    /// Bearer token.
    Token(String),
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate(_) => "Certificate(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}

/// One cluster, one user, and a context `<user>@<cluster>` that joins them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// Name of the cluster entry.
    pub cluster: String,
    /// `https://host:port`.
    pub server: String,
    /// Name in the server's certificate, where it is not the host's.
    pub tls_server_name: Option<String>,
    /// Certificates to trust, PEM.
    pub ca_pem: String,
    /// Name of the user entry.
    pub user: String,
    /// The user's credentials.
    pub identity: ClientIdentity,
}

impl Kubeconfig {
    /// The file's text: YAML, always the same for the same values.
    pub fn render(&self) -> Result<String, Error> {
        let user = match &self.identity {
            ClientIdentity::Certificate(pair) => User {
                client_certificate_data: Some(STANDARD.encode(&pair.certificate_pem)),
                client_key_data: Some(STANDARD.encode(&pair.key_pem)),
                ..User::default()
            },
            ClientIdentity::Token(token) => User { token: Some(token.clone()), ..User::default() },
        };
        let context = format!("{}@{}", self.user, self.cluster);
        let cluster = Cluster {
            certificate_authority_data: STANDARD.encode(&self.ca_pem),
            server: self.server.clone(),
            tls_server_name: self.tls_server_name.clone(),
        };
        let file = File {
            api_version: "v1".into(),
            kind: "Config".into(),
            clusters: vec![NamedCluster { name: self.cluster.clone(), cluster }],
            contexts: vec![NamedContext {
                name: context.clone(),
                context: Context { cluster: self.cluster.clone(), user: self.user.clone() },
            }],
            current_context: context,
            users: vec![NamedUser { name: self.user.clone(), user }],
        };
        // Lines of base64 stay whole, as every other writer of kubeconfigs leaves them.
        let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
        serde_saphyr::to_string_with_options(&file, options)
            .map_err(|error| Error::WriteKubeconfig(error.to_string()))
    }
}

impl Renewal {
    /// Why the kubeconfig text `existing` must be written again, or `None` if it can stay: it reaches `server`, trusts
    /// `ca`, and its client certificate satisfies `client` under the renewal rule.
    pub fn check_kubeconfig(
        &self,
        existing: Option<&str>,
        server: &str,
        client: &LeafRequest,
        ca: &Ca,
    ) -> Option<Stale> {
        let Some(existing) = existing else { return Some(Stale::Missing) };
        let Ok(found) = Kubeconfig::parse(existing) else { return Some(Stale::Unreadable) };
        if found.server != server || found.ca_pem.trim() != ca.certificate_pem().trim() {
            return Some(Stale::OtherEndpoint);
        }
        let ClientIdentity::Certificate(pair) = found.identity else { return Some(Stale::OtherSubject) };
        let Ok(certificate) = Certificate::parse(&pair.certificate_pem) else {
            return Some(Stale::Unreadable);
        };
        match PrivateKey::load(&pair.key_pem) {
            Err(_) => Some(Stale::Unreadable),
            Ok(key) if !certificate.has_key(&key) => Some(Stale::KeyMismatch),
            Ok(_) => self.check_issued(&certificate, ca).or_else(|| other_subject(&certificate, client)),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    current_context: String,
    users: Vec<NamedUser>,
}

#[derive(Serialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    certificate_authority_data: String,
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_server_name: Option<String>,
}

#[derive(Serialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Serialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Serialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}
