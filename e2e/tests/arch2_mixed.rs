//! Servers as Nodes on hosted control planes: beside a virtual machine in one cluster (architecture 2), and alone (3).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scute_e2e::{Kubectl, Site, Traces, step};

/// Room for a busy machine that emulates its guests and servers; the figures are in the benchmark.
const PATIENCE: Duration = Duration::from_secs(600);
const QUICK: Duration = Duration::from_secs(120);
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Where the servers are, and the tenants that take them.
const NAMESPACE: &str = "tenant-b";
const HOST: &str = "baremetalhost/e2e-host-0";

#[test]
fn servers_are_nodes_beside_virtual_machines_and_alone() {
    let before = Traces::look();
    let site = step("scute up", || Site::up("e2e"));
    let management = site.kubectl();
    step("scute rack up", || {
        site.scute(&["rack", "up", "--hosts", "1", "--memory", "2048", "--site", site.name()])
    });
    step("the host is registered, inspected and available", || {
        management.run(&["create", "namespace", NAMESPACE])?;
        let objects = site.scute(&["rack", "list", "-o", "yaml", "-n", NAMESPACE, "--site", site.name()])?;
        management.apply(&objects)?;
        management.run(&["label", "-n", NAMESPACE, HOST, "pool=tenants", "bmh-name=rack2-01"])?;
        is(&management, HOST, "jsonpath={.status.provisioning.state}=available")
    });

    apply(&management, "20-arch2-mixed/30-hosted-mixed-tenant");
    let tenant = all_join(&site, &management, "duo", &["duo-metal", "duo-vm"]);
    step("the Nodes are a server and a virtual machine", || {
        nodes_are(&tenant, &["kubevirt://", "metal3://"])
    });
    step("Pods on both reach each other", || pods_reach_each_other(&tenant));

    step("the second InfraCluster changes nothing", || {
        let uid =
            management.run(&["get", "-n", NAMESPACE, "cluster/duo", "-o", "jsonpath={.metadata.uid}"])?;
        let text = std::fs::read_to_string(format!(
            "{ROOT}/20-arch2-mixed/40-hosted-mixed-extra-infracluster.yaml"
        ))?;
        management.apply(&text.replace("OWNER_UID", &uid).replace("10.77.0.175", "172.30.99.175"))?;
        is(&management, "kubevirtcluster/duo", "jsonpath={.status.ready}=true")?;
        nodes_are(&tenant, &["kubevirt://", "metal3://"])
    });
    step("the virtual machines go, the server stays", || {
        management.run(&["scale", "-n", NAMESPACE, "machinedeployment/duo-vm", "--replicas=0"])?;
        is(&management, "machinedeployment/duo-vm", "jsonpath={.status.replicas}=0")?;
        nodes_are(&tenant, &["metal3://"])
    });
    goes(&site, &management, "duo");

    step("the other kind may be the first, and come last", || the_other_way_round(&management));
    goes(&site, &management, "turned");

    apply(&management, "30-arch3-hosted/20-kamaji-metal3");
    let tenant = all_join(&site, &management, "bm-tenant", &["bm-tenant-baked"]);
    step("the Node is a server", || nodes_are(&tenant, &["metal3://"]));
    step("it has addresses of both pools", || has_addresses(&management, &tenant));
    step("the pool that waits has no Machine", || {
        is(&management, "machinedeployment/bm-tenant-stock", "jsonpath={.status.replicas}=0")
    });
    goes(&site, &management, "bm-tenant");

    step("scute down", || site.down());
    step("the machine is as it was", || before.nothing_new(&Traces::look()));
}

fn is(management: &Kubectl, object: &str, condition: &str) -> Result<()> {
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    management.run(&["wait", "-n", NAMESPACE, object, &format!("--for={condition}"), &timeout]).map(drop)
}

fn apply(management: &Kubectl, folder: &str) {
    step(&format!("apply {folder}"), || {
        let text = management.run(&["kustomize", &format!("{ROOT}/{folder}")])?;
        management.apply(&text)
    });
}

/// The second InfraCluster is a Metal3Cluster and there before the Cluster and its KubevirtCluster, and nobody says where the
/// control plane answers: both get its address.
fn the_other_way_round(management: &Kubectl) -> Result<()> {
    let documents = [
        r"
apiVersion: infrastructure.cluster.x-k8s.io/v1beta2
kind: Metal3Cluster
metadata: {name: turned, namespace: tenant-b}
spec: {cloudProviderEnabled: false}",
        r"
apiVersion: controlplane.cluster.x-k8s.io/v1alpha1
kind: KamajiControlPlane
metadata: {name: turned, namespace: tenant-b}
spec:
  dataStoreName: default
  network: {serviceType: LoadBalancer}
  replicas: 1
  version: 1.35.4",
        r"
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: turned, namespace: tenant-b}
spec:
  controlPlaneRef: {apiGroup: controlplane.cluster.x-k8s.io, kind: KamajiControlPlane, name: turned}
  infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: KubevirtCluster, name: turned}",
        r"
apiVersion: infrastructure.cluster.x-k8s.io/v1alpha1
kind: KubevirtCluster
metadata: {name: turned, namespace: tenant-b}",
    ];
    documents.iter().try_for_each(|document| management.apply(document))?;
    is(management, "cluster/turned", "condition=ControlPlaneInitialized")?;
    is(management, "kubevirtcluster/turned", "jsonpath={.status.ready}=true")?;
    is(management, "metal3cluster/turned", "jsonpath={.status.initialization.provisioned}=true")?;
    let endpoint = |object: &str| -> Result<serde_json::Value> {
        let object = management.json(&["-n", NAMESPACE, object])?;
        ensure!(object["spec"]["controlPlaneEndpoint"]["port"] == 6443, "{object}");
        Ok(object["spec"]["controlPlaneEndpoint"].clone())
    };
    let cluster = endpoint("cluster/turned")?;
    ensure!(endpoint("kubevirtcluster/turned")? == cluster && endpoint("metal3cluster/turned")? == cluster);
    Ok(())
}

/// Waits until one Machine of each of these pools is available.
fn all_join(site: &Site, management: &Kubectl, cluster: &str, pools: &[&str]) -> Kubectl {
    let object = format!("cluster/{cluster}");
    step("control plane initialized", || is(management, &object, "condition=ControlPlaneInitialized"));
    for pool in pools {
        step(&format!("a Machine of {pool} is available"), || {
            is(management, &format!("machinedeployment/{pool}"), "jsonpath={.status.availableReplicas}=1")
        });
    }
    step("a kubeconfig of the tenant", || site.tenant_in(NAMESPACE, cluster))
}

/// The Nodes, all Ready, have provider ids that begin like this.
fn nodes_are(tenant: &Kubectl, expected: &[&str]) -> Result<()> {
    let timeout = format!("--timeout={}s", QUICK.as_secs());
    tenant.run(&["wait", "nodes", "--all", "--for=condition=Ready", &timeout])?;
    let nodes = tenant.json(&["nodes"])?;
    let mut ids: Vec<_> = nodes["items"].as_array().context("a list")?.iter().collect();
    ids.sort_by_key(|node| node["spec"]["providerID"].as_str().unwrap_or_default().to_owned());
    ensure!(ids.len() == expected.len(), "{} Nodes, not {}", ids.len(), expected.len());
    for (node, prefix) in ids.iter().zip(expected) {
        let id = node["spec"]["providerID"].as_str().unwrap_or_default();
        ensure!(id.starts_with(prefix), "a Node has the provider id {id:?} in place of {prefix}");
    }
    Ok(())
}

/// The host is free and clean again, and nothing of the Cluster is left.
fn goes(site: &Site, management: &Kubectl, cluster: &str) {
    step("delete the Cluster", || {
        site.scute(&["cluster", "delete", cluster, "-n", NAMESPACE, "--yes", "--site", site.name()])
    });
    step("nothing of it is left", || {
        for kind in [
            "clusters",
            "machines",
            "metal3clusters",
            "kubevirtclusters",
            "metal3machines",
            "metal3datas",
            "ipaddresses.ipam.metal3.io",
            "ipclaims.ipam.metal3.io",
            "kubevirtmachines",
            "virtualmachines",
            "tcp",
        ] {
            management.wait_for_none(&["-n", NAMESPACE, kind], QUICK)?;
        }
        Ok(())
    });
    step("the host is clean and available again", || {
        is(management, HOST, "jsonpath={.status.provisioning.state}=available")?;
        let host = management.json(&["-n", NAMESPACE, HOST])?;
        ensure!(host["spec"]["consumerRef"].is_null(), "{}", host["spec"]);
        Ok(())
    });
}

/// The server has the addresses that its claims got, one of them in VLAN 5, and its Node the internal one.
fn has_addresses(management: &Kubectl, tenant: &Kubectl) -> Result<()> {
    let addresses = management.json(&["-n", NAMESPACE, "ipaddresses.ipam.metal3.io"])?;
    let address = |pool: &str| {
        let mut all = addresses["items"].as_array().into_iter().flatten();
        let one = all.find(|address| address["spec"]["pool"]["name"] == pool);
        one.and_then(|address| address["spec"]["address"].as_str())
            .map(ToOwned::to_owned)
            .context(pool.to_owned())
    };
    let (internal, external) = (address("bm-tenant-internal")?, address("bm-tenant-external")?);
    let node = tenant.json(&["nodes"])?;
    let internal_of_node = "/items/0/status/addresses/0/address";
    ensure!(node.pointer(internal_of_node) == Some(&internal.clone().into()), "{} is not {internal}", node);
    let said = addresses_of_the_node(tenant)?;
    for (address, vlan) in [(&internal, false), (&external, true)] {
        let line = said.lines().find(|line| line.contains(&format!(" {address}/"))).unwrap_or_default();
        let link = line.split_whitespace().next().unwrap_or_default();
        ensure!(!link.is_empty() && link.contains(".5@") == vlan, "{address} is not on its link: {said}");
    }
    Ok(())
}

/// What the Node's own `ip` says, run by a Pod in the Node's network.
fn addresses_of_the_node(tenant: &Kubectl) -> Result<String> {
    tenant.apply(
        r"
apiVersion: v1
kind: Pod
metadata: {name: addresses, namespace: default}
spec:
  hostNetwork: true
  restartPolicy: Never
  containers:
  - name: ip
    image: scute.dev/scute:0.1.0
    imagePullPolicy: IfNotPresent
    command: [/host/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2, --library-path, /host/usr/lib/x86_64-linux-gnu]
    args: [/host/usr/bin/ip, -brief, '-4', address]
    volumeMounts: [{name: host, mountPath: /host, readOnly: true}]
  volumes: [{name: host, hostPath: {path: /}}]
",
    )?;
    tenant.wait("pod/addresses", "jsonpath={.status.phase}=Succeeded", QUICK)?;
    let said = tenant.run(&["logs", "addresses"])?;
    tenant.run(&["delete", "pod", "addresses", "--wait=false"])?;
    Ok(said)
}

/// Two Pods that answer, each on a Node of its own, are asked by two others; logs and exec work towards both Nodes.
fn pods_reach_each_other(tenant: &Kubectl) -> Result<()> {
    let [answers, asks] = ["talk", "ask"].map(|name| format!("{ROOT}/../examples/{name}.yaml"));
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    tenant.run(&["apply", "-f", &answers])?;
    tenant.run(&["rollout", "status", "statefulset/answers", &timeout])?;
    tenant.run(&["rollout", "status", "deployment/coredns", "-n", "kube-system", &timeout])?;
    tenant.run(&["apply", "-f", &asks])?;
    tenant.wait("job/asks", "condition=Complete", PATIENCE)?;
    for pod in ["answers-0", "answers-1"] {
        let version = tenant.run(&["exec", pod, "--", "/coredns", "-version"])?;
        ensure!(version.contains("CoreDNS"), "{version:?}");
    }
    let said = tenant.run(&["logs", "--selector=app=asks", "--all-containers", "--prefix=false"])?;
    ensure!(said.matches("OK").count() == 4, "{said:?}");
    tenant.run(&["delete", "-f", &answers, "-f", &asks, "--wait=false"]).map(drop)
}
