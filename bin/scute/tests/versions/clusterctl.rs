//! `clusterctl` judges templates of v1beta1. `cargo xtask test` builds it.

use std::process::Command;

use kube::api::{Api, DynamicObject, PostParams};
use serde_json::Value;

use crate::world::World;

const TEMPLATE: &str = include_str!("cluster-template.yaml");

/// What it says; it must succeed.
async fn clusterctl(world: &World, arguments: &[&str]) -> String {
    let program = std::env::var("SCUTE_CLUSTERCTL").expect("cargo xtask test says where clusterctl is");
    let mut command = Command::new(program);
    command.args(arguments).arg("--kubeconfig").arg(world.folder.path().join("kubeconfig"));
    // It looks for nothing on the internet, and keeps its configuration to itself.
    command.env("CLUSTERCTL_DISABLE_VERSIONCHECK", "true").env("XDG_CONFIG_HOME", world.folder.path());
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "clusterctl {arguments:?}: {err}{out}");
    out.into_owned()
}

fn api(world: &World, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    world.of(group, version, kind, Some("default"))
}

#[tokio::test]
#[ignore = "cargo xtask test builds clusterctl for it"]
async fn clusterctl_renders_templates_that_are_taken_as_they_are() {
    let world = World::start().await;
    let template = world.folder.path().join("template.yaml");
    std::fs::write(&template, TEMPLATE).expect("written");
    let from = template.to_str().expect("UTF-8");
    let arguments = [
        "generate",
        "cluster",
        "tenant",
        "--from",
        from,
        "--kubernetes-version=v1.35.4",
        "--worker-machine-count=2",
    ];
    let rendered = clusterctl(&world, &arguments).await;
    let mut taken = 0;
    for document in rendered.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).expect("YAML");
        let (api_version, kind) =
            (object["apiVersion"].as_str().expect("text"), object["kind"].as_str().expect("text"));
        let api = api(&world, api_version, kind);
        let made = api
            .create(&PostParams::default(), &serde_json::from_value(object.clone()).expect("an object"))
            .await;
        made.unwrap_or_else(|error| panic!("{kind}: {error}"));
        taken += 1;
    }
    assert_eq!(taken, 3);
}
