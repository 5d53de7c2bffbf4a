//! `helm` judges the chart: it must render what `scute install` prints, whatever is chosen, and a release of it can be
//! installed, upgraded and taken away. `cargo xtask test` builds helm.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use scute_testkit::ApiServer;
use serde_json::{Value, json};

use crate::{NAMESPACE, install, text};

/// What becomes of objects when the release goes is said on definitions alone, and only by the chart.
const KEEP: &str = "helm.sh/resource-policy";

fn helm(folder: &Path, arguments: &[&str]) -> Output {
    let program = std::env::var("SCUTE_HELM").expect("cargo xtask test says where helm is");
    let mut command = Command::new(program);
    command.args(arguments).env_remove("KUBECONFIG");
    for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(home, folder.join("helm"));
    }
    command.output().unwrap()
}

/// What it prints; it must succeed.
fn helm_says(folder: &Path, arguments: &[&str]) -> String {
    let done = helm(folder, arguments);
    assert!(done.status.success(), "helm {arguments:?}: {}{}", text(&done.stderr), text(&done.stdout));
    text(&done.stdout)
}

fn chart(folder: &Path) -> String {
    let chart = folder.join("chart").to_str().unwrap().to_owned();
    let written = install(Path::new("/nonexistent"), &["--chart", &chart]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    chart
}

/// Objects by kind and name.
fn objects(yaml: &str) -> BTreeMap<(String, String), Value> {
    let documents = yaml.split("\n---").map(|document| document.trim_start_matches("---"));
    let documents = documents.filter(|document| document.lines().any(|line| line.starts_with("kind:")));
    let objects = documents.map(|document| {
        let object: Value = serde_saphyr::from_str(document).unwrap();
        let of = |value: &Value| value.as_str().unwrap().to_owned();
        ((of(&object["kind"]), of(&object["metadata"]["name"])), object)
    });
    objects.collect()
}

/// What the chart makes of these values, without what it alone says.
fn rendered(
    folder: &Path,
    chart: &str,
    namespace: &str,
    values: &Value,
) -> BTreeMap<(String, String), Value> {
    let file = folder.join("chosen.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let mut made = objects(&helm_says(folder, &["template", "scute", chart, "-n", namespace, "-f", file]));
    for ((kind, _), object) in &mut made {
        let annotations = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut);
        let kept = annotations.and_then(|annotations| annotations.remove(KEEP));
        assert_eq!(kept, (kind == "CustomResourceDefinition").then(|| json!("keep")));
        if object["metadata"]["annotations"] == json!({}) {
            object["metadata"].as_object_mut().unwrap().remove("annotations");
        }
    }
    made
}

#[test]
#[ignore = "cargo xtask test builds helm for it"]
fn helm_renders_what_the_command_prints_whatever_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let chart = chart(folder.path());
    helm_says(folder.path(), &["lint", "--strict", &chart]);
    let metal = json!({"networks": {"nodes": ["10.0.0.0/8"], "pods": [], "services": []}, "externalIPs": ["10.1.0.0/16"],
        "metal": {"serviceAddress": "10.0.0.5", "servicePort": 30100, "mediaPort": 30061, "ramdisk": "/ramdisk/ramdisk.iso",
            "images": {"node.qcow2": "/node/disk/node.qcow2"}}});
    let bare =
        json!({"metal": {"serviceAddress": "a", "servicePort": 30063, "mediaPort": 30061, "ramdisk": "/r"}});
    let etcd = json!({"members": 3, "storage": "8Gi", "storageClass": "fast", "image": "r.example/etcd:1"});
    let all = ["clusterapi", "kubeadm", "kamaji", "kubevirt", "metal3"];
    let mut choices = vec![
        (json!({}), vec![]),
        (json!({"replicas": 1, "registry": "r.example/x"}), vec!["--replicas=1", "--registry=r.example/x"]),
        (json!({"configuration": metal}), vec![]),
        (json!({"configuration": bare, "without": ["kubevirt"]}), vec!["--without=kubevirt"]),
        (json!({"without": all[1..]}), vec!["--without=kubeadm,kamaji,kubevirt,metal3"]),
        (json!({"monitoring": true}), vec!["--monitoring"]),
        (json!({"configuration": {"etcd": etcd}}), vec!["--etcd=3"]),
    ];
    let off = all.map(|engine| format!("--without={engine}"));
    choices.extend(
        all.iter().zip(&off).map(|(engine, flag)| (json!({"without": [engine]}), vec![flag.as_str()])),
    );
    let config = folder.path().join("config.yaml");
    for (values, flags) in choices {
        std::fs::write(&config, values["configuration"].to_string().replace("null", "{}")).unwrap();
        let config = format!("--config={}", config.display());
        let namespace = if flags.is_empty() { NAMESPACE } else { "elsewhere" };
        let flags = [&flags[..], &["-o", "yaml", "-n", namespace, &config]].concat();
        let mut printed = objects(&text(&install(Path::new("/nonexistent"), &flags).stdout));
        assert!(printed.remove(&("Namespace".to_owned(), namespace.to_owned())).is_some());
        let made = rendered(folder.path(), &chart, namespace, &values);
        assert_eq!(made.keys().collect::<Vec<_>>(), printed.keys().collect::<Vec<_>>(), "{values}");
        for (key, object) in &made {
            assert!(*object == printed[key], "{values}: {key:?} differs:\n{object:#}\n{:#}", printed[key]);
        }
    }
    let refused = ["replicas=10", "without={kubvirt}", "configuration.webhookSecret=x", "replica=2"];
    for value in refused {
        let done = helm(folder.path(), &["template", "scute", &chart, "--set", value]);
        assert!(!done.status.success(), "{value}");
    }
    let without = helm_says(folder.path(), &["template", "scute", &chart, "--set", "definitions=false"]);
    assert!(objects(&without).keys().all(|(kind, _)| kind != "CustomResourceDefinition"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "cargo xtask test builds helm for it"]
async fn helm_installs_upgrades_and_takes_away_and_leaves_the_definitions() {
    let server = ApiServer::start().await.unwrap();
    let client = server.client().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    let chart = chart(folder.path());
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let release = |arguments: &[&str]| {
        let arguments = [arguments, &["-n", NAMESPACE, &kubeconfig]].concat();
        tokio::task::block_in_place(|| helm_says(folder.path(), &arguments))
    };
    release(&["install", "scute", &chart, "--create-namespace"]);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let replicas = async || deployments.get("scute-manager").await.unwrap().spec.unwrap().replicas;
    assert_eq!(replicas().await, Some(2));

    // What the manager writes there is not the release's, and stays.
    let hooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let trust = json!({"webhooks": [{"name": "validate.scute.dev", "clientConfig": {"caBundle": "Cg=="}}]});
    hooks.patch("scute", &PatchParams::default(), &Patch::Strategic(trust)).await.unwrap();
    release(&["upgrade", "scute", &chart, "--set", "replicas=1,without={kubevirt}"]);
    assert_eq!(replicas().await, Some(1));
    let webhooks = hooks.get("scute").await.unwrap().webhooks.unwrap();
    assert_eq!(webhooks.len(), 1, "the one for evictions is gone with KubeVirt");
    assert!(webhooks[0].client_config.ca_bundle.is_some(), "the manager's word was overwritten");

    release(&["uninstall", "scute"]);
    assert!(deployments.get_opt("scute-manager").await.unwrap().is_none());
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let left = definitions.list(&Default::default()).await.unwrap().items.len();
    assert_eq!(left, scute_api::crds().len(), "with a definition go all objects of its kind");
}
