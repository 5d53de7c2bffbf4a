//! Every certificate and kubeconfig of a site. In: the site's configuration and the time. Out: files below `pki/` and
//! `kubernetes/`. Authorities are made once and kept; leaf certificates are made anew at each start of the site, so
//! that they never grow older than one. Keys are P-256: a site makes two dozen in milliseconds.

use crate::{Layout, SiteConfig};
use jiff::Timestamp;
use scute_pki::{
    CA_VALIDITY, Ca, Certificate, ClientIdentity, KeyAlgorithm, KeyPairPem, Kubeconfig, LeafRequest, Sans,
    ServiceAccountKeys, issue,
};
use scute_processes::files;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Port of the API server.
pub const API_PORT: u16 = 6443;

/// Why the PKI could not be laid out.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A certificate or key could not be made.
    #[error("{what} could not be made")]
    Make {
        /// Which one.
        what: String,
        /// Why.
        #[source]
        source: scute_pki::Error,
    },
    /// Half of a pair. A new one in its place would be trusted by nobody who trusts the old one.
    #[error(
        "{missing} is missing and {there} is there; bring it back, or remove both where the site has never been up"
    )]
    Half {
        /// What is not there.
        missing: PathBuf,
        /// What is.
        there: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{path} cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes what one site needs.
struct Writer<'a> {
    layout: &'a Layout,
    now: Timestamp,
}

/// Makes what is missing and renews every leaf.
pub fn lay_out(layout: &Layout, config: &SiteConfig, now: Timestamp) -> Result<(), PkiError> {
    let writer = Writer { layout, now };
    let ca = writer.authority("ca", "kubernetes")?;
    let front_proxy = writer.authority("front-proxy-ca", "front-proxy-ca")?;
    let etcd = writer.authority("etcd-ca", "etcd-ca")?;
    let tenants = writer.authority("etcd-tenants-ca", "etcd-tenants-ca")?;
    let webhook = writer.authority("webhook-ca", "scute-webhook-ca")?;
    writer.service_account_keys()?;

    writer.leaf("apiserver", server("kube-apiserver", api_names(config)), &ca)?;
    let kubelet_client = LeafRequest::client(scute_kubeadm::APISERVER_KUBELET_CLIENT, None);
    writer.leaf("apiserver-kubelet-client", kubelet_client, &ca)?;
    writer.leaf("front-proxy-client", LeafRequest::client("front-proxy-client", None), &front_proxy)?;
    writer.leaf("apiserver-etcd-client", LeafRequest::client("kube-apiserver-etcd-client", None), &etcd)?;
    writer.leaf("etcd-server", peer(config.node_name(), node_names(config)), &etcd)?;
    writer.leaf("etcd-tenants-server", peer(config.node_name(), node_names(config)), &tenants)?;
    writer.leaf("etcd-tenants-root-client", LeafRequest::client("root", None), &tenants)?;
    writer.leaf("kubelet-server", server(&node_user(config), node_names(config)), &ca)?;
    writer.leaf("scute-webhook", server("scute-webhook", webhook_names()), &webhook)?;

    let local = format!("https://127.0.0.1:{API_PORT}");
    let outside = format!("https://{}:{API_PORT}", config.addresses.node);
    let gate = format!("https://{}", super::gate::ADDRESS);
    let masters = Some("system:masters");
    for (file, server, user, group) in [
        ("kubernetes/kubelet.kubeconfig", &gate, node_user(config).as_str(), Some("system:nodes")),
        ("kubernetes/controller-manager.kubeconfig", &local, "system:kube-controller-manager", None),
        ("kubernetes/scheduler.kubeconfig", &local, "system:kube-scheduler", None),
        ("kubernetes/kube-proxy.kubeconfig", &local, "system:kube-proxy", None),
        ("kubernetes/site.kubeconfig", &local, "scute-site", masters),
        ("admin.kubeconfig", &outside, "kubernetes-admin", masters),
    ] {
        writer.kubeconfig(file, config.node_name(), server, &LeafRequest::client(user, group), &ca)?;
    }
    Ok(())
}

/// When the leaf certificates end: all are made in the same second.
pub fn end(layout: &Layout) -> Option<Timestamp> {
    let text = fs::read_to_string(layout.pki("apiserver.crt")).ok()?;
    Certificate::parse(&text).ok().map(|certificate| certificate.not_after())
}

/// The Node's user name.
fn node_user(config: &SiteConfig) -> String {
    format!("system:node:{}", config.node_name())
}

fn api_names(config: &SiteConfig) -> Vec<String> {
    let fixed = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut names = node_names(config);
    names.extend(fixed.map(str::to_owned));
    names.push(config.addresses.api_service().to_string());
    names
}

fn node_names(config: &SiteConfig) -> Vec<String> {
    let fixed = ["localhost", "127.0.0.1"].map(str::to_owned);
    let mut names = vec![config.node_name().to_owned(), config.addresses.node.to_string()];
    names.extend(fixed);
    names
}

fn webhook_names() -> Vec<String> {
    let service = "scute-webhook.scute-system";
    vec![service.to_owned(), format!("{service}.svc"), format!("{service}.svc.cluster.local")]
}

fn server(common_name: &str, names: Vec<String>) -> LeafRequest {
    LeafRequest::server(common_name, Sans::from_iter(names))
}

fn peer(common_name: &str, names: Vec<String>) -> LeafRequest {
    LeafRequest::peer(common_name, Sans::from_iter(names))
}

impl Writer<'_> {
    fn authority(&self, name: &str, common_name: &str) -> Result<Ca, PkiError> {
        let make = |source| PkiError::Make { what: format!("the authority {name}"), source };
        let certificate = self.layout.pki(&format!("{name}.crt"));
        let key = self.layout.pki(&format!("{name}.key"));
        match (read(&certificate)?, read(&key)?) {
            (Some(certificate), Some(key)) => return Ca::load(&certificate, &key).map_err(make),
            (Some(_), None) => return Err(PkiError::Half { missing: key, there: certificate }),
            (None, Some(_)) => return Err(PkiError::Half { missing: certificate, there: key }),
            (None, None) => {}
        }
        let ca = Ca::generate(common_name, CA_VALIDITY, KeyAlgorithm::EcdsaP256, self.now).map_err(make)?;
        keep(key, ca.key_pem(), 0o600)?;
        keep(certificate, ca.certificate_pem(), 0o644)?;
        Ok(ca)
    }

    fn service_account_keys(&self) -> Result<(), PkiError> {
        let make = |source| PkiError::Make { what: "the service account key".to_owned(), source };
        let (key, public) = (self.layout.pki("sa.key"), self.layout.pki("sa.pub"));
        let keys = match (read(&key)?, read(&public)?) {
            (Some(private), _) => ServiceAccountKeys::load(&private).map_err(make)?,
            (None, Some(_)) => return Err(PkiError::Half { missing: key, there: public }),
            (None, None) => {
                let keys = ServiceAccountKeys::generate(KeyAlgorithm::EcdsaP256).map_err(make)?;
                keep(key, &keys.private_pem, 0o600)?;
                keys
            }
        };
        keep(public, &keys.public_pem, 0o644)
    }

    fn issue(&self, request: &LeafRequest, ca: &Ca) -> Result<KeyPairPem, PkiError> {
        let request = LeafRequest { algorithm: KeyAlgorithm::EcdsaP256, ..request.clone() };
        issue(&request, ca, self.now).map_err(|source| PkiError::Make {
            what: format!("the certificate of {}", request.common_name),
            source,
        })
    }

    fn leaf(&self, name: &str, request: LeafRequest, ca: &Ca) -> Result<(), PkiError> {
        let pair = self.issue(&request, ca)?;
        self.write(self.layout.pki(&format!("{name}.key")), &pair.key_pem, 0o600)?;
        self.write(self.layout.pki(&format!("{name}.crt")), &pair.certificate_pem, 0o644)
    }

    fn kubeconfig(
        &self,
        file: &str,
        cluster: &str,
        server: &str,
        request: &LeafRequest,
        ca: &Ca,
    ) -> Result<(), PkiError> {
        let identity = ClientIdentity::Certificate(self.issue(request, ca)?);
        let kubeconfig = Kubeconfig {
            cluster: cluster.to_owned(),
            server: server.to_owned(),
            tls_server_name: None,
            ca_pem: ca.certificate_pem().to_owned(),
            user: request.common_name.clone(),
            identity,
        };
        let text = kubeconfig
            .render()
            .map_err(|source| PkiError::Make { what: format!("the kubeconfig {file}"), source })?;
        self.write(self.layout.at(file), &text, 0o600)
    }

    fn write(&self, path: PathBuf, text: &str, mode: u32) -> Result<(), PkiError> {
        files::replace(&path, text.as_bytes(), mode).map_err(|source| PkiError::File { path, source })
    }
}

/// A file's text; `None` only when it is not there.
fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { path: path.to_path_buf(), source }),
    }
}

/// Writes what the site cannot be without ever after.
fn keep(path: PathBuf, text: &str, mode: u32) -> Result<(), PkiError> {
    files::write(&path, text.as_bytes(), mode).map_err(|source| PkiError::File { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SiteName;

    fn pki(dir: &Path) -> (Layout, Ca, Timestamp) {
        let layout = Layout::new(SiteName::new("lab").unwrap(), dir.to_owned());
        let now = "2026-11-23T00:00:00Z".parse().unwrap();
        let ca = Writer { layout: &layout, now }.authority("etcd-tenants-ca", "etcd-tenants-ca").unwrap();
        (layout, ca, now)
    }

    #[test]
    fn an_authority_is_kept_and_half_of_one_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, first, now) = pki(dir.path());
        let again = || Writer { layout: &layout, now }.authority("etcd-tenants-ca", "etcd-tenants-ca");
        assert_eq!(again().unwrap().certificate_pem(), first.certificate_pem());
        for (missing, there) in [("key", "crt"), ("crt", "key")] {
            let path = layout.pki(&format!("etcd-tenants-ca.{missing}"));
            let kept = fs::read_to_string(&path).unwrap();
            fs::remove_file(&path).unwrap();
            let error = again().unwrap_err().to_string();
            assert!(error.contains(&format!("etcd-tenants-ca.{missing} is missing")), "{error}");
            assert!(!path.exists() && layout.pki(&format!("etcd-tenants-ca.{there}")).exists());
            fs::write(&path, kept).unwrap();
        }
        // Unreadable is not absent.
        let key = layout.pki("etcd-tenants-ca.key");
        fs::remove_file(&key).unwrap();
        fs::create_dir(&key).unwrap();
        assert!(matches!(again(), Err(PkiError::File { path, .. }) if path == key));
    }

    #[test]
    fn a_lost_service_account_key_is_told_and_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, _, now) = pki(dir.path());
        let writer = Writer { layout: &layout, now };
        writer.service_account_keys().unwrap();
        let key = fs::read_to_string(layout.pki("sa.key")).unwrap();
        writer.service_account_keys().unwrap();
        assert_eq!(fs::read_to_string(layout.pki("sa.key")).unwrap(), key);
        fs::remove_file(layout.pki("sa.key")).unwrap();
        assert!(matches!(writer.service_account_keys(), Err(PkiError::Half { .. })));
    }
}
