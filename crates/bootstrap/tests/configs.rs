//! KubeadmConfigs on a real API server, which plays the tenant too.

use std::sync::LazyLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use scute_kit::Hub;
use scute_kit::tenants::Tenants;
use scute_kubeadm::cloud_config::{JOIN_CONFIGURATION, SENTINEL};
use scute_testkit::ApiServer;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

#[path = "configs/control_planes.rs"]
mod control_planes;

/// Short, so that a test can see a token being extended.
const TTL: Duration = Duration::from_secs(6);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

async fn server() -> &'static ApiServer {
    static STARTED: tokio::sync::OnceCell<&'static ApiServer> = tokio::sync::OnceCell::const_new();
    STARTED
        .get_or_init(|| async {
            let server = scute_testkit::server().await;
            server.install_crds(scute_api::crds()).await;
            let hub = Hub::new(server.client().await);
            let mut tasks = JoinSet::new();
            let config = scute_bootstrap::Config { token_ttl: TTL };
            scute_bootstrap::spawn(&hub, &Tenants::new(&hub), config, &mut tasks);
            // It runs as long as the binary.
            std::mem::forget(tasks);
            server
        })
        .await
}

struct Case {
    namespace: String,
    client: Client,
    kubeconfig: String,
}

impl Case {
    /// A namespace with a Cluster `c` and a Machine `m` that wants the KubeadmConfig `m`.
    async fn new() -> Self {
        let server = server().await;
        let case = Self {
            namespace: server.namespace("config").await,
            client: server.client().await,
            kubeconfig: server.kubeconfig(),
        };
        let reference =
            |kind: &str| json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": kind, "name": "c"});
        case.create(
            "Cluster",
            "c",
            json!({"spec": {"infrastructureRef": reference("X"),
            "controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}}}),
        )
        .await;
        case.create("Machine", "m", json!({"spec": {"clusterName": "c", "version": "v1.35.4",
            "infrastructureRef": reference("Y"),
            "bootstrap": {"configRef": {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": "m"}}}})).await;
        case
    }

    fn resource(kind: &str) -> ApiResource {
        let (group, version) = match kind {
            "Secret" | "ConfigMap" => ("", "v1"),
            "KubeadmConfig" => ("bootstrap.cluster.x-k8s.io", "v1beta2"),
            _ => ("cluster.x-k8s.io", "v1beta2"),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &Self::resource(kind))
    }

    async fn create(&self, kind: &str, name: &str, mut object: Value) -> DynamicObject {
        object["metadata"]["name"] = json!(name);
        object["apiVersion"] = json!(Self::resource(kind).api_version);
        object["kind"] = json!(kind);
        let object = serde_json::from_value(object).expect("an object");
        let made = self.api(kind).create(&PostParams::default(), &object).await;
        made.unwrap_or_else(|error| panic!("{kind} {name}: {error}"))
    }

    /// A KubeadmConfig that the Machine owns, as the Machine controller would make it.
    async fn config(&self, spec: Value) {
        let machine = self.api("Machine").get("m").await.expect("the Machine");
        let owner = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": "m",
            "uid": machine.uid(), "controller": true});
        let metadata = json!({"ownerReferences": [owner], "labels": {"cluster.x-k8s.io/cluster-name": "c"}});
        self.create("KubeadmConfig", "m", json!({"metadata": metadata, "spec": spec})).await;
    }

    async fn status(&self, kind: &str, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        let done = self.api(kind).patch_status(name, &PatchParams::default(), &patch).await;
        done.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    async fn secrets(&self) {
        let ca = scute_pki::Ca::generate(
            "kubernetes",
            scute_pki::CA_VALIDITY,
            scute_pki::KeyAlgorithm::EcdsaP256,
            jiff::Timestamp::now(),
        );
        let ca = ca.expect("a CA");
        self.create(
            "Secret",
            "c-ca",
            json!({"type": "cluster.x-k8s.io/secret",
            "stringData": {"tls.crt": ca.certificate_pem(), "tls.key": "unused"}}),
        )
        .await;
        self.create("Secret", "c-kubeconfig", json!({"stringData": {"value": self.kubeconfig}})).await;
    }

    async fn initialized(&self) {
        self.status(
            "Cluster",
            "c",
            json!({"initialization": {"infrastructureProvisioned": true, "controlPlaneInitialized": true}}),
        )
        .await;
    }

    async fn waits(&self, reason: &str) -> String {
        let is = |config: &DynamicObject| condition(config, "DataSecretAvailable")["reason"] == reason;
        let config = scute_testkit::eventually(self.api("KubeadmConfig"), "m", reason, is).await;
        condition(&config, "DataSecretAvailable")["message"].as_str().unwrap_or_default().to_owned()
    }

    async fn made(&self) -> DynamicObject {
        let is =
            |config: &DynamicObject| config.data["status"]["initialization"]["dataSecretCreated"] == true;
        scute_testkit::eventually(self.api("KubeadmConfig"), "m", "made", is).await
    }

    /// The text for cloud-init.
    async fn text(&self) -> String {
        let secret = Api::<Secret>::namespaced(self.client.clone(), &self.namespace)
            .get("m")
            .await
            .expect("the Secret");
        let value = secret.data.and_then(|mut data| data.remove("value")).expect("a value");
        String::from_utf8(value.0).expect("text")
    }

    fn tokens(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), "kube-system")
    }
}

fn condition<'a>(object: &'a DynamicObject, type_: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let conditions = object.data["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|condition| condition["type"] == type_)).unwrap_or(&NONE)
}

fn data(secret: &Secret, key: &str) -> String {
    let bytes =
        secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.clone()).unwrap_or_default();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn a_worker_waits_for_everything_it_needs_and_then_gets_its_data() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        case.config(json!({"preKubeadmCommands": ["echo hello"]})).await;
        case.waits("WaitingForClusterInfrastructureReady").await;
        case.status("Cluster", "c", json!({"initialization": {"infrastructureProvisioned": true}})).await;
        case.waits("WaitingForControlPlaneInitialized").await;
        case.initialized().await;
        let message = case.waits("WaitingForCertificates").await;
        assert_eq!(message, "Secret c-ca does not exist");
        assert!(
            case.api("Secret").get_opt("m").await.expect("an answer").is_none(),
            "nothing is made too early"
        );
        case.secrets().await;

        let config = case.made().await;
        assert_eq!(config.data["status"]["dataSecretName"], "m");
        let discovery = &config.data["spec"]["joinConfiguration"]["discovery"]["bootstrapToken"];
        assert_eq!(discovery["apiServerEndpoint"], "10.0.0.1:6443");
        assert!(
            discovery["caCertHashes"][0]
                .as_str()
                .is_some_and(|hash| hash.starts_with("sha256:") && hash.len() == 71)
        );
        let token = discovery["token"].as_str().expect("a token").to_owned();

        let secret =
            Api::<Secret>::namespaced(case.client.clone(), &case.namespace).get("m").await.expect("there");
        assert_eq!(secret.type_.as_deref(), Some("cluster.x-k8s.io/secret"));
        assert_eq!(data(&secret, "format"), "cloud-config");
        assert_eq!(secret.labels()["cluster.x-k8s.io/cluster-name"], "c");
        let owner = &secret.owner_references()[0];
        assert_eq!((owner.kind.as_str(), owner.controller), ("KubeadmConfig", Some(true)));
        let text = case.text().await;
        assert!(text.starts_with("## template: jinja\n#cloud-config\n"));
        assert!(text.contains(&token) && text.contains("echo hello"));

        let (id, _) = token.split_once('.').expect("two parts");
        let known =
            case.tokens().get(&format!("bootstrap-token-{id}")).await.expect("the tenant knows the token");
        assert_eq!(known.type_.as_deref(), Some("bootstrap.kubernetes.io/token"));
        assert_eq!(data(&known, "auth-extra-groups"), "system:bootstrappers:kubeadm:default-node-token");
        assert_eq!(
            (data(&known, "usage-bootstrap-signing"), data(&known, "usage-bootstrap-authentication")),
            ("true".into(), "true".into())
        );
        for (type_, config) in
            ["Ready", "DataSecretAvailable", "CertificatesAvailable"].map(|type_| (type_, &config))
        {
            assert_eq!(condition(config, type_)["status"], "True", "{type_}");
        }
        let conditions = config.data["status"]["conditions"].to_string();
        assert!(!conditions.contains(&token), "a token is never told");
    });
}

#[test]
fn a_token_is_extended_until_the_node_is_there_and_comes_back_when_it_is_lost() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        case.initialized().await;
        case.secrets().await;
        case.config(json!({})).await;
        let config = case.made().await;
        let token = config.data["spec"]["joinConfiguration"]["discovery"]["bootstrapToken"]["token"].clone();
        let name = format!(
            "bootstrap-token-{}",
            token.as_str().and_then(|token| token.split('.').next()).expect("an id")
        );
        let first = data(&case.tokens().get(&name).await.expect("the token"), "expiration");
        scute_testkit::eventually(case.tokens(), &name, "extended", |secret| {
            data(secret, "expiration") > first
        })
        .await;
        case.tokens().delete(&name, &Default::default()).await.expect("deleted");
        scute_testkit::eventually(case.tokens(), &name, "made again", |_| true).await;
        let again = case.api("KubeadmConfig").get("m").await.expect("there");
        assert_eq!(again.data["spec"]["joinConfiguration"]["discovery"]["bootstrapToken"]["token"], token);

        case.status("Machine", "m", json!({"nodeRef": {"name": "n"}})).await;
        // One more look may be on its way; after that, three lives of a token pass without a change.
        tokio::time::sleep(TTL / 3).await;
        let last = data(&case.tokens().get(&name).await.expect("the token"), "expiration");
        tokio::time::sleep(TTL).await;
        assert_eq!(data(&case.tokens().get(&name).await.expect("the token"), "expiration"), last);
    });
}

#[test]
fn what_the_user_gives_is_kept() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        case.initialized().await;
        case.secrets().await;
        let token = "abc123.0123456789abcdef";
        case.config(json!({"joinConfiguration": {
            "nodeRegistration": {"name": "{{ ds.meta_data.hostname }}", "kubeletExtraArgs": [{"name": "v", "value": "2"}]},
            "discovery": {"bootstrapToken": {"token": token, "apiServerEndpoint": "mine:443", "unsafeSkipCAVerification": true}}}})).await;
        case.made().await;
        let text = case.text().await;
        for part in [token, "mine:443", "{{ ds.meta_data.hostname }}", "unsafeSkipCAVerification: true"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("caCertHashes"));
    });
}

#[test]
fn a_file_waits_for_its_secret() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        case.initialized().await;
        case.secrets().await;
        case.config(
            json!({"files": [{"path": "/etc/x", "contentFrom": {"secret": {"name": "later", "key": "k"}}}]}),
        )
        .await;
        assert_eq!(case.waits("WaitingForSecret").await, "Secret later with key \"k\" does not exist");
        case.create("Secret", "later", json!({"stringData": {"k": "from a Secret"}})).await;
        case.made().await;
        assert!(case.text().await.contains("from a Secret"));
    });
}

#[test]
fn a_lost_status_is_restored_without_new_data() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        case.initialized().await;
        case.secrets().await;
        let given = Patch::Merge(json!({"spec": {"bootstrap": {"dataSecretName": "m"}}}));
        case.api("Machine").patch("m", &PatchParams::default(), &given).await.expect("patched");
        case.config(json!({})).await;
        let config = case.made().await;
        assert_eq!(config.data["status"]["dataSecretName"], "m");
        assert!(
            config.data["spec"]["joinConfiguration"].is_null(),
            "no token is made for a Machine that has booted"
        );
        assert!(case.api("Secret").get_opt("m").await.expect("an answer").is_none());
    });
}

#[test]
fn a_name_that_is_taken_is_told() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        case.initialized().await;
        case.secrets().await;
        case.create("Secret", "m", json!({"stringData": {"mine": "1"}})).await;
        case.config(json!({})).await;
        case.waits("SecretNameTaken").await;
        let kept =
            Api::<Secret>::namespaced(case.client.clone(), &case.namespace).get("m").await.expect("there");
        assert_eq!(data(&kept, "mine"), "1");
    });
}

#[test]
fn bad_configurations_are_refused_at_the_door() {
    RUNTIME.block_on(async {
        let case = Case::new().await;
        let file = json!({"path": "/x", "content": "a"});
        let cases = [
            (json!({"files": [{"path": "/x", "content": "a", "contentFrom": {"secret": {"name": "s", "key": "k"}}}]}), "only one of content and contentFrom"),
            (json!({"files": [file, file]}), "every path may appear once"),
            (json!({"users": [{"name": "u", "passwd": "x", "passwdFrom": {"secret": {"name": "s", "key": "k"}}}]}), "only one of passwd and passwdFrom"),
            (json!({"users": [{"name": "capk"}, {"name": "ops"}, {"name": "capk"}]}), "every name may appear once"),
            (json!({"files": [{"path": JOIN_CONFIGURATION, "content": "a"}]}), "this file is written by the bootstrap provider"),
            (json!({"files": [{"path": SENTINEL, "content": "success"}]}), "this file is written by the bootstrap provider"),
            (json!({"format": "toml"}), "spec.format"),
            (json!({"files": [{"path": "/x", "content": "x".repeat(10241)}]}), "spec.files[0].content"),
        ];
        for (spec, want) in cases {
            let object = json!({"apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfig",
                "metadata": {"name": "bad"}, "spec": spec});
            let object: DynamicObject = serde_json::from_value(object).expect("an object");
            let error = case.api("KubeadmConfig").create(&PostParams::default(), &object).await;
            let error = error.expect_err(want).to_string();
            assert!(error.contains(want), "{want:?} is missing in {error}");
        }
        // A template without a spec is fine.
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("bootstrap.cluster.x-k8s.io", "v1beta2", "KubeadmConfigTemplate"));
        let api: Api<DynamicObject> = Api::namespaced_with(case.client.clone(), &case.namespace, &resource);
        api.create(&PostParams::default(), &DynamicObject::new("t", &resource)).await.expect("accepted");
        let typed = Api::<scute_api::bootstrap::KubeadmConfigTemplate>::namespaced(case.client.clone(), &case.namespace);
        assert_eq!(typed.get("t").await.expect("readable").spec.spec, None);
    });
}
