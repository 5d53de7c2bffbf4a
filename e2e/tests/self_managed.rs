//! A management cluster on a server of the rack, made by a site and moved into itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scute_e2e::{Site, Traces, step};
use serde_json::Value;

/// Room for a server that is emulated, and has a control plane to start.
const PATIENCE: Duration = Duration::from_secs(1200);
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/management-cluster.yaml");

#[test]
#[ignore = "an emulated control plane wants both processors of such a machine to itself: run it alone, with --ignored"]
fn a_management_cluster_manages_itself() {
    let before = Traces::look();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let site = step("scute up", || Site::up("e2e"));
    let of_site = ["--site", site.name()];
    step("scute rack up", || {
        site.scute(
            &[&["rack", "up", "--hosts", "1", "--cpus", "2", "--memory", "3072"], &of_site[..]].concat(),
        )
    });
    step("files of hosts, Cluster and Pod network", || {
        let hosts = site.scute(&[&["rack", "list", "-o", "yaml"], &of_site[..]].concat())?;
        std::fs::write(path("hosts.yaml"), hosts)?;
        let cluster = std::fs::read_to_string(EXAMPLE)?;
        let cluster = cluster.replace("172.30.0.2", "172.30.99.2").replace("10.85.248.10", "10.185.248.10");
        std::fs::write(path("cluster.yaml"), cluster)?;
        std::fs::write(path("podnet.yaml"), site.scute(&["podnet", "manifests"])?)?;
        let from = format!("--from-file={}", path("podnet.yaml"));
        let made = ["create", "configmap", "podnet", &from, "--dry-run=client", "-o", "yaml"];
        std::fs::write(path("network.yaml"), site.kubectl().run(&made)?)?;
        Ok(())
    });
    let bootstrap = || -> Result<String> {
        let (hosts, cluster, network, out) =
            (path("hosts.yaml"), path("cluster.yaml"), path("network.yaml"), path("foundry.kubeconfig"));
        let files = ["--hosts", &hosts, "--cluster", &cluster, "--cluster", &network, "--out", &out];
        site.scute(&[&["bootstrap", "--replicas", "1"], &files[..], &of_site].concat())
    };
    let said = step("scute bootstrap", bootstrap);
    eprintln!("{said}");
    let management = site.kubectl_by(&folder.path().join("foundry.kubeconfig"));
    step("the server runs on, and is its own Node", || {
        let host = management.json(&["baremetalhost/e2e-host-0"])?;
        ensure!(host["status"]["provisioning"]["state"] == "provisioned", "{host}");
        ensure!(host["status"]["poweredOn"] == true, "{host}");
        let nodes = management.json(&["nodes"])?;
        let id = nodes["items"][0]["spec"]["providerID"].as_str().unwrap_or_default();
        ensure!(id.starts_with("metal3://"), "{nodes}");
        Ok(())
    });
    step("the seed has nothing of it any more", || {
        for kind in ["clusters", "machines", "baremetalhosts", "metal3machines", "kubeadmcontrolplanes"] {
            site.kubectl().wait_for_none(&[kind], Duration::from_secs(1))?;
        }
        Ok(())
    });
    step("without the seed's manager it goes on", || {
        let stop = ["scale", "-n", "scute-system", "deployment/scute-manager", "--replicas=0"];
        site.kubectl().run(&stop)?;
        let labels = r#"{"spec":{"machineTemplate":{"metadata":{"labels":{"moved":"yes"}}}}}"#;
        management.run(&["patch", "kubeadmcontrolplane/foundry", "--type=merge", "--patch", labels])?;
        let machines = management.json(&["machines"])?;
        let name = machines["items"][0]["metadata"]["name"].as_str().context("a Machine")?.to_owned();
        management.wait(&format!("machine/{name}"), "jsonpath={.metadata.labels.moved}=yes", PATIENCE)?;
        let again = management.json(&["machines"])?;
        ensure!(again["items"].as_array().map(Vec::len) == Some(1), "{again}");
        ensure!(uid(&again) == uid(&machines), "the Machine was replaced");
        Ok(())
    });
    step("and once more nothing is done", || {
        let said = bootstrap()?;
        ensure!(!said.contains("applied"), "{said}");
        Ok(())
    });
    step("scute down", || site.down());
    step("the machine is as it was", || before.nothing_new(&Traces::look()));
}

fn uid(machines: &Value) -> Option<&Value> {
    machines.pointer("/items/0/metadata/uid")
}
