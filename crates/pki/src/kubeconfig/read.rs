//! Reading a kubeconfig that somebody else may have written: what it holds is used, what it points to is refused.
//!
//! Whoever may write a Secret in one namespace must not be able to run a program in the manager, read its files or
//! borrow its identity. So only embedded data is read, and a field that client libraries would follow elsewhere is
//! refused by its path. The content is never repeated: it may be a key.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{ClientIdentity, Kubeconfig};
use crate::{Error, KeyPairPem};

/// Secrets hold a mebibyte at most.
const LONGEST: usize = 1 << 20;

impl Kubeconfig {
    /// Reads the current context of a kubeconfig with embedded data: an `https` server, certificates to trust, and a
    /// client certificate with its key or a token.
    ///
    /// # Errors
    /// The path of the field that cannot be used, and why.
    pub fn parse(yaml: &str) -> Result<Self, Error> {
        if yaml.len() > LONGEST {
            return Err(Error::ReadKubeconfig("longer than a mebibyte"));
        }
        let file: File = serde_saphyr::from_str(yaml)
            .map_err(|_| Error::ReadKubeconfig("not YAML of the form of a kubeconfig"))?;
        let wanted = file.current_context.as_deref().unwrap_or_default();
        let context = file.contexts.into_iter().find(|named| named.name == wanted);
        let context = context.ok_or_else(|| refused("current-context", "names no context"))?.context;
        let (index, cluster) = find(file.clusters, |named| named.name == context.cluster)
            .ok_or_else(|| refused("contexts", "the current one names no cluster of the file"))?;
        let at = |field: &str| format!("clusters[{index}].cluster.{field}");
        let (server, ca_pem) = cluster.cluster.used(&at)?;
        let (index, user) = find(file.users, |named| named.name == context.user)
            .ok_or_else(|| refused("contexts", "the current one names no user of the file"))?;
        let identity = user.user.identity(&|field: &str| format!("users[{index}].user.{field}"))?;
        Ok(Self {
            cluster: context.cluster,
            server,
            tls_server_name: cluster.cluster.tls_server_name,
            ca_pem,
            user: context.user,
            identity,
        })
    }
}

fn find<T>(entries: Vec<T>, is: impl Fn(&T) -> bool) -> Option<(usize, T)> {
    entries.into_iter().enumerate().find(|(_, entry)| is(entry))
}

fn refused(path: impl Into<String>, why: &'static str) -> Error {
    Error::RefusedKubeconfig { path: path.into(), why }
}

/// Whether a field is there that points out of the file.
type Elsewhere = Option<IgnoredAny>;

const FILE: &str = "must be embedded as data: files of the reader are not the writer's";
const IDENTITY: &str = "must be a client certificate with its key, or a token";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    current_context: Option<String>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: Option<String>,
    tls_server_name: Option<String>,
    certificate_authority_data: Option<String>,
    certificate_authority: Elsewhere,
    insecure_skip_tls_verify: Option<bool>,
    proxy_url: Elsewhere,
}

impl Cluster {
    /// The server and the certificates to trust.
    fn used(&self, at: &impl Fn(&str) -> String) -> Result<(String, String), Error> {
        if self.certificate_authority.is_some() {
            return Err(refused(at("certificate-authority"), FILE));
        }
        if self.insecure_skip_tls_verify == Some(true) {
            return Err(refused(
                at("insecure-skip-tls-verify"),
                "must not be set: the server has to prove itself",
            ));
        }
        if self.proxy_url.is_some() {
            return Err(refused(at("proxy-url"), "must not be set: the server is connected to directly"));
        }
        let server = self.server.clone().unwrap_or_default();
        if !is_https(&server) {
            return Err(refused(at("server"), "must be https://HOST[:PORT][/PATH]"));
        }
        let data = self.certificate_authority_data.as_deref().unwrap_or_default();
        if data.is_empty() {
            return Err(refused(at("certificate-authority-data"), "is missing"));
        }
        Ok((server, decode(data, || at("certificate-authority-data"))?))
    }
}

/// Nothing but scheme, host, port and path: no user, query or fragment, and nothing that is not printable ASCII.
fn is_https(server: &str) -> bool {
    let Some(rest) = server.strip_prefix("https://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    !host.is_empty()
        && !host.contains('@')
        && rest.chars().all(|letter| letter.is_ascii_graphic() && !matches!(letter, '?' | '#' | '\\'))
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    exec: Elsewhere,
    auth_provider: Elsewhere,
    #[serde(rename = "tokenFile")]
    token_file: Elsewhere,
    client_certificate: Elsewhere,
    client_key: Elsewhere,
    username: Elsewhere,
    password: Elsewhere,
    r#as: Elsewhere,
    as_uid: Elsewhere,
    as_groups: Elsewhere,
    as_user_extra: Elsewhere,
}

impl User {
    fn identity(&self, at: &impl Fn(&str) -> String) -> Result<ClientIdentity, Error> {
        const PROGRAM: &str = "must not be set: no program is run for a kubeconfig";
        const PASSWORD: &str = "must not be set: no API server takes passwords any more";
        const OTHERS: &str = "must not be set: the user of the kubeconfig is used as itself";
        let elsewhere = [
            ("exec", &self.exec, PROGRAM),
            ("auth-provider", &self.auth_provider, PROGRAM),
            ("tokenFile", &self.token_file, FILE),
            ("client-certificate", &self.client_certificate, FILE),
            ("client-key", &self.client_key, FILE),
            ("username", &self.username, PASSWORD),
            ("password", &self.password, PASSWORD),
            ("as", &self.r#as, OTHERS),
            ("as-uid", &self.as_uid, OTHERS),
            ("as-groups", &self.as_groups, OTHERS),
            ("as-user-extra", &self.as_user_extra, OTHERS),
        ];
        if let Some((field, _, why)) = elsewhere.iter().find(|(_, value, _)| value.is_some()) {
            return Err(refused(at(field), why));
        }
        match (&self.client_certificate_data, &self.client_key_data, &self.token) {
            (Some(certificate), Some(key), _) => Ok(ClientIdentity::Certificate(KeyPairPem {
                certificate_pem: decode(certificate, || at("client-certificate-data"))?,
                key_pem: decode(key, || at("client-key-data"))?,
            })),
            (Some(_), None, _) => Err(refused(at("client-key-data"), "is missing")),
            (None, Some(_), _) => Err(refused(at("client-certificate-data"), "is missing")),
            (None, None, Some(token)) if is_token(token) => Ok(ClientIdentity::Token(token.clone())),
            (None, None, Some(_)) => Err(refused(at("token"), "is not one line of printable ASCII")),
            (None, None, None) => Err(refused(at("*"), IDENTITY)),
        }
    }
}

/// What a header can carry.
fn is_token(token: &str) -> bool {
    !token.is_empty() && token.chars().all(|letter| letter.is_ascii_graphic())
}

fn decode(data: &str, at: impl Fn() -> String) -> Result<String, Error> {
    let bytes = STANDARD.decode(data.trim()).map_err(|_| refused(at(), "is not base64"))?;
    String::from_utf8(bytes).map_err(|_| refused(at(), "is not PEM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good kubeconfig with one line more for its cluster and its user.
    fn with(cluster: &str, user: &str) -> Result<Kubeconfig, Error> {
        Kubeconfig::parse(&format!(
            "apiVersion: v1\nkind: Config\npreferences: {{}}\ncurrent-context: a\n\
             clusters:\n- name: c\n  cluster:\n    certificate-authority-data: Y2E=\n    server: https://host:6443\n{cluster}\n\
             contexts:\n- name: a\n  context: {{cluster: c, user: u, namespace: n}}\n\
             users:\n- name: other\n  user: {{exec: {{command: /bin/true}}}}\n- name: u\n  user:\n    token: hunter2\n{user}\n"
        ))
    }

    #[test]
    fn embedded_data_of_the_current_context_is_read_and_nothing_else_matters() {
        let read = with("    tls-server-name: other.example", "").unwrap();
        assert_eq!((read.server.as_str(), read.ca_pem.as_str()), ("https://host:6443", "ca"));
        assert_eq!(read.tls_server_name.as_deref(), Some("other.example"));
        assert_eq!(read.identity, ClientIdentity::Token("hunter2".into()));
        let harmless = with("    insecure-skip-tls-verify: false\n    extensions: []", "    exec: null");
        assert_eq!(harmless.unwrap().cluster, "c");
    }

    #[test]
    fn whatever_points_out_of_the_file_is_refused_by_its_path_and_never_by_its_content() {
        let of_cluster = [
            ("certificate-authority", "/etc/hunter2"),
            ("insecure-skip-tls-verify", "true"),
            ("proxy-url", "http://hunter2"),
        ];
        let of_user = [
            ("exec", "{apiVersion: v1, command: /bin/hunter2}"),
            ("auth-provider", "{name: gcp, config: {cmd-path: /bin/hunter2}}"),
            ("tokenFile", "/var/run/secrets/kubernetes.io/serviceaccount/hunter2"),
            ("client-certificate", "/hunter2"),
            ("client-key", "/hunter2"),
            ("username", "hunter2"),
            ("password", "hunter2"),
            ("as", "hunter2"),
            ("as-uid", "hunter2"),
            ("as-groups", "[hunter2]"),
            ("as-user-extra", "{a: [hunter2]}"),
        ];
        let cases = of_cluster
            .map(|(field, value)| {
                (format!("clusters[0].cluster.{field}"), with(&format!("    {field}: {value}"), ""))
            })
            .into_iter()
            .chain(of_user.map(|(field, value)| {
                (format!("users[1].user.{field}"), with("", &format!("    {field}: {value}")))
            }));
        for (path, read) in cases {
            let error = read.expect_err(&path).to_string();
            assert!(error.contains(&format!("{path}: ")) && !error.contains("hunter2"), "{path}: {error}");
        }
    }

    #[test]
    fn the_server_is_https_with_a_host_and_no_more_than_a_path() {
        for good in
            ["https://a", "https://10.0.0.1:6443", "https://[fd00::1]:6443", "https://a/k8s/clusters/c-1"]
        {
            assert!(is_https(good), "{good}");
        }
        for bad in [
            "http://a",
            "https://",
            "https:///a",
            "https://u:p@a",
            "https://a?b",
            "https://a#b",
            "a:6443",
            "https://a b",
        ] {
            assert!(!is_https(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_or_no_data_is_named() {
        let text = |certificate: &str| {
            format!(
                "current-context: a\nclusters: [{{name: c, cluster: {{server: 'https://h', certificate-authority-data: Y2E=}}}}]\n\
                 contexts: [{{name: a, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{{certificate}}}}}]\n"
            )
        };
        let cases = [
            ("", "users[0].user.*"),
            ("client-certificate-data: Y2E=", "users[0].user.client-key-data"),
            ("client-key-data: Y2E=", "users[0].user.client-certificate-data"),
            ("client-certificate-data: '?', client-key-data: Y2E=", "users[0].user.client-certificate-data"),
            ("token: \"a\\nb\"", "users[0].user.token"),
        ];
        for (user, path) in cases {
            let error = Kubeconfig::parse(&text(user)).expect_err(path).to_string();
            assert!(error.contains(path), "{error}");
        }
        for broken in ["", "password: hunter2", "- hunter2", "current-context: hunter2", "\u{7f}"] {
            let error = Kubeconfig::parse(broken).expect_err(broken).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
