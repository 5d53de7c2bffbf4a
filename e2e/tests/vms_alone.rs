//! Architecture 1: a cluster of virtual machines alone, its control plane too, from nothing to nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scute_e2e::{Kubectl, Site, Traces, step};
use serde_json::json;

/// Room for a busy machine that emulates its guests.
const PATIENCE: Duration = Duration::from_secs(600);
const QUICK: Duration = Duration::from_secs(120);
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/10-arch1-kubevirt/virtual-cluster");
const RESOURCE_SET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/10-arch1-kubevirt/cni");
const NAMESPACE: &str = "tenant-a";

#[test]
#[ignore = "an emulated control plane wants both processors of such a machine to itself: run it alone, with --ignored"]
fn a_cluster_of_vms_comes_and_goes() {
    let before = Traces::look();
    let site = step("scute up", || Site::up("e2e"));
    let management = Management(site.kubectl());
    step("a ClusterResourceSet with a Pod network", || {
        management.0.run(&["create", "namespace", NAMESPACE])?;
        // The manifest's ConfigMap stands in for that of Calico; the embedded Pod network stands in for Calico itself.
        let manifests = site.scute(&["podnet", "manifests"])?;
        let network = json!({"data": {"calico.yaml": manifests}}).to_string();
        management.run(&["apply", "-k", RESOURCE_SET])?;
        management.run(&["patch", "configmap/calico", "--type=merge", "--patch", &network])
    });
    step("apply virtual-cluster", || management.run(&["apply", "-k", MANIFEST]));
    step("Service atrium-lb has an address, and it is the endpoint", || {
        management.wait("service/atrium-lb", "jsonpath={.status.loadBalancer.ingress[0].ip}")?;
        management.wait("cluster/atrium", "jsonpath={.spec.controlPlaneEndpoint.host}")?;
        let host = "jsonpath={.spec.controlPlaneEndpoint.host}";
        let address = "jsonpath={.status.loadBalancer.ingress[0].ip}";
        let endpoint = management.run(&["get", "cluster/atrium", "-o", host])?;
        let address = management.run(&["get", "service/atrium-lb", "-o", address])?;
        ensure!(endpoint == address, "{endpoint} and {address}");
        Ok(())
    });
    step("control plane initialized", || {
        management.wait("cluster/atrium", "condition=ControlPlaneInitialized")
    });
    let tenant = step("a kubeconfig of the tenant", || site.tenant_in(NAMESPACE, "atrium"));
    step("tenant answers", || tenant.run(&["get", "namespaces"]));
    step("control plane available", || {
        management.wait("kubeadmcontrolplane/atrium-control-plane", "condition=Available")
    });
    step("one Machine available", || {
        management.wait("machinedeployment/atrium-md-0", "jsonpath={.status.availableReplicas}=1")
    });
    step("all Nodes are VMs", || nodes_are_vms(&tenant));
    step("the tree says that all is well", || {
        let tree = site.scute(&["cluster", "describe", "atrium", "-n", NAMESPACE, "--site", site.name()])?;
        ensure!(!tree.contains("blocked by"), "{tree}");
        Ok(())
    });
    step("delete the Cluster", || {
        site.scute(&["cluster", "delete", "atrium", "-n", NAMESPACE, "--yes", "--site", site.name()])
    });
    step("nothing of it is left", || {
        let kinds = [
            "kubeadmcontrolplanes",
            "machines",
            "kubeadmconfigs",
            "kubevirtclusters",
            "kubevirtmachines",
            "pods",
            "secrets",
            "services",
        ];
        kinds.iter().try_for_each(|kind| {
            management.0.wait_for_none(&["-n", NAMESPACE, kind], QUICK).with_context(|| (*kind).to_owned())
        })
    });
    step("scute down", || site.down());
    step("the machine is as it was", || before.nothing_new(&Traces::look()));
}

/// kubectl on the management cluster, in the namespace of the tenant.
struct Management(Kubectl);

impl Management {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        self.0.run(&[arguments, &["-n", NAMESPACE]].concat())
    }

    fn wait(&self, object: &str, condition: &str) -> Result<()> {
        let (condition, timeout) =
            (format!("--for={condition}"), format!("--timeout={}s", PATIENCE.as_secs()));
        self.run(&["wait", object, &condition, &timeout]).map(drop)
    }
}

/// Two Nodes, Ready, each with the provider id of a KubeVirt VM.
fn nodes_are_vms(tenant: &Kubectl) -> Result<()> {
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    tenant.run(&["wait", "nodes", "--all", "--for=condition=Ready", &timeout])?;
    let nodes = tenant.json(&["nodes"])?;
    let nodes = nodes["items"].as_array().context("a list")?;
    ensure!(nodes.len() == 2, "{} Nodes", nodes.len());
    for node in nodes {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        ensure!(node["spec"]["providerID"] == format!("kubevirt://{name}"), "{node}");
    }
    Ok(())
}
