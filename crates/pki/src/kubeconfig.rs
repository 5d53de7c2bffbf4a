//! Kubeconfigs with one cluster, one user and one context, as kubeadm and Cluster API write them.

use crate::{
    Ca, Certificate, Error, KeyPairPem, LeafRequest, PrivateKey, Renewal, Stale, renewal::other_subject,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// How the user of a kubeconfig proves who it is. `Debug` hides keys and tokens.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientIdentity {
    /// Client certificate and key.
    Certificate(KeyPairPem),
    /// Bearer token.
    Token(String),
    /// A file that holds a bearer token, for Pods.
    TokenFile(String),
    /// None: enough to find out about a cluster.
    Anonymous,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate(_) => "Certificate(..)",
            Self::Token(_) => "Token(..)",
            Self::TokenFile(_) => "TokenFile(..)",
            Self::Anonymous => "Anonymous",
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
            ClientIdentity::TokenFile(path) => User { token_file: Some(path.clone()), ..User::default() },
            ClientIdentity::Anonymous => User::default(),
        };
        let context = format!("{}@{}", self.user, self.cluster);
        let cluster = Cluster {
            certificate_authority_data: STANDARD.encode(&self.ca_pem),
            server: self.server.clone(),
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

    /// Reads the current context of a kubeconfig with embedded data. References to certificate files are refused.
    pub fn parse(yaml: &str) -> Result<Self, Error> {
        let bad = |what: &str| Error::ReadKubeconfig(what.to_owned());
        let file: File = serde_saphyr::from_str(yaml).map_err(|_| bad("not of the expected form"))?;
        let contexts = file.contexts.into_iter();
        let context = contexts
            .filter(|named| named.name == file.current_context)
            .map(|named| named.context)
            .next()
            .ok_or_else(|| bad("current-context names no context"))?;
        let cluster = file.clusters.into_iter().find(|named| named.name == context.cluster);
        let cluster = cluster.ok_or_else(|| bad("the context names no cluster"))?.cluster;
        let user = file.users.into_iter().find(|named| named.name == context.user);
        let user = user.ok_or_else(|| bad("the context names no user"))?.user;
        Ok(Self {
            cluster: context.cluster,
            server: cluster.server,
            ca_pem: decode(&cluster.certificate_authority_data)?,
            user: context.user,
            identity: identity(user)?,
        })
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

fn identity(user: User) -> Result<ClientIdentity, Error> {
    if let (Some(certificate), Some(key)) = (&user.client_certificate_data, &user.client_key_data) {
        let pair = KeyPairPem { certificate_pem: decode(certificate)?, key_pem: decode(key)? };
        return Ok(ClientIdentity::Certificate(pair));
    }
    let file = user.token_file.map(ClientIdentity::TokenFile);
    Ok(user.token.map(ClientIdentity::Token).or(file).unwrap_or(ClientIdentity::Anonymous))
}

fn decode(data: &str) -> Result<String, Error> {
    let bytes = STANDARD.decode(data).map_err(|_| Error::ReadKubeconfig("data is not base64".into()))?;
    String::from_utf8(bytes).map_err(|_| Error::ReadKubeconfig("data is not PEM".into()))
}

#[derive(Serialize, Deserialize)]
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

#[derive(Serialize, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    certificate_authority_data: String,
    server: String,
}

#[derive(Serialize, Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Serialize, Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Serialize, Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_certificate_data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_key_data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, rename = "tokenFile", skip_serializing_if = "Option::is_none")]
    token_file: Option<String>,
}
