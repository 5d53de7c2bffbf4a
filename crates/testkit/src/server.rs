//! A real kube-apiserver over a real etcd.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::certificates::Authority;
use crate::etcd::Etcd;
use crate::process::{Process, free_port, kube_binary};

/// A kube-apiserver on loopback with its etcd. Ends, and its data with it, when dropped; that of
/// [`server`] when the test binary ends.
pub struct ApiServer {
    kubeconfig: Kubeconfig,
    url: String,
    etcd: Etcd,
    dir: PathBuf,
    process: Process,
    ready_after: Duration,
    authority: (String, String),
    _temporary: tempfile::TempDir,
}

/// What starting an API server gives.
struct Started {
    process: Process,
    etcd: Etcd,
    kubeconfig: Kubeconfig,
    url: String,
    ready_after: Duration,
    authority: (String, String),
}

/// The API server that all tests of a binary share: it is asked for its client and namespaces only.
///
/// # Panics
/// When it does not start: the test has failed.
pub async fn server() -> &'static ApiServer {
    static SERVER: tokio::sync::OnceCell<&'static ApiServer> = tokio::sync::OnceCell::const_new();
    SERVER.get_or_init(lasting).await
}

/// Another one that all tests of a binary share, for what goes from one management cluster to another.
///
/// # Panics
/// When it does not start: the test has failed.
pub async fn second_server() -> &'static ApiServer {
    static SERVER: tokio::sync::OnceCell<&'static ApiServer> = tokio::sync::OnceCell::const_new();
    SERVER.get_or_init(lasting).await
}

/// An API server that lasts as long as the test binary.
async fn lasting() -> &'static ApiServer {
    let server = ApiServer::start().await.unwrap_or_else(|error| panic!("no API server: {error:#}"));
    CLEANUP.lock().unwrap_or_else(PoisonError::into_inner).push(server.dir.clone());
    Box::leak(Box::new(server))
}

/// Folders to remove when the test binary ends; its processes die with it by their death signal.
static CLEANUP: LazyLock<Mutex<Vec<PathBuf>>> = LazyLock::new(|| {
    extern "C" fn remove() {
        for dir in CLEANUP.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
    // SAFETY: `remove` is a plain function without arguments, as atexit wants it, and does not unwind.
    unsafe { libc::atexit(remove) };
    Mutex::default()
});

/// Namespaces are never reused, so that tests cannot meet.
static NAMESPACES: AtomicU32 = AtomicU32::new(0);

impl ApiServer {
    /// Starts an API server of its own.
    ///
    /// # Errors
    /// When there is no binary, or it does not get ready within a minute.
    pub async fn start() -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("scute-apiserver-").tempdir()?;
        let dir = temporary.path().to_owned();
        let etcd_dir = dir.join("etcd");
        std::fs::create_dir(&etcd_dir)?;
        // Another process may take a free port first: try again with others.
        let mut failure = None;
        for _ in 0..3 {
            match Self::start_in(&dir, &etcd_dir).await {
                Ok(Started { process, etcd, kubeconfig, url, ready_after, authority }) => {
                    return Ok(Self {
                        kubeconfig,
                        url,
                        etcd,
                        dir,
                        process,
                        ready_after,
                        authority,
                        _temporary: temporary,
                    });
                }
                Err(error) => failure = Some(error),
            }
            let _ = std::fs::remove_dir_all(etcd_dir.join("data"));
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("never tried")))
    }

    async fn start_in(dir: &std::path::Path, etcd_dir: &std::path::Path) -> Result<Started> {
        let etcd = Etcd::start_in(etcd_dir)?;
        let (etcd_certificate, etcd_key) = etcd.client_certificate("root")?;
        let ca = Authority::new("kubernetes")?;
        let (certificate, key) = ca.issue("kube-apiserver", &[], true)?;
        let (admin, admin_key) = ca.issue("kubernetes-admin", &["system:masters"], false)?;
        let service_account = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let write = |name: &str, text: &str| -> Result<String> {
            let path = dir.join(name);
            std::fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let port = free_port()?;
        let arguments = [
            "kube-apiserver".to_owned(),
            format!("--etcd-servers={}", etcd.endpoint),
            format!("--etcd-cafile={}", write("etcd-ca.crt", &etcd.ca_certificate)?),
            format!("--etcd-certfile={}", write("etcd.crt", &etcd_certificate)?),
            format!("--etcd-keyfile={}", write("etcd.key", &etcd_key)?),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", write("server.crt", &certificate)?),
            format!("--tls-private-key-file={}", write("server.key", &key)?),
            format!("--client-ca-file={}", write("ca.crt", &ca.certificate)?),
            format!("--service-account-key-file={}", write("sa.pub", &service_account.public_key_pem())?),
            format!(
                "--service-account-signing-key-file={}",
                write("sa.key", &service_account.serialize_pem())?
            ),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            // No controller-manager makes the default ServiceAccount that Pods would need.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--v=0".to_owned(),
        ];
        let program = kube_binary()?;
        let started = std::time::Instant::now();
        let mut process = Process::start(&program, &arguments, &dir.join("kube-apiserver.log"))?;
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = kubeconfig(&url, &ca.certificate, &admin, &admin_key)?;
        let client = client(&kubeconfig).await?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            process.still_runs()?;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            match client.request_text(request).await {
                Ok(_) => break,
                Err(error) => anyhow::ensure!(tokio::time::Instant::now() < deadline, "never ready: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (ready_after, authority) = (started.elapsed(), (ca.certificate, ca.key));
        Ok(Started { process, etcd, kubeconfig, url, ready_after, authority })
    }

    /// Time from the start of the process until it was ready.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its process id.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// A client with every permission. Make one per test: it belongs to the test's runtime.
    ///
    /// # Panics
    /// When none can be made: the test has failed.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig).await.unwrap_or_else(|error| panic!("no client: {error:#}"))
    }

    /// A kubeconfig with every permission, as YAML.
    ///
    /// # Panics
    /// Never: a kubeconfig can always be written.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        serde_json::to_string(&self.kubeconfig).unwrap_or_default()
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Certificate and key of the authority of its server and clients, PEM: whoever has it can make clients of any user.
    #[must_use]
    pub fn authority(&self) -> (&str, &str) {
        (&self.authority.0, &self.authority.1)
    }

    /// Its etcd.
    #[must_use]
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// A new namespace whose name starts with `prefix`.
    ///
    /// # Panics
    /// When it cannot be created: the test has failed.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = format!("{prefix}-{}", NAMESPACES.fetch_add(1, Ordering::Relaxed));
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))
            .unwrap_or_else(|error| panic!("{error}"));
        Api::all(self.client().await)
            .create(&Default::default(), &namespace)
            .await
            .unwrap_or_else(|error| panic!("namespace {name}: {error}"));
        name
    }

    /// Installs CustomResourceDefinitions and waits until they are served.
    ///
    /// # Panics
    /// When the API server refuses one, naming it: the test has failed.
    pub async fn install_crds(&self, crds: Vec<CustomResourceDefinition>) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client().await);
        let params = PatchParams::apply("testkit").force();
        let mut refused = Vec::new();
        for crd in &crds {
            let name = crd.metadata.name.clone().unwrap_or_default();
            match api.patch(&name, &params, &Patch::Apply(crd)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) => refused.push(status.message.clone()),
                Err(error) => panic!("CustomResourceDefinition {name}: {error}"),
            }
        }
        assert!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
        for crd in &crds {
            let name = crd.metadata.name.clone().unwrap_or_default();
            crate::eventually(api.clone(), &name, "established", |crd: &CustomResourceDefinition| {
                let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
                conditions
                    .into_iter()
                    .any(|condition| condition.type_ == "Established" && condition.status == "True")
            })
            .await;
        }
    }

    /// Registers webhooks for these groups that call an admission server on loopback, for validation
    /// and for defaults. `certificate` is what it serves with; objects of `namespace` only.
    ///
    /// # Panics
    /// When the API server refuses: the test has failed.
    pub async fn install_webhooks(
        &self,
        name: &str,
        groups: &[&str],
        address: SocketAddr,
        ca: &str,
        namespace: &str,
    ) {
        for (kind, list, path) in [
            ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "mutate"),
            ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "validate"),
        ] {
            let body = webhook_configuration(
                kind,
                name,
                groups,
                &format!("https://{address}/{path}"),
                ca,
                namespace,
            );
            let uri = format!("/apis/admissionregistration.k8s.io/v1/{list}");
            let request = http::Request::post(uri)
                .header("content-type", "application/json")
                .body(body.to_string().into_bytes())
                .unwrap_or_else(|error| panic!("{error}"));
            let answer: Result<Value, _> = self.client().await.request(request).await;
            answer.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        }
    }

    /// A serving certificate for loopback, its key, and the authority to trust: PEM, in this order.
    ///
    /// # Panics
    /// When none can be made: the test has failed.
    #[must_use]
    pub fn serving_certificate(&self) -> (String, String, String) {
        let issue = || -> Result<_> {
            let ca = Authority::new("webhooks")?;
            let (certificate, key) = ca.issue("webhook", &[], true)?;
            Ok((certificate, key, ca.certificate))
        };
        issue().unwrap_or_else(|error| panic!("{error:#}"))
    }
}

fn webhook_configuration(
    kind: &str,
    name: &str,
    groups: &[&str],
    url: &str,
    ca: &str,
    namespace: &str,
) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": name },
        "webhooks": [{
            "name": format!("{name}.testkit.scute.dev"),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": { "url": url, "caBundle": k8s_openapi::ByteString(ca.as_bytes().to_vec()) },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "rules": [{
                "apiGroups": groups,
                "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE", "DELETE"],
                "resources": ["*"],
                // What has no namespace would match every selector, so every test.
                "scope": "Namespaced",
            }],
        }],
    })
}

fn kubeconfig(url: &str, ca: &str, certificate: &str, key: &str) -> Result<Kubeconfig> {
    let data = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": url, "certificate-authority-data": data(ca) } }],
        "users": [{ "name": "admin", "user": {
            "client-certificate-data": data(certificate), "client-key-data": data(key),
        } }],
        "contexts": [{ "name": "admin@test", "context": { "cluster": "test", "user": "admin" } }],
        "current-context": "admin@test",
    }))
    .context("making a kubeconfig")
}

async fn client(kubeconfig: &Kubeconfig) -> Result<Client> {
    // Another part of the test may have installed it already: then all is well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
