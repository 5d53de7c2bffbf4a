//! The same cluster by the real kubeadm (`kubeadm init --dry-run`) and by this crate, object by object. Needs the
//! multi-call Kubernetes binary: `SCUTE_KUBE`, or the cache that `cargo xtask components` fills.

use scute_kubeadm::{
    ClusterFacts, KUBERNETES_VERSION, addons,
    addons::ImageOverride,
    bootstrap_token,
    cloud_config::CloudConfig,
    join::{BootstrapTokenDiscovery, Discovery, JoinConfiguration},
    join_objects, kubelet_config,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const INIT: &str = "\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: abcdef.0123456789abcdef}]
localAPIEndpoint: {advertiseAddress: 172.30.0.130, bindPort: 6443}
nodeRegistration: {criSocket: 'unix:///nowhere.sock', name: any}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
encryptionAlgorithm: ECDSA-P256
kubernetesVersion: v1.35.4
clusterName: first-tenant
controlPlaneEndpoint: 172.30.0.130:6443
networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}
";

fn kube() -> PathBuf {
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        let cache = std::env::var_os("SCUTE_CACHE").map(PathBuf::from).or_else(|| Some(cache?.join("scute")));
        cache.expect("HOME is set").join(format!("bin/kube-{KUBERNETES_VERSION}"))
    };
    let path = std::env::var_os("SCUTE_KUBE").map_or_else(cache, PathBuf::from);
    assert!(path.exists(), "{} is missing: run `cargo xtask components`", path.display());
    path
}

fn kubeadm(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(kube())
        .arg("kubeadm")
        .args(arguments)
        .env("KUBEADM_INIT_DRYRUN_DIR", dir)
        .current_dir(dir)
        .output()
        .expect("kubeadm starts")
}

type Objects = BTreeMap<(String, String, String), Value>;

fn key(object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    (text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// Every object that the real kubeadm would create.
fn upstream() -> Objects {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("init.yaml"), INIT).unwrap();
    let arguments = ["init", "--dry-run", "--config", "init.yaml", "--ignore-preflight-errors=all"];
    let output = kubeadm(dir.path(), &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let blocks = text.split("Would perform action CREATE on resource ").skip(1);
    let documents = blocks.filter_map(|block| block.split_once("Attached object:\n"));
    let objects = documents.map(|(_, rest)| {
        // A document ends at the next line of kubeadm's own log.
        let lines = rest.lines().take_while(|line| !line.starts_with('['));
        let yaml: String = lines.map(|line| format!("{line}\n")).collect();
        let object: Value = serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
        (key(&object), object)
    });
    let objects: Objects = objects.collect();
    assert!(objects.len() > 20, "kubeadm printed too little:\n{}", String::from_utf8_lossy(&output.stderr));
    objects
}

fn ours(ca_pem: &str) -> Objects {
    let version = KUBERNETES_VERSION.parse().unwrap();
    let facts = ClusterFacts::new("first-tenant", version, "172.30.0.130", 6443, ca_pem);
    let image = ImageOverride::default();
    let mut objects = join_objects(&facts, &kubelet_config(&facts)).unwrap();
    objects.extend(addons::coredns(&facts, &image));
    objects.extend(addons::kube_proxy(&facts, &image).unwrap());
    objects.into_iter().map(|object| (key(&object), object)).collect()
}

/// Brings both to one form: lists sorted, texts that are YAML read, and in those (component configuration, where the
/// zero value of a field is its absence) zeros left out.
fn normal(value: &Value, zeros: bool) -> Value {
    match value {
        Value::Object(entries) => {
            let kept = entries.iter().filter(|(name, _)| !IGNORED.contains(&name.as_str()));
            let kept = kept.map(|(name, value)| (name.clone(), normal(value, zeros)));
            Value::Object(kept.filter(|(_, value)| !empty(value) && (zeros || !zero(value))).collect())
        }
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(|item| normal(item, zeros)).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::String(text) if text.contains(": ") && text.contains('\n') => {
            serde_saphyr::from_str(text).map_or_else(|_| value.clone(), |inner: Value| normal(&inner, false))
        }
        other => other.clone(),
    }
}

/// Hashes of texts that are equal in meaning only; our label; what the fake API server adds; the group that it leaves
/// out of subjects; and the etcd that a hosted control plane's Nodes are told nothing about.
const IGNORED: [&str; 7] = [
    "kubeadm.kubernetes.io/component-config.hash",
    "kamaji.clastix.io/project",
    "resourceVersion",
    "creationTimestamp",
    "status",
    "apiGroup",
    "etcd",
];

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

fn zero(value: &Value) -> bool {
    [json!(false), json!(0), json!(""), json!("0"), json!("0s")].contains(value)
}

#[test]
fn objects_are_those_of_kubeadm() {
    let upstream = upstream();
    let info = ("ConfigMap".to_owned(), "kube-public".to_owned(), "cluster-info".to_owned());
    let info = upstream[&info]["data"]["kubeconfig"].as_str().unwrap();
    let info: Value = serde_saphyr::from_str(info).unwrap();
    let ca = info["clusters"][0]["cluster"]["certificate-authority-data"].as_str().unwrap();
    let ca = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, ca).unwrap();
    let mut ours = ours(&String::from_utf8(ca).unwrap());

    // On purpose: nftables, limits of conntrack left alone, and a binding that kubeadm has since 1.36.
    let proxy = ours.get_mut(&("ConfigMap".into(), "kube-system".into(), "kube-proxy".into())).unwrap();
    let text = proxy["data"]["config.conf"].as_str().unwrap().replace("mode: nftables", "mode: ''");
    proxy["data"]["config.conf"] = json!(text);
    let binding =
        ours.remove(&("ClusterRoleBinding".into(), String::new(), "kubeadm:apiserver-kubelet-client".into()));
    assert!(binding.is_some());

    for (key, theirs) in &upstream {
        // The token is made when a Node is bootstrapped; the Node itself and the admin binding's probe are not ours.
        if key.0 == "Secret" || key.0 == "Node" {
            continue;
        }
        let own = ours.remove(key).unwrap_or_else(|| panic!("{key:?} is missing"));
        let (own, theirs) = (normal(&own, true), normal(theirs, true));
        assert_eq!(own, theirs, "{key:?}\nours:\n{own:#}\nkubeadm's:\n{theirs:#}");
    }
    let admins = ("ClusterRoleBinding".into(), String::new(), "kubeadm:cluster-admins".into());
    ours.remove(&admins);
    assert!(ours.is_empty(), "kubeadm has no {:?}", ours.keys());
}

#[test]
fn the_token_is_that_of_kubeadm() {
    let upstream = upstream();
    let theirs = &upstream[&("Secret".into(), "kube-system".into(), "bootstrap-token-abcdef".into())];
    let decode = |value: &Value| {
        let bytes =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value.as_str().unwrap());
        String::from_utf8(bytes.unwrap()).unwrap()
    };
    let theirs: BTreeMap<_, _> = theirs["data"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), decode(value)))
        .collect();
    let own = bootstrap_token::secret("abcdef", "0123456789abcdef", &theirs["expiration"], "");
    let own: BTreeMap<String, String> = serde_json::from_value(own["stringData"].clone()).unwrap();
    let own: BTreeMap<_, _> = own.into_iter().filter(|(name, _)| name != "description").collect();
    assert_eq!(own, theirs);
}

#[test]
fn kubeadm_reads_the_join_configuration() {
    let join = JoinConfiguration {
        discovery: Discovery {
            bootstrap_token: Some(BootstrapTokenDiscovery {
                token: "abcdef.0123456789abcdef".into(),
                api_server_endpoint: Some("172.30.0.130:6443".into()),
                ca_cert_hashes: vec![format!("sha256:{}", "ab".repeat(32))],
                unsafe_skip_ca_verification: false,
            }),
            ..Discovery::default()
        },
        ..JoinConfiguration::default()
    }
    .with_uninitialized_taint();
    let yaml = join.render().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let validate = |yaml: &str| {
        std::fs::write(dir.path().join("join.yaml"), yaml).unwrap();
        kubeadm(dir.path(), &["config", "validate", "--config", "join.yaml"])
    };
    let output = validate(&yaml);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The check itself: kubeadm does refuse what it does not know.
    assert!(!validate(&yaml.replace("bootstrapToken:", "bootstrapTicket:")).status.success());
    let cloud_config = CloudConfig::join(&yaml, None).render().unwrap();
    let document: Value = serde_saphyr::from_str(&cloud_config).unwrap();
    assert_eq!(document["write_files"][0]["content"], json!(format!("---\n{yaml}")));
}
