//! Architecture 3: a hosted control plane with VM Nodes, from nothing to nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scute_e2e::{Kubectl, Site, Traces, processes, secrets, step};

/// Room for a busy machine that emulates its guests; the figures are in the benchmark.
const PATIENCE: Duration = Duration::from_secs(420);
const QUICK: Duration = Duration::from_secs(120);
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/30-arch3-hosted");

#[test]
fn a_tenant_comes_grows_shrinks_and_goes() {
    let before = Traces::look();
    let site = step("scute up", || Site::up("e2e"));
    let management = site.kubectl();

    let tenant = comes(&site, "10-kamaji-kubevirt");
    step("the Node is a VM", || nodes_are_vms(&tenant, 1));
    step("a Pod runs on it", || a_pod_runs(&tenant));
    step("the tree says that all is well", || {
        let tree = site.scute(&["cluster", "describe", "kv-tenant", "--site", site.name()])?;
        ensure!(!tree.contains("blocked by"), "{tree}");
        ensure!(tree.contains("VirtualMachineInstance/kv-tenant-md-0"), "{tree}");
        Ok(())
    });

    step("no secret stands where it does not belong", || secrets::are_kept(&management));
    step("the etcd of the tenants, killed, comes back with what it held", || {
        let data = format!("--data-dir=/var/lib/scute/{}/etcd-tenants ", site.name());
        processes::kill(processes::with(&data)?)?;
        processes::until("the tenant answers again", || tenant.run(&["get", "nodes"]).is_ok())?;
        nodes_are_vms(&tenant, 1)
    });

    step("scale to 2", || {
        management.run(&["scale", "machinedeployment/kv-tenant-md-0", "--replicas=2"])?;
        management.wait(
            "machinedeployment/kv-tenant-md-0",
            "jsonpath={.status.availableReplicas}=2",
            PATIENCE,
        )?;
        nodes_are_vms(&tenant, 2)
    });
    step("scale to 1", || {
        management.run(&["scale", "machinedeployment/kv-tenant-md-0", "--replicas=1"])?;
        management.wait("machinedeployment/kv-tenant-md-0", "jsonpath={.status.replicas}=1", QUICK)?;
        nodes_are_vms(&tenant, 1)
    });

    step("the tenant's API server, deleted by hand, comes back", || {
        management.run(&["delete", "deployment/kv-tenant", "--wait=true"])?;
        management.wait("deployment/kv-tenant", "condition=Available", QUICK)?;
        management.wait(
            "tcp/kv-tenant",
            "jsonpath={.status.kubernetesResources.version.status}=Ready",
            QUICK,
        )?;
        tenant.run(&["get", "nodes"]).map(|_| ())
    });

    goes(&site);

    // The same with an endpoint that is found by itself.
    let tenant = comes(&site, "11-kubevirtcluster-managed-by");
    step("the Node is a VM", || nodes_are_vms(&tenant, 1));
    goes(&site);
    step("scute down", || site.down());
    step("the machine is as it was", || before.nothing_new(&Traces::look()));
}

/// Applies a manifest and waits for its one Node.
fn comes(site: &Site, manifest: &str) -> Kubectl {
    let management = site.kubectl();
    let folder = format!("{ROOT}/{manifest}");
    step(&format!("apply {manifest}"), || management.run(&["apply", "-k", &folder]));
    step("control plane initialized", || {
        management.wait("cluster/kv-tenant", "condition=ControlPlaneInitialized", QUICK)
    });
    let tenant = step("a kubeconfig of the tenant", || site.tenant("kv-tenant"));
    step("tenant answers", || tenant.run(&["get", "namespaces"]));
    step("one Machine available", || {
        let one = "jsonpath={.status.availableReplicas}=1";
        management.wait("machinedeployment/kv-tenant-md-0", one, PATIENCE)
    });
    tenant
}

/// Deletes the Cluster and with it everything.
fn goes(site: &Site) {
    step("delete the Cluster", || {
        site.scute(&["cluster", "delete", "kv-tenant", "--yes", "--site", site.name()])
    });
    step("nothing of it is left", || nothing_left(&site.kubectl()));
}

/// So many Nodes, all Ready, all with the provider id of a KubeVirt VM.
fn nodes_are_vms(tenant: &Kubectl, count: usize) -> Result<()> {
    let timeout = format!("--timeout={}s", QUICK.as_secs());
    tenant.run(&["wait", "nodes", "--all", "--for=condition=Ready", &timeout])?;
    let nodes = tenant.json(&["nodes"])?;
    let nodes = nodes["items"].as_array().context("a list")?;
    ensure!(nodes.len() == count, "{} Nodes, not {count}", nodes.len());
    for node in nodes {
        let id = node["spec"]["providerID"].as_str().unwrap_or_default();
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        ensure!(id == format!("kubevirt://{name}"), "Node {name} has the provider id {id:?}");
    }
    Ok(())
}

/// A Pod of the tenant that says something and ends well.
fn a_pod_runs(tenant: &Kubectl) -> Result<()> {
    tenant.run(&[
        "run",
        "hello",
        "--image=scute.dev/scute:0.1.0",
        "--restart=Never",
        "--image-pull-policy=IfNotPresent",
        "--command",
        "--",
        "/usr/local/bin/scute",
        "--version",
    ])?;
    tenant.wait("pod/hello", "jsonpath={.status.phase}=Succeeded", PATIENCE)?;
    let log = tenant.run(&["logs", "hello"])?;
    ensure!(log.starts_with("scute "), "{log}");
    tenant.run(&["delete", "pod", "hello"]).map(|_| ())
}

fn nothing_left(management: &Kubectl) -> Result<()> {
    for kind in [
        "clusters",
        "kamajicontrolplanes",
        "tenantcontrolplanes",
        "machinedeployments",
        "machinesets",
        "machines",
        "kubeadmconfigs",
        "kubevirtclusters",
        "kubevirtmachines",
        "virtualmachines",
        "virtualmachineinstances",
        "deployments",
        "pods",
        "secrets",
        "poddisruptionbudgets",
    ] {
        management.wait_for_none(&[kind], QUICK).with_context(|| kind.to_owned())?;
    }
    Ok(())
}
