//! The golden folder `tests/golden`: what users write, and the whole of what their hosts are told. Judged by those who
//! read it: the schema of cloud-init, and kubeadm.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use scute_api::bootstrap::KubeadmConfigSpec;
use scute_api::cluster::Cluster;
use scute_contract::certificates::{Certificates, KeyPair, Wanted};
use serde_json::{Value, json};

use super::*;

const VERSION: &str = "v1.35.4";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Names and contents of the cases, in their order.
fn cases() -> Vec<(String, Value)> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .expect("the golden folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a case");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, serde_saphyr::from_str(&text).expect("YAML"))
    };
    files.into_iter().map(read).collect()
}

fn rendered(case: &Value) -> String {
    let spec: KubeadmConfigSpec = serde_json::from_value(case["spec"].clone()).expect("a spec");
    let wanted = Wanted::of(spec.cluster_configuration.as_ref());
    let pair = |purpose: Purpose| {
        let text = |what: &str| format!("-----BEGIN {what}-----\n{purpose:?}\n-----END {what}-----\n");
        let key = (!wanted.is_users(purpose) || purpose == Purpose::ApiServerEtcdClient)
            .then(|| text("PRIVATE KEY"));
        (purpose, KeyPair { certificate: text("CERTIFICATE"), key })
    };
    let certificates =
        Certificates { pairs: wanted.purposes().into_iter().map(pair).collect(), ..Certificates::default() };
    let cluster: Cluster = serde_json::from_value(json!({"metadata": {"name": "foundry"}, "spec": {
        "controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443},
        "clusterNetwork": {"pods": {"cidrBlocks": ["10.200.0.0/16"]}, "services": {"cidrBlocks": ["10.96.0.0/12"]}}}}))
    .expect("a Cluster");
    let documents = [
        scute_kubeadm::init::cluster_configuration(
            &spec.cluster_configuration.clone().unwrap_or_default(),
            "foundry",
            &cluster,
            VERSION,
        ),
        scute_kubeadm::init::init_configuration(&spec.init_configuration.clone().unwrap_or_default()),
    ];
    let join = spec.join_configuration.clone().unwrap_or_default();
    let worker = case["task"] == "worker";
    let what =
        if case["task"] == "init" { What::Init(&documents) } else { What::Join { join: &join, worker } };
    let certificates = if worker { Vec::new() } else { certificate_files(&spec, &wanted, &certificates) };
    let control_plane_version = case["controlPlaneVersion"].as_str();
    let sources = Sources::new();
    let wish = Wish {
        spec: &spec,
        what,
        version: Some(VERSION),
        certificates,
        sources: &sources,
        control_plane_version,
    };
    data(&wish).expect("rendered")
}

/// The text after cloud-init's template engine, as far as the cases use it.
fn resolved(text: &str) -> String {
    let text = text.strip_prefix("## template: jinja\n").expect("a template");
    let known = [
        ("vip", "10.77.0.20"),
        ("vip_interface", "eno1"),
        ("internal_ip", "10.77.0.30"),
        ("name", "node-1"),
        ("uuid", "0b5d1d4e-0000-4000-8000-000000000001"),
    ];
    let text = known.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{{ ds.meta_data.{name} }}}}"), value)
    });
    assert!(!text.contains("{{"), "{text}");
    text
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_case_is_rendered_as_written_down() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        let cases = cases();
        assert!(cases.len() >= 7, "{} cases only", cases.len());
        for (name, case) in cases {
            let text = rendered(&case);
            let text = match case["spec"]["format"] == "ignition" {
                true => format!("{:#}", serde_json::from_str::<Value>(&text).expect("JSON")),
                false => text,
            };
            insta::assert_snapshot!(name, text);
        }
    });
}

#[test]
fn cloud_inits_schema_has_nothing_against_it() {
    let judge = |text: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("user-data");
        std::fs::write(&path, text).expect("written");
        let run = Command::new("cloud-init").args(["schema", "--config-file"]).arg(&path).output();
        run.expect("cloud-init starts: `cargo xtask setup` installs it")
    };
    for (name, case) in cases().iter().filter(|(_, case)| case["spec"]["format"] != "ignition") {
        let text = resolved(&rendered(case));
        let output = judge(&text);
        let told = said(&output);
        assert!(output.status.success() && told.contains("Valid cloud-config"), "{name}: {told}\n{text}");
    }
    assert!(!judge("#cloud-config\nruncmd: 5\n").status.success(), "the judge does refuse");
}

#[test]
fn kubeadm_takes_its_configuration() {
    let cache = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/scute/bin"));
    let kube = std::env::var_os("SCUTE_KUBE").map(PathBuf::from);
    let kube = kube.or_else(|| Some(cache?.join(format!("kube-{VERSION}")))).expect("HOME is set");
    let judge = |text: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        // kubeadm looks whether there is a file for the discovery.
        let discovery = folder.path().join("discovery.conf");
        std::fs::write(&discovery, "").expect("written");
        let text = text.replace("/etc/kubernetes/discovery.conf", &discovery.to_string_lossy());
        std::fs::write(folder.path().join("kubeadm.yaml"), text).expect("written");
        let mut command = Command::new(&kube);
        command
            .args(["kubeadm", "config", "validate", "--config", "kubeadm.yaml"])
            .current_dir(folder.path());
        command.output().expect("kubeadm starts: `cargo xtask components` builds it")
    };
    for (name, case) in cases().iter().filter(|(_, case)| case["spec"]["format"] != "ignition") {
        let document: Value = serde_saphyr::from_str(&resolved(&rendered(case))).expect("YAML");
        let files = document["write_files"].as_array().expect("files");
        let file = files
            .iter()
            .find(|file| file["path"].as_str().is_some_and(|path| path.starts_with("/run/kubeadm/")));
        let text = file.expect("a configuration")["content"].as_str().expect("text");
        let output = judge(text);
        assert!(output.status.success(), "{name}: {}\n{text}", said(&output));
        assert!(!said(&output).contains("unknown field"), "{name}: {}", said(&output));
        let wrong = text.replacen("kind: ", "unknownField: 1\nkind: ", 1);
        assert!(!judge(&wrong).status.success(), "the judge does refuse");
    }
}
