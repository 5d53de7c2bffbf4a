//! `scute install` into a cluster that is no site: two managers that make their certificate themselves, of which one works and
//! the other takes over.

mod helm;
mod monitoring;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, Resource};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use scute_testkit::{ApiServer, Process, eventually, free_port, until};
use serde_json::{Value, json};

const NAMESPACE: &str = "scute-system";
const SECRET: &str = "scute-webhook-tls";

fn install(kubeconfig: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scute"));
    command.arg("install").args(arguments).arg("--kubeconfig").arg(kubeconfig).env_remove("KUBECONFIG");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A manager as its Pod would run it.
struct Manager {
    process: Process,
    log: PathBuf,
    webhooks: u16,
    health: u16,
}

impl Manager {
    fn start(folder: &Path, kubeconfig: &Path, name: &str) -> Self {
        let config = folder.join("config.yaml");
        std::fs::write(&config, format!("webhookSecret: {SECRET}\netcd: {{}}\n")).unwrap();
        let (webhooks, health) = (free_port().unwrap(), free_port().unwrap());
        let arguments = [
            format!("KUBECONFIG={}", kubeconfig.display()),
            env!("CARGO_BIN_EXE_scute").to_owned(),
            "manager".to_owned(),
            format!("--config={}", config.display()),
            format!("--webhook-port={webhooks}"),
            format!("--health-port={health}"),
        ];
        let log = folder.join(name);
        let process = Process::start(Path::new("/usr/bin/env"), &arguments, &log).unwrap();
        Self { process, log, webhooks, health }
    }

    fn works(&self) -> bool {
        std::fs::read_to_string(&self.log).unwrap().contains("lease taken")
    }

    /// Asks for a review, as the API server does: by the Service's name, trusting this authority.
    async fn review(&self, ca: &ByteString) -> Option<Value> {
        let mut config = kube::Config::new(format!("https://127.0.0.1:{}", self.webhooks).parse().unwrap());
        let trusted = CertificateDer::pem_slice_iter(&ca.0).map(|der| der.unwrap().to_vec()).collect();
        (config.root_cert, config.tls_server_name) =
            (Some(trusted), Some(format!("scute-webhook.{NAMESPACE}.svc")));
        let review = json!({"request": {
            "uid": "1", "operation": "CREATE", "kind": {"group": "cluster.x-k8s.io", "version": "v1beta2", "kind": "Cluster"},
            "object": {"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"}, "spec": {"paused": "yes"}},
        }});
        let request = http::Request::post("/validate").header("content-type", "application/json");
        let request = request.body(review.to_string().into_bytes()).unwrap();
        let answer: Value = Client::try_from(config).unwrap().request(request).await.ok()?;
        Some(answer["response"]["allowed"].clone())
    }

    async fn is_ready(&self) -> bool {
        self.says("/readyz").await.is_ok()
    }

    /// What its probe server says.
    async fn says(&self, path: &str) -> Result<String, kube::Error> {
        let config = kube::Config::new(format!("http://127.0.0.1:{}", self.health).parse().unwrap());
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        Client::try_from(config).unwrap().request_text(request).await
    }
}

/// What a cluster's own controllers would say of the Deployment.
async fn available(client: &Client) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let made = eventually(api.clone(), "scute-manager", "a Deployment", |_| true).await;
    assert_eq!(made.spec.as_ref().and_then(|spec| spec.replicas), Some(2));
    let status = json!({"status": {"observedGeneration": made.metadata.generation, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2,
        "availableReplicas": 2}});
    let params = PatchParams::default();
    api.patch_status("scute-manager", &params, &Patch::Merge(status)).await.unwrap();
}

/// The authority in everything that has the API server call the manager, once it is one and the same.
async fn trusted(client: &Client) -> ByteString {
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    until("one authority everywhere", async || {
        let mut found = Vec::new();
        found.extend(
            validating
                .get("scute")
                .await
                .ok()?
                .webhooks?
                .into_iter()
                .map(|hook| hook.client_config.ca_bundle),
        );
        found.extend(
            mutating.get("scute").await.ok()?.webhooks?.into_iter().map(|hook| hook.client_config.ca_bundle),
        );
        assert_eq!(found.len(), 3);
        for definition in definitions.list(&Default::default()).await.ok()? {
            let webhook = definition.spec.conversion.and_then(|conversion| conversion.webhook);
            found.extend(webhook.map(|webhook| webhook.client_config.and_then(|config| config.ca_bundle)));
        }
        let first = found[0].clone()?;
        found.iter().all(|ca| ca.as_ref() == Some(&first)).then_some(first)
    })
    .await
}

async fn version<K>(api: Api<K>, name: &str) -> Option<String>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.get(name).await.unwrap().meta().resource_version.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_managers_make_their_certificate_and_one_takes_over() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    let installs = {
        let kubeconfig = kubeconfig.clone();
        tokio::task::spawn_blocking(move || install(&kubeconfig, &["--etcd=3"]))
    };
    available(&client).await;
    let done = installs.await.unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));

    let mut managers: Vec<_> = ["a", "b"].map(|name| Manager::start(folder.path(), &kubeconfig, name)).into();
    let first = trusted(&client).await;
    for manager in &managers {
        until("a review by each", async || {
            manager.review(&first).await.filter(|allowed| !allowed.as_bool().unwrap())
        })
        .await;
        until("each is ready", async || manager.is_ready().await.then_some(())).await;
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let holder = async || leases.get("scute-manager").await.unwrap().spec?.holder_identity;
    let before = holder().await;

    // Installed again, nothing changes: the authority stays where the manager has put it.
    let again = tokio::task::spawn_blocking({
        let kubeconfig = kubeconfig.clone();
        move || install(&kubeconfig, &["--etcd=3"])
    });
    assert!(again.await.unwrap().status.success());
    assert_eq!(trusted(&client).await, first);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let made = version(secrets.clone(), SECRET).await;
    // Nothing is stored in a version that a definition no longer needs to name.
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let old = json!({"status": {"storedVersions": ["v1beta1", "v1beta2"]}});
    let name = "machinedrainrules.cluster.x-k8s.io";
    definitions.patch_status(name, &PatchParams::default(), &Patch::Merge(&old)).await.unwrap();
    let one = |crd: &CustomResourceDefinition| {
        crd.status
            .as_ref()
            .and_then(|status| status.stored_versions.as_ref())
            .is_some_and(|all| all.len() == 1)
    };
    eventually(definitions, name, "stored in one version", one).await;
    // With an etcd, the one that works makes its certificates too.
    let members: Api<StatefulSet> = Api::namespaced(client.clone(), NAMESPACE);
    assert_eq!(members.get("etcd-tenants").await.unwrap().spec.unwrap().replicas, Some(3));
    eventually(secrets.clone(), "etcd-tenants-server", "made", |_| true).await;

    // The one that works dies; the other makes what is missing then.
    let dead = managers.iter().position(Manager::works).unwrap();
    managers.remove(dead).process.kill();
    secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
    let other = &managers[0];
    until("another holder", async || (holder().await != before).then_some(())).await;
    eventually(secrets.clone(), SECRET, "made anew", |secret| secret.metadata.resource_version != made).await;
    let second =
        until("another authority", async || Some(trusted(&client).await).filter(|ca| *ca != first)).await;
    until("a review", async || other.review(&second).await).await;
    assert!(other.works());
}

#[test]
fn what_is_printed_is_what_is_applied_and_holds_nothing_secret() {
    let nowhere = Path::new("/nonexistent");
    let printed = install(nowhere, &["--output=yaml", "--replicas=3", "--registry=registry.example/scute"]);
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let documents = text(&printed.stdout);
    let kinds: Vec<_> = documents.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "Namespace").count(), 1);
    let first = kinds.iter().position(|kind| *kind != "CustomResourceDefinition").unwrap();
    assert_eq!(kinds[first], "Namespace", "definitions, then the namespace, then what is in it");
    assert!(kinds.ends_with(&["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"]));
    assert!(
        !kinds.contains(&"Secret") && !documents.contains("PRIVATE KEY") && !documents.contains("caBundle")
    );
    assert!(
        documents.contains("image: registry.example/scute/scute:") && !documents.contains("scute.dev/scute:")
    );
    assert!(documents.contains("replicas: 3"));
    for (flag, why) in [("--replicas=0", "1..=9"), ("--etcd=2", "use 1, 3 or 5")] {
        let refused = install(nowhere, &[flag]);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(why), "{flag}: {said}");
    }
}
