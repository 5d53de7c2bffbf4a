//! `scute plan`, `lint` and `explain` as a user runs them: on files, and against a real API server that is bare, that has
//! a tenant which is stuck, and that is not there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kube::Client;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams, ValidationDirective,
};
use scute_api::metal3::BareMetalHost;
use scute_testkit::ApiServer;
use serde_json::{Value, json};

fn scute(kubeconfig: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scute"));
    command.args(arguments).arg("--kubeconfig").arg(kubeconfig).env_remove("KUBECONFIG");
    command.output().unwrap()
}

/// Exit code, standard output, standard error.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("planner-{name}"));
    std::fs::write(&path, text).unwrap();
    path
}

/// A CRD of a kind that others serve, without a schema.
fn foreign(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

/// Writes an object, and its status where that is a resource of its own.
async fn write(client: &Client, object: &Value) -> Value {
    let at = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (at("/apiVersion"), at("/kind"));
    let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let space = at("/metadata/namespace");
    let api: Api<DynamicObject> = if space.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), &space, &resource)
    };
    let strict = Some(ValidationDirective::Strict);
    let params = PatchParams { field_validation: strict, ..PatchParams::apply("test").force() };
    let name = at("/metadata/name");
    let done = api.patch(&name, &params, &Patch::Apply(object)).await;
    let mut written = done.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    if let Some(status) = object.get("status") {
        let status = json!({"apiVersion": at("/apiVersion"), "kind": kind, "status": status});
        match api.patch_status(&name, &params, &Patch::Apply(&status)).await {
            Ok(with) => written = with,
            // Kinds without the subresource took it with the rest.
            Err(kube::Error::Api(error)) if error.code == 404 => {}
            Err(error) => panic!("status of {kind} {name}: {error}"),
        }
    }
    serde_json::to_value(written).unwrap()
}

fn node(name: &str, cpus: u32, memory: &str) -> Value {
    let has = json!({"cpu": cpus.to_string(), "memory": memory, "pods": "110"});
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "r1"}},
        "status": {"capacity": has, "allocatable": has}})
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"conditions": [{"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-01T10:00:00Z"}]})
}

/// A tenant whose one VM finds no room, from the Cluster down to the launcher's Pod.
async fn stuck_tenant(client: &Client, space: &str) {
    let meta = |name: &str| json!({"name": name, "namespace": space});
    let owned = |name: &str, owner: &Value| {
        let of = |path: &str| owner.pointer(path).cloned().unwrap_or_default();
        json!({"name": name, "namespace": space, "ownerReferences": [{
            "apiVersion": of("/apiVersion"), "kind": of("/kind"), "name": of("/metadata/name"), "uid": of("/metadata/uid")}]})
    };
    let infra = "infrastructure.cluster.x-k8s.io";
    let of = |kind: &str, group: &str| json!({"apiGroup": group, "kind": kind, "name": "team"});
    write(client, &json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": meta("team"),
        "spec": {"controlPlaneRef": of("KamajiControlPlane", "controlplane.cluster.x-k8s.io"), "infrastructureRef": of("KubevirtCluster", infra)},
        "status": condition("Available", "False", "NotAvailable", "* WorkersAvailable: 0 of 2"),
    })).await;
    write(client, &json!({
        "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha1", "kind": "KamajiControlPlane", "metadata": meta("team"),
        "spec": {"dataStoreName": "default", "replicas": 2, "version": "1.33.1",
            "network": {"serviceType": "LoadBalancer", "serviceAnnotations": {"metallb.io/loadBalancerIPs": "192.168.0.200"}}},
        "status": condition("Ready", "True", "Ready", ""),
    })).await;
    write(client, &json!({
        "apiVersion": format!("{infra}/v1alpha1"), "kind": "KubevirtCluster", "metadata": meta("team"), "spec": {},
    })).await;
    write(client, &json!({
        "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfigTemplate", "metadata": meta("team"),
        "spec": {"template": {"spec": {}}},
    })).await;
    let domain = json!({"cpu": {"cores": 4}, "memory": {"guest": "8Gi"}, "devices": {}});
    write(client, &json!({
        "apiVersion": format!("{infra}/v1alpha1"), "kind": "KubevirtMachineTemplate", "metadata": meta("team"),
        "spec": {"template": {"spec": {"virtualMachineTemplate": {"spec": {
            "runStrategy": "Always", "template": {"spec": {"domain": domain}}}}}}},
    })).await;
    let labels = json!({"cluster.x-k8s.io/cluster-name": "team", "cluster.x-k8s.io/deployment-name": "team"});
    let machine = json!({
        "clusterName": "team", "version": "v1.34.1",
        "bootstrap": {"configRef": of("KubeadmConfigTemplate", "bootstrap.cluster.x-k8s.io")},
        "infrastructureRef": of("KubevirtMachineTemplate", infra),
    });
    write(
        client,
        &json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": meta("team"),
            "spec": {"clusterName": "team", "replicas": 2, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": machine}},
            "status": condition("Available", "False", "NotAvailable", "0 of 2 Machines are available"),
        }),
    )
    .await;
    let one = write(
        client,
        &json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": "team-a", "namespace": space, "labels": labels},
            "spec": {"clusterName": "team", "version": "v1.34.1", "bootstrap": {"dataSecretName": "none"},
                "infrastructureRef": {"apiGroup": infra, "kind": "KubevirtMachine", "name": "team-a"}},
            "status": condition("InfrastructureReady", "False", "NotReady", "the VM does not run"),
        }),
    )
    .await;
    write(client, &json!({
        "apiVersion": format!("{infra}/v1alpha1"), "kind": "KubevirtMachine", "metadata": owned("team-a", &one),
        "spec": {"virtualMachineTemplate": {"spec": {"runStrategy": "Always", "template": {"spec": {"domain": domain}}}}},
        "status": condition("VMProvisioned", "False", "VMNotReady", "the VM does not run"),
    })).await;
    write(
        client,
        &json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": meta("team-a"),
            "spec": {"domain": domain}, "status": {"phase": "Scheduling"},
        }),
    )
    .await;
    write(
        client,
        &json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": meta("team-a"),
            "spec": {"runStrategy": "Always", "template": {"spec": {"domain": domain}}},
            "status": {"printableStatus": "Starting"},
        }),
    )
    .await;
    write(client, &json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "virt-launcher-team-a", "namespace": space, "labels": {"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": "team-a"}},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "compute", "image": "none", "resources": {"requests": {"cpu": "4", "memory": "9Gi"}}}]},
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available: 2 Insufficient memory."}]},
    })).await;
}

/// What runs on the site for itself: two Pods of a shop, and a pool of addresses.
async fn others(client: &Client, space: &str) {
    for name in ["web-a", "web-b"] {
        write(client, &json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": space, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "0"}]},
            "spec": {"automountServiceAccountToken": false, "containers": [{"name": "web", "image": "none", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}]},
        })).await;
    }
    write(
        client,
        &json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "front", "namespace": space},
            "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]},
        }),
    )
    .await;
    write(client, &json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "api", "namespace": space},
        "spec": {"addresses": ["192.168.0.150-192.168.0.159"]},
    })).await;
    write(client, &json!({
        "apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost", "metadata": {"name": "r2-01", "namespace": space, "labels": {"rack": "r2"}},
        "spec": {"online": true, "bmc": {"address": "redfish://10.0.0.9", "credentialsName": "r2-01-bmc"}},
        "status": {"hardware": {"cpu": {"count": 32}, "ramMebibytes": 131_072}, "errorType": "registration error", "errorMessage": "401 Unauthorized"},
    })).await;
    write(client, &json!({
        "apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost", "metadata": {"name": "r2-02", "namespace": space},
        "spec": {"online": false},
    })).await;
}

/// A tenant on servers: one that it has, one that has what it wants and is free, one that has not; and two addresses for
/// three Nodes.
async fn iron(client: &Client, space: &str) {
    let meta = |name: &str| json!({"name": name, "namespace": space});
    let infra = "infrastructure.cluster.x-k8s.io";
    let host = |name: &str, pool: &str, user: Value, state: &str| {
        json!({
            "apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
            "metadata": {"name": name, "namespace": space, "labels": {"pool": pool, "rack": "r3"}},
            "spec": {"online": true, "consumerRef": user},
            "status": {"provisioning": {"state": state, "ID": ""}, "operationalStatus": "OK", "errorMessage": "", "errorCount": 0,
                "poweredOn": true, "hardware": {"cpu": {"count": 64}, "ramMebibytes": 262_144}},
        })
    };
    let user = json!({"apiVersion": format!("{infra}/v1beta2"), "kind": "Metal3Machine", "name": "iron-0", "namespace": space});
    for one in [
        host("r3-01", "iron", user, "provisioned"),
        host("r3-02", "iron", Value::Null, "available"),
        host("r3-03", "other", Value::Null, "available"),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": meta("iron"),
            "spec": {"infrastructureRef": {"apiGroup": infra, "kind": "Metal3Cluster", "name": "iron"}},
        }),
        json!({"apiVersion": format!("{infra}/v1beta2"), "kind": "Metal3Cluster", "metadata": meta("iron"), "spec": {}}),
        json!({
            "apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPPool", "metadata": meta("iron"),
            "spec": {"clusterName": "iron", "namePrefix": "iron", "pools": [{"start": "10.9.0.1", "end": "10.9.0.2"}]},
        }),
        json!({
            "apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPAddress", "metadata": meta("iron-10-9-0-1"),
            "spec": {"address": "10.9.0.1", "pool": {"name": "iron"}, "claim": {"name": "iron-0-iron"}},
        }),
        json!({
            "apiVersion": format!("{infra}/v1beta2"), "kind": "Metal3DataTemplate", "metadata": meta("iron"),
            "spec": {"clusterName": "iron", "networkData": {"networks": {"ipv4": [{"id": "a", "link": "eth0", "ipAddressFromIPPool": "iron"}]}}},
        }),
        json!({
            "apiVersion": format!("{infra}/v1beta2"), "kind": "Metal3MachineTemplate", "metadata": meta("iron"),
            "spec": {"template": {"spec": {"hostSelector": {"matchLabels": {"pool": "iron"}}, "dataTemplate": {"name": "iron"},
                "image": {"url": "http://images/node.raw", "checksum": "http://images/node.raw.sha256sum"}}}},
        }),
        json!({
            "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfigTemplate", "metadata": meta("iron"),
            "spec": {"template": {"spec": {}}},
        }),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": meta("iron"),
            "spec": {"clusterName": "iron", "replicas": 3, "selector": {"matchLabels": {"pool": "iron"}},
                "template": {"metadata": {"labels": {"pool": "iron"}}, "spec": {
                    "clusterName": "iron", "version": "v1.33.1",
                    "bootstrap": {"configRef": {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfigTemplate", "name": "iron"}},
                    "infrastructureRef": {"apiGroup": infra, "kind": "Metal3MachineTemplate", "name": "iron"}}}},
        }),
    ] {
        write(client, &one).await;
    }
    let machine = |name: &str, status: Value| {
        json!({
            "apiVersion": format!("{infra}/v1beta2"), "kind": "Metal3Machine",
            "metadata": {"name": name, "namespace": space, "labels": {
                "cluster.x-k8s.io/cluster-name": "iron", "cluster.x-k8s.io/deployment-name": "iron"}},
            "spec": {"hostSelector": {"matchLabels": {"pool": "iron"}, "matchExpressions": [{"key": "rack", "operator": "in", "values": ["r4"]}]},
                "image": {"url": "http://images/node.raw", "checksum": "http://images/node.raw.sha256sum"}},
            "status": status,
        })
    };
    write(client, &machine("iron-0", condition("Ready", "True", "Ready", ""))).await;
    let waits =
        condition("Ready", "False", "WaitingForHost", "no BareMetalHost of this namespace can be taken");
    write(client, &machine("iron-1", waits)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_planned_checked_and_explained() {
    let server = ApiServer::start().await.unwrap();
    let kubeconfig = file("site", &server.kubeconfig());

    // A cluster that has nothing, not even the kinds.
    let (code, _, wrong) = said(&scute(&kubeconfig, &["plan", "--live"]));
    assert_eq!(code, 2, "{wrong}");
    assert!(wrong.contains("neither Nodes nor inspected BareMetalHosts"), "{wrong}");
    let (code, out, wrong) = said(&scute(&kubeconfig, &["lint", "--live"]));
    assert_eq!((code, out.as_str()), (0, "0 errors, 0 warnings, 0 notes\n"), "{wrong}");
    let (code, _, wrong) = said(&scute(&kubeconfig, &["explain", "cluster", "team"]));
    assert_eq!(code, 2, "{wrong}");
    assert!(wrong.contains("serves no kind cluster"), "{wrong}");

    let foreign = vec![
        serde_json::from_value(foreign("metallb.io", "v1beta1", "IPAddressPool", "ipaddresspools")).unwrap(),
    ];
    server.install_crds([scute_api::crds(), foreign].concat()).await;
    let client = server.client().await;
    for one in [node("n1", 32, "134217728Ki"), node("n2", 32, "134217728Ki")] {
        write(&client, &one).await;
    }
    let (team, shop) = (server.namespace("team").await, server.namespace("shop").await);
    let metal = server.namespace("metal").await;
    for space in [&team, &shop] {
        write(&client, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": space}})).await;
    }
    stuck_tenant(&client, &team).await;
    others(&client, &shop).await;
    iron(&client, &metal).await;

    // Servers are Nodes and inspected hosts; tenants are Clusters and namespaces. Launchers are neither.
    let (code, out, wrong) = said(&scute(&kubeconfig, &["plan", "--live", "-o", "json"]));
    assert_eq!(code, 1, "the site has two servers for three Nodes of iron: {wrong}");
    let plan: Value = serde_json::from_str(&out).unwrap();
    let names = |list: &str| -> Vec<String> {
        plan[list].as_array().unwrap().iter().map(|x| x["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("hosts"), ["n1", "n2", "r3-01", "r3-02", "r3-03"]);
    assert_eq!(names("tenants"), ["iron", shop.as_str(), "team"]);
    let pool = &plan["tenants"][2]["pools"][0];
    assert_eq!((pool["size"].as_str(), pool["replicas"].as_u64()), (Some("4/8"), Some(2)));
    assert_eq!(plan["tenants"][2]["controlPlane"], "hosted");
    assert_eq!(plan["tenants"][1]["pools"][0]["requested"]["cpu"], 1000);
    assert!(wrong.contains("BareMetalHost r2-02 was not inspected: it is left out"), "{wrong}");
    assert!(wrong.contains("BareMetalHost r2-01 has an error: 401 Unauthorized: it is left out"), "{wrong}");
    assert!(
        wrong.contains("IPPool iron has 1 address left and the Nodes of iron want 2 more: 1 stays"),
        "{wrong}"
    );
    // What a tenant has stays its own.
    let held = plan["hosts"].as_array().unwrap().iter().find(|h| h["name"] == "r3-01").unwrap();
    assert_eq!(
        (&held["role"], &held["placements"][0]["tenant"]),
        (&json!("metal"), &json!("iron")),
        "{held}"
    );

    let (code, out, wrong) = said(&scute(&kubeconfig, &["lint", "--live"]));
    assert_eq!(code, 1, "{out}{wrong}");
    assert!(out.contains("error[address-outside-pool]") && out.contains("192.168.0.200"), "{out}");
    assert!(out.contains("error[version-skew]"), "{out}");
    assert!(!out.contains("error[reference]"), "{out}");
    assert!(out.contains("error[pool-size]: IPPool iron has 1 address left"), "{out}");
    assert!(out.contains("wants 3 servers, 1 fit hostSelector of iron and are free"), "{out}");

    // What the manager is told is read where the manager is, and nowhere else.
    assert!(!out.contains("config.yaml"), "{out}");
    let told = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scute-manager", "namespace": metal},
        "data": {"config.yaml": "["}});
    write(&client, &told).await;
    assert!(
        !said(&scute(&kubeconfig, &["lint", "--live"])).1.contains("config.yaml"),
        "of a namespace that is no manager's"
    );
    let hook = json!({"name": "validate.scute.dev", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "scute-webhook", "namespace": metal}}});
    let hooks = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "scute"}, "webhooks": [hook]});
    write(&client, &hooks).await;
    let (_, out, wrong) = said(&scute(&kubeconfig, &["lint", "--live"]));
    assert!(out.contains("config.yaml does not read"), "{out}{wrong}");

    let (code, out, wrong) = said(&scute(&kubeconfig, &["explain", "metal3machine", "iron-1", "-n", &metal]));
    assert_eq!(code, 1, "{out}{wrong}");
    assert!(
        out.contains(
            "host: r3-02 does not fit hostSelector.matchExpressions[0]: rack in r4 is wanted, it has r3"
        ),
        "{out}"
    );
    applied(&server, &client).await;

    for question in [["cluster", "team"], ["machine", "team-a"]] {
        let (code, out, wrong) =
            said(&scute(&kubeconfig, &["explain", question[0], question[1], "-n", &team]));
        assert_eq!(code, 1, "{out}{wrong}");
        assert!(
            out.contains(&format!("└ Pod {team}/virt-launcher-team-a: PodScheduled=False: Unschedulable")),
            "{out}"
        );
        assert!(out.contains("fix: no host has room"), "{out}");
    }
    // A group has several versions, and not every one of them has every kind.
    let (code, out, wrong) = said(&scute(&kubeconfig, &["cluster", "describe", "team", "-n", &team]));
    assert!(
        code == 0 && out.contains("KubevirtCluster/team") && !out.contains("does not exist"),
        "{out}{wrong}"
    );

    let (code, out, wrong) = said(&scute(&kubeconfig, &["explain", "host", "r2-01", "-n", &shop]));
    assert_eq!(code, 1, "{out}{wrong}");
    assert!(out.contains("fix: correct the BMC user and password in Secret r2-01-bmc"), "{out}");
    let (code, _, wrong) = said(&scute(&kubeconfig, &["explain", "cluster", "team"]));
    assert_eq!(code, 2);
    assert!(
        wrong.contains(&format!("there is no cluster team in namespace default; there is one in {team}")),
        "{wrong}"
    );
}

/// What `scute plan apply` writes is taken as it is: with strict validation, on hosts that are registered.
async fn applied(server: &ApiServer, client: &Client) {
    let space = server.namespace("written").await;
    let fleet = file(
        "apply-fleet.yaml",
        "hosts:\n- {name: vm, count: 3, class: xeon, cores: 48, memory: 256Gi}\n- {name: big, count: 2, class: epyc, cores: 128, memory: 1Ti}\n",
    );
    let demand = file(
        "apply-demand.yaml",
        "tenants:\n- {name: duo, nodes: [{size: 4/16, count: 2}, {size: 96/512, count: 1, on: metal}]}\n- {name: solid, nodes: [{size: 96/512, count: 1, on: metal}]}\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scute"));
        command
            .args(["plan", "apply", "--namespace", &space, "--fleet"])
            .arg(&fleet)
            .arg("--demand")
            .arg(&demand);
        said(&command.arg("--write").arg(folder.path()).args(more).output().unwrap())
    };
    let (code, _, wrong) = run(&[]);
    assert_eq!(code, 2, "{wrong}");
    assert!(
        wrong.contains("pool duo-pool-2 of duo: metal Nodes need an image") && wrong.contains("of solid"),
        "{wrong}"
    );
    let (code, out, wrong) = run(&[
        "--metal-image",
        "http://images/node.qcow2",
        "--metal-checksum",
        "http://images/node.qcow2.sha256sum",
    ]);
    assert_eq!(code, 0, "{out}{wrong}");
    let hosts: Api<BareMetalHost> = Api::namespaced(client.clone(), &space);
    for name in ["big-01", "big-02"] {
        let mut host = BareMetalHost::new(name, Default::default());
        host.spec.online = true;
        hosts.create(&PostParams::default(), &host).await.unwrap();
    }
    let mut kinds = Vec::new();
    for name in ["hosts.yaml", "duo.yaml", "solid.yaml"] {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            let written = write(client, &document).await;
            kinds.push(written["kind"].as_str().unwrap_or_default().to_owned());
            if written["kind"] == "BareMetalHost" {
                assert_eq!(written["spec"]["online"], true, "nothing but the labels is touched");
            }
        }
    }
    for kind in
        ["BareMetalHost", "Metal3Cluster", "KubevirtCluster", "Metal3MachineTemplate", "MachineDeployment"]
    {
        assert!(kinds.iter().any(|k| k == kind), "{kind}: {kinds:?}");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_named() {
    let config = |server: &str| {
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]})
        .to_string()
    };
    let closed = format!("https://127.0.0.1:{}", scute_testkit::free_port().unwrap());
    let cases = [
        (PathBuf::from("/nowhere/kubeconfig"), "reading kubeconfig /nowhere/kubeconfig"),
        (file("garbage", "{{{"), "reading kubeconfig"),
        (file("closed", &config(&closed)), "does not answer"),
    ];
    for (kubeconfig, words) in &cases {
        for arguments in [&["plan", "--live"][..], &["lint", "--live"], &["explain", "cluster", "x"]] {
            let (code, out, wrong) = said(&scute(kubeconfig, arguments));
            assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {wrong}");
            assert!(wrong.contains(words), "{arguments:?}: {wrong}");
        }
    }
}

#[test]
fn exit_codes_tell_a_bad_answer_from_none() {
    let run = |arguments: &[&str]| {
        said(&Command::new(env!("CARGO_BIN_EXE_scute")).args(arguments).output().unwrap())
    };
    let path = |name: &str, text: &str| file(name, text).to_string_lossy().into_owned();
    let fleet = path("fleet.yaml", "hosts:\n- {name: h, count: 3, cores: 16, memory: 64Gi}\n");
    let small = path("small.yaml", "tenants:\n- {name: a, nodes: [{size: 4/8, count: 2}]}\n");
    let large = path("large.yaml", "tenants:\n- {name: a, nodes: [{size: 8/32, count: 9}]}\n");
    let wrong = path("wrong.yaml", "tenants:\n- {name: a, neverWith: [b], nodes: [{size: 4}]}\n");
    let plan = |fleet: &str, demand: &str| run(&["plan", "--fleet", fleet, "--demand", demand, "-o", "yaml"]);

    let (code, blueprint, _) = plan(&fleet, &small);
    assert_eq!(code, 0);
    assert_eq!(plan(&fleet, &large).0, 1, "something finds no place");
    let (code, out, said) = plan("/nowhere.yaml", &wrong);
    assert_eq!((code, out.as_str()), (2, ""));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "the missing file and both complaints: {said}");
    assert!(lines[0].starts_with("/nowhere.yaml: ") && lines[1].contains(":2: tenants[0].n"), "{said}");

    let saved = path("blueprint.yaml", &blueprint);
    assert_eq!(run(&["lint", &saved]).0, 2, "a blueprint alone says not what it must keep");
    assert_eq!(run(&["lint", &saved, "--demand", &small]).0, 0);
    let broken = path("broken.yaml", &blueprint.replace("role: vm", "role: metal"));
    assert_eq!(run(&["lint", &broken, "--demand", &small]).0, 1);
    assert_eq!(run(&["plan", "diff", &saved, &fleet]).0, 2);
    assert_eq!(run(&["explain", "cluster", "a", "--from", &small]).0, 2);
}
