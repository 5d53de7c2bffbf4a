//! Bad input is refused at the door, with the path of the field: by the schema, or by the webhook.

mod support;

use kube::core::Status;
use scute_kit::Hub;
use scute_testkit::{free_port, server};
use serde_json::{Value, json};
use support::{Bench, guest, vm};

/// A namespace whose objects go through the admission handlers.
async fn guarded(prefix: &str) -> Bench {
    let bench = Bench::new(prefix).await;
    let server = server().await;
    let (certificate, key, ca) = server.serving_certificate();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tls.crt"), certificate).unwrap();
    std::fs::write(dir.path().join("tls.key"), key).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let hub = Hub::new(bench.client.clone());
    let admission = scute_vm::admission(&hub, scute_kit::Admission::new());
    tokio::spawn(async move {
        let _certificates = &dir;
        admission.serve(address, dir.path()).await
    });
    let groups = ["kubevirt.io", "infrastructure.cluster.x-k8s.io"];
    server.install_webhooks(&bench.namespace, &groups, address, &ca, &bench.namespace).await;
    bench
}

/// Writes as kubectl does: with strict field validation.
async fn write(
    bench: &Bench,
    method: &str,
    plural: &str,
    name: &str,
    object: &Value,
) -> Result<Value, Status> {
    let versions = [("kubevirtmachinetemplates", "infrastructure.cluster.x-k8s.io/v1alpha1")];
    let group = object["apiVersion"]
        .as_str()
        .or(versions.iter().find(|known| known.0 == plural).map(|known| known.1));
    let path = format!("/apis/{}/namespaces/{}/{plural}/{name}", group.unwrap(), bench.namespace);
    let patch = method == "PATCH";
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{}?fieldValidation=Strict", path.trim_end_matches('/')))
        .header("content-type", if patch { "application/merge-patch+json" } else { "application/json" })
        .body(object.to_string().into_bytes())
        .unwrap();
    match bench.client.request(request).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(*status),
        Err(error) => panic!("{error}"),
    }
}

/// Retries while the API server has not learnt of a new webhook yet, or the handler does not listen yet.
async fn refused(bench: &Bench, plural: &str, object: &Value, expected: &str) {
    scute_testkit::until(&format!("a refusal with {expected:?}"), || async {
        let dry = "?dryRun=All&fieldValidation=Strict";
        let group = object["apiVersion"].as_str().unwrap();
        let uri = format!("/apis/{group}/namespaces/{}/{plural}{dry}", bench.namespace);
        let request = http::Request::post(uri)
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .unwrap();
        match bench.client.request::<Value>(request).await {
            Err(kube::Error::Api(status)) if status.message.contains(expected) => Some(()),
            Err(kube::Error::Api(status)) if status.message.contains("failed calling webhook") => None,
            Err(error) => panic!("another refusal than {expected:?}: {error}"),
            Ok(_) => None,
        }
    })
    .await;
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[field] = value;
    object
}

const SPEC: &str = "/spec/template/spec";

fn vm_with(pointer: &str, value: Value) -> Value {
    with(vm("a", "Always"), &format!("{SPEC}{pointer}"), value)
}

fn seed(data: Value) -> Value {
    let mut object = vm("a", "Always");
    let volumes = object.pointer_mut(&format!("{SPEC}/volumes")).unwrap();
    volumes.as_array_mut().unwrap().push(json!({"name": "seed", "cloudInitNoCloud": data}));
    object
}

#[tokio::test]
async fn virtual_machines() {
    let bench = guarded("bad-vm").await;
    let both = with(vm("a", "Always"), "/spec/running", json!(true));
    let mut neither = vm("a", "Always");
    neither["spec"].as_object_mut().unwrap().remove("runStrategy");
    let mut bare = vm("a", "Always");
    bare["spec"].as_object_mut().unwrap().remove("template");
    let two = json!([{"name": "root", "containerDisk": {"image": "i"}, "emptyDisk": {"capacity": "1Gi"}}]);
    for (object, expected) in [
        (both, "exactly one of running and runStrategy"),
        (neither, "exactly one of running and runStrategy"),
        (bare, "missing field `template`"),
        (with(vm("a", "Always"), "/spec/runStrategy", json!("Sometimes")), "spec.runStrategy: Invalid value"),
        (
            with(vm("a", "Always"), "/spec/dataVolumeTemplates", json!([{"spec": {}}])),
            "spec.dataVolumeTemplates: Forbidden: persistent volumes are not served yet",
        ),
        (
            vm_with("/domain/devices/gpus", json!([{"name": "g"}])),
            "spec.template.spec.domain.devices.gpus: Forbidden: devices of the host are not served yet",
        ),
        (vm_with("/volumes", two), "a volume must have exactly one source"),
        (vm_with("/evictionStrategy", json!("Never")), "spec.template.spec.evictionStrategy: Invalid value"),
        (vm_with("/domain/memory", Value::Null), "spec.template.spec.domain.memory.guest: Invalid value"),
        (vm_with("/domain/memory", json!({"guest": "lots"})), "spec.template.spec.domain.memory.guest"),
        (seed(json!({"userData": "x".repeat(2049)})), "inline data is limited to 2048 bytes"),
        (seed(json!({"userDataBase64": "%%%"})), "is not base64"),
        (
            seed(json!({"userData": "a", "secretRef": {"name": "s"}})),
            "only one of userData, userDataBase64 and secretRef",
        ),
        (
            vm_with("/domain/firmware", json!({"bootloader": {"bios": {}, "efi": {"secureBoot": false}}})),
            "only one of bios and efi",
        ),
        (
            vm_with("/domain/firmware", json!({"bootloader": {"efi": {"secureBoot": true}}})),
            "secureBoot: Unsupported value",
        ),
        (vm_with("/volumes", json!([])), "there is no volume of this name"),
    ] {
        refused(&bench, "virtualmachines", &object, expected).await;
    }
}

#[tokio::test]
async fn what_is_good_is_taken_in_both_versions_and_does_not_change() {
    let bench = guarded("good").await;
    let lone = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "a"}, "spec": guest()});
    let bad = with(lone.clone(), "/spec/domain/memory", Value::Null);
    refused(&bench, "virtualmachineinstances", &bad, "spec.domain.memory.guest").await;
    let made = write(&bench, "POST", "virtualmachineinstances", "", &lone).await.unwrap();
    assert_eq!(made["metadata"]["finalizers"], json!(["kubevirt.io/foregroundDeleteVirtualMachine"]));
    let changed = with(made, "/spec/domain/cpu", json!({"cores": 4}));
    let refusal = write(&bench, "PUT", "virtualmachineinstances", "a", &changed).await.unwrap_err();
    assert!(refusal.message.contains("does not change") || refusal.code == 409, "{}", refusal.message);
    let old = with(vm("old", "Halted"), "/apiVersion", json!("kubevirt.io/v1alpha3"));
    write(&bench, "POST", "virtualmachines", "", &old).await.unwrap();
    let nulls = with(
        vm("nulls", "Halted"),
        "/spec/template/metadata",
        json!({"creationTimestamp": null, "name": "x"}),
    );
    write(&bench, "POST", "virtualmachines", "", &nulls).await.unwrap();
}

#[tokio::test]
async fn machines_and_templates() {
    let bench = guarded("bad-machine").await;
    let vm_template = json!({"spec": {"runStrategy": "Always", "template": {"spec": guest()}}});
    let machine = |template: &Value| {
        json!({"apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1", "kind": "KubevirtMachine",
            "metadata": {"name": "m"}, "spec": {"virtualMachineTemplate": template}})
    };
    for (pointer, value, expected) in [
        ("/metadata", json!({"namespace": "kube-system"}), "spec.virtualMachineTemplate.metadata.namespace"),
        (
            "/spec/template/spec/hostname",
            json!("same"),
            "spec.virtualMachineTemplate.spec.template.spec.hostname",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "root", "containerDisk": {"image": "i"}}, {"name": "cloudinitvolume", "emptyDisk": {"capacity": "1Gi"}}]),
            "is the name of the volume with the bootstrap data",
        ),
        (
            "/spec/template/spec/domain/memory",
            Value::Null,
            "spec.virtualMachineTemplate.spec.template.spec.domain.memory.guest",
        ),
    ] {
        let template = with(vm_template.clone(), pointer, value);
        refused(&bench, "kubevirtmachines", &machine(&template), expected).await;
    }
    let named = with(machine(&vm_template), "/metadata/name", json!("a.b"));
    refused(&bench, "kubevirtmachines", &named, "metadata.name").await;
    let external = with(machine(&vm_template), "/spec/infraClusterSecretRef", json!({"name": "s"}));
    refused(&bench, "kubevirtmachines", &external, "spec.infraClusterSecretRef: Forbidden").await;

    let template = json!({"apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1", "kind": "KubevirtMachineTemplate",
        "metadata": {"name": "t"}, "spec": {"template": {"spec": {"virtualMachineTemplate": vm_template}}}});
    let made = write(&bench, "POST", "kubevirtmachinetemplates", "", &template).await.unwrap();
    assert_eq!(made["metadata"]["name"], "t");
    let check = json!({"virtualMachineBootstrapCheck": {"checkStrategy": "none"}});
    let mut change = json!({"spec": {"template": {"spec": check}}});
    let refusal = write(&bench, "PATCH", "kubevirtmachinetemplates", "t", &change).await.unwrap_err();
    assert!(refusal.message.contains("make another"), "{}", refusal.message);
    change["metadata"] = json!({"annotations": {"topology.cluster.x-k8s.io/dry-run": ""}});
    let templates = bench.api::<scute_api::infrastructure::KubevirtMachineTemplate>();
    let dry = kube::api::PatchParams { dry_run: true, ..Default::default() };
    templates.patch("t", &dry, &kube::api::Patch::Merge(&change)).await.unwrap();
}
