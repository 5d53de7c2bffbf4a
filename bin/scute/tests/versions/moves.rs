//! `clusterctl` reads a Cluster, and moves it to a folder, out of it, and to another management cluster, where the controllers
//! find its status again and change nothing.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use scute_testkit::{free_port, until};
use serde_json::{Value, json};

use crate::clusterctl::{api, clusterctl, create};
use crate::world::{World, whole};

const CORE: &str = "cluster.x-k8s.io/v1beta2";
const INFRA: &str = "infrastructure.cluster.x-k8s.io/v1beta2";
const METAL3: &str = "metal3.io/v1alpha1";
const CLUSTER: &str = include_str!("moved-cluster.yaml");

async fn make(world: &World, api_version: &str, kind: &str, object: Value) -> Value {
    let mut object = object;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    let object = serde_json::from_value(object).expect("an object");
    let made = api(world, api_version, kind).create(&PostParams::default(), &object).await;
    whole(made.unwrap_or_else(|error| panic!("{kind}: {error}")))
}

async fn change(world: &World, api_version: &str, kind: &str, name: &str, change: Value) {
    let api = api(world, api_version, kind);
    api.patch(name, &PatchParams::default(), &Patch::Merge(&change)).await.expect("patched");
}

/// Until a kind's object of this name has what is asked for.
async fn has<T>(
    world: &World,
    api_version: &str,
    kind: &str,
    name: &str,
    what: impl Fn(&Value) -> Option<T>,
) -> T {
    let (api, what) = (api(world, api_version, kind), &what);
    until(&format!("{kind} {name} is as it shall be"), || {
        let api = api.clone();
        async move { what(&whole(api.get_opt(name).await.expect("read")?)) }
    })
    .await
}

async fn says(world: &World, api_version: &str, kind: &str, name: &str, place: &str, wanted: Value) {
    has(world, api_version, kind, name, |object| {
        object.pointer(place).is_some_and(|is| *is == wanted).then_some(())
    })
    .await;
}

fn text(object: &Value, place: &str) -> Option<String> {
    object.pointer(place)?.as_str().map(str::to_owned)
}

/// A server as the controller of hosts keeps it in this state, with what it has found in it, and the way to its BMC, which does not answer.
async fn a_server(world: &World, name: &str) {
    let bmc = json!({"address": format!("redfish+http://127.0.0.1:1/redfish/v1/Systems/{name}"), "credentialsName": format!("{name}-bmc")});
    let spec =
        json!({"online": true, "bmc": bmc, "bootMACAddress": format!("52:54:00:00:00:0{}", &name[1..])});
    let host = make(world, METAL3, "BareMetalHost", json!({"metadata": {"name": name}, "spec": spec})).await;
    let owner = json!([{"apiVersion": METAL3, "kind": "BareMetalHost", "name": name, "uid": host["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}]);
    let mut plain = owner.clone();
    plain[0]
        .as_object_mut()
        .expect("an owner")
        .retain(|field, _| !field.contains("ontrol") && !field.contains("block"));
    let secret = json!({"metadata": {"name": format!("{name}-bmc"), "ownerReferences": plain,
        "labels": {"environment.metal3.io": "baremetal"}}, "stringData": {"username": "a", "password": "b"}});
    make(world, "v1", "Secret", secret).await;
    let data = json!({"metadata": {"name": name, "ownerReferences": owner}, "spec": {"hardware": {"hostname": name}}});
    make(world, METAL3, "HardwareData", data).await;
    in_state(world, name, "available").await;
}

async fn in_state(world: &World, name: &str, state: &str) {
    let host = whole(api(world, METAL3, "BareMetalHost").get(name).await.expect("read"));
    let status = json!({"operationalStatus": "OK", "errorMessage": "", "errorCount": 0, "provisioningFailCount": 0,
        "poweredOn": true, "hardware": {"hostname": name},
        "provisioning": {"state": state, "ID": "", "image": host["spec"]["image"]}});
    let (params, patch) = (PatchParams::default(), json!({"status": status}));
    api(world, METAL3, "BareMetalHost")
        .patch_status(name, &params, &Patch::Merge(&patch))
        .await
        .expect("reported");
    if state == "provisioned" {
        let annotations = json!({"baremetalhost.metal3.io/status": status.to_string()});
        change(world, METAL3, "BareMetalHost", name, json!({"metadata": {"annotations": annotations}})).await;
    }
}

/// The server of a machine gets its image and becomes a Node.
async fn joins(world: &World, machine: &str) {
    let place = "/metadata/annotations/metal3.io~1BareMetalHost";
    let host = has(world, INFRA, "Metal3Machine", machine, |object| text(object, place)).await;
    let host = host.split_once('/').expect("namespace and name").1.to_owned();
    let image = |object: &Value| object.pointer("/spec/image/url").cloned();
    has(world, METAL3, "BareMetalHost", &host, image).await;
    in_state(world, &host, "provisioned").await;
    let id = has(world, INFRA, "Metal3Machine", machine, |object| text(object, "/spec/providerID")).await;
    let labels = match machine {
        "cp" => json!({"node-role.kubernetes.io/control-plane": ""}),
        _ => json!({}),
    };
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": machine, "labels": labels}, "spec": {"providerID": id}});
    let nodes = world.of("", "v1", "Node", None);
    let node = serde_json::from_value(node).expect("a Node");
    nodes.create(&PostParams::default(), &node).await.expect("joined");
    let condition =
        |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "m"});
    let conditions = json!([
        condition("Ready", "True"),
        condition("MemoryPressure", "False"),
        condition("DiskPressure", "False"),
        condition("PIDPressure", "False")
    ]);
    let patch = json!({"status": {"conditions": conditions, "nodeInfo": {"kubeletVersion": "v1.35.4"}}});
    nodes.patch_status(machine, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("reported");
}

/// Makes the Cluster `c` of two servers, whose API server is the world's own; gives the names of its Machines.
async fn a_cluster(world: &World) -> Vec<String> {
    let kubeconfig = std::fs::read_to_string(world.kubeconfig()).expect("read");
    let secret = json!({"metadata": {"name": "c-kubeconfig", "labels": {"cluster.x-k8s.io/cluster-name": "c"}},
        "type": "cluster.x-k8s.io/secret", "stringData": {"value": kubeconfig}});
    make(world, "v1", "Secret", secret).await;
    for server in ["h1", "h2"] {
        a_server(world, server).await;
    }
    create(world, CLUSTER).await;
    joins(world, "cp").await;
    let machines = api(world, INFRA, "Metal3Machine");
    let worker = until("the MachineDeployment has a machine", || async {
        let all = machines.list(&ListParams::default()).await.expect("listed");
        all.items.iter().map(ResourceExt::name_any).find(|name| name != "cp")
    })
    .await;
    joins(world, &worker).await;
    let all = vec!["cp".to_owned(), worker];
    settled(world, &all).await;
    all
}

/// Until the controllers have found everything.
async fn settled(world: &World, machines: &[String]) {
    says(world, CORE, "Cluster", "c", "/status/initialization/controlPlaneInitialized", json!(true)).await;
    // Whoever began the Cluster gives its lock back after that; clusterctl moves no object that goes meanwhile.
    let maps = api(world, "v1", "ConfigMap");
    until("nobody begins it any more", async || {
        maps.get_opt("c-lock").await.expect("an answer").is_none().then_some(())
    })
    .await;
    says(world, CORE, "Cluster", "c", "/status/initialization/infrastructureProvisioned", json!(true)).await;
    for name in machines {
        says(world, CORE, "Machine", name, "/status/nodeRef/name", json!(name)).await;
        says(world, CORE, "Machine", name, "/status/phase", json!("Running")).await;
        says(world, INFRA, "Metal3Machine", name, "/status/initialization/provisioned", json!(true)).await;
        let bootstrap = "bootstrap.cluster.x-k8s.io/v1beta2";
        says(
            world,
            bootstrap,
            "KubeadmConfig",
            name,
            "/status/initialization/dataSecretCreated",
            json!(true),
        )
        .await;
    }
    says(world, CORE, "MachineDeployment", "md", "/status/availableReplicas", json!(1)).await;
    says(world, CORE, "MachineDeployment", "md", "/status/upToDateReplicas", json!(1)).await;
    for host in ["h1", "h2"] {
        says(world, METAL3, "BareMetalHost", host, "/status/provisioning/state", json!("provisioned")).await;
    }
}

/// Everything that a move may take, by kind and name: what it says, whose it is, and its labels.
async fn everything(world: &World) -> BTreeMap<String, Value> {
    let client = world.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let movable = ListParams::default().labels("clusterctl.cluster.x-k8s.io");
    let mut resources =
        vec![resource("", "v1", "Secret", "secrets"), resource("", "v1", "ConfigMap", "configmaps")];
    for definition in definitions.list(&movable).await.expect("listed") {
        let stored = definition.spec.versions.iter().find(|version| version.storage).expect("a version");
        let names = &definition.spec.names;
        resources.push(resource(&definition.spec.group, &stored.name, &names.kind, &names.plural));
    }
    let mut all = BTreeMap::new();
    for resource in resources {
        for object in list(&client, &resource).await {
            let object = whole(object);
            let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let mut owners: Vec<_> = owners
                .map(|owner| format!("{} {} {}", owner["kind"], owner["name"], owner["controller"]))
                .collect();
            owners.sort();
            let parts = json!({"spec": object["spec"], "data": object["data"], "labels": object["metadata"]["labels"], "owners": owners});
            all.insert(format!("{} {}", resource.kind, object["metadata"]["name"]), parts);
        }
    }
    all
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let gvk = kube::api::GroupVersionKind::gvk(group, version, kind);
    ApiResource::from_gvk_with_plural(&gvk, plural)
}

async fn list(client: &Client, resource: &ApiResource) -> Vec<DynamicObject> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", resource);
    api.list(&ListParams::default()).await.expect("listed").items
}

/// The same objects, and what differs in one of them.
fn same(found: &BTreeMap<String, Value>, wanted: &BTreeMap<String, Value>) {
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "nothing is lost, and nothing made");
    for (name, wanted) in wanted {
        assert_eq!(found[name], *wanted, "{name}");
    }
}

#[tokio::test]
#[ignore = "cargo xtask test builds clusterctl for it"]
async fn clusterctl_reads_a_cluster_and_moves_it() {
    let ramdisk = tempfile::NamedTempFile::new().expect("a file");
    let metal = json!({"metal": {"serviceAddress": "127.0.0.1", "servicePort": free_port().expect("a port"),
        "mediaPort": free_port().expect("a port"), "ramdisk": ramdisk.path()}});
    let (source, target) = tokio::join!(World::working(json!({})), World::working(metal));
    let machines = a_cluster(&source).await;

    let tree = clusterctl(&source, &["describe", "cluster", "c", "--echo", "--color=false"]).await;
    for wanted in [
        "\nCluster default/c",
        "Metal3Cluster default/c",
        "─Machine default/cp",
        "Metal3Machine default/cp",
        "KubeadmConfig default/cp",
        "MachineDeployment default/md",
    ] {
        assert!(tree.contains(wanted), "{wanted} in {tree}");
    }
    let kubeconfig = std::fs::read_to_string(source.kubeconfig()).expect("read");
    assert_eq!(clusterctl(&source, &["get", "kubeconfig", "c"]).await.trim(), kubeconfig.trim());

    let before = everything(&source).await;
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().to_str().expect("UTF-8");
    clusterctl(&source, &["move", "--to-directory", place]).await;
    settled(&source, &machines).await;
    same(&everything(&source).await, &before);

    let to = target.kubeconfig();
    clusterctl(&source, &["move", "--to-kubeconfig", to.to_str().expect("UTF-8")]).await;
    let left = everything(&source).await;
    assert!(left.is_empty(), "nothing is left behind: {left:?}");
    settled(&target, &machines).await;
    same(&everything(&target).await, &before);

    clusterctl(&source, &["move", "--from-directory", place]).await;
    same(&everything(&source).await, &before);
}
