//! `clusterctl` judges: what it reads of a Cluster, and templates of v1beta1. `cargo xtask test` builds it.

use std::process::Command;

use kube::api::{Api, DynamicObject, PostParams};
use serde_json::Value;

use crate::world::World;

const TEMPLATE: &str = include_str!("cluster-template.yaml");

/// What it says of the objects of a world; it must succeed.
pub async fn clusterctl(world: &World, arguments: &[&str]) -> String {
    let program = std::env::var("SCUTE_CLUSTERCTL").expect("cargo xtask test says where clusterctl is");
    let mut command = Command::new(program);
    // What goes out of a folder has no source but that.
    let which = if arguments.contains(&"--from-directory") { "--to-kubeconfig" } else { "--kubeconfig" };
    command.args(arguments).arg(which).arg(world.kubeconfig());
    // It looks for nothing on the internet, and keeps its configuration to itself.
    command.env("CLUSTERCTL_DISABLE_VERSIONCHECK", "true").env("XDG_CONFIG_HOME", world.folder.path());
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "clusterctl {arguments:?}: {err}{out}");
    out.into_owned()
}

pub fn api(world: &World, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    world.of(group, version, kind, Some("default"))
}

/// Makes the objects of a file; how many there were.
pub async fn create(world: &World, file: &str) -> usize {
    let mut made = 0;
    for document in file.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).expect("YAML");
        let (api_version, kind) =
            (object["apiVersion"].as_str().expect("text"), object["kind"].as_str().expect("text"));
        let typed = serde_json::from_value(object.clone()).expect("an object");
        let answer = api(world, api_version, kind).create(&PostParams::default(), &typed).await;
        answer.unwrap_or_else(|error| panic!("{kind}: {error}"));
        made += 1;
    }
    made
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
    assert_eq!(create(&world, &rendered).await, 3);
}
