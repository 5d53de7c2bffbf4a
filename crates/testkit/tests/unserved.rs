//! Upstream's fields that are not honoured are refused with a reason, whatever validation the client asks for.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion;
use kube::core::Status;
use scute_api::unserved::{Shape, Unserved, fields};
use serde_json::{Value, json};

async fn create(uri: &str, object: &Value) -> Result<Value, Box<Status>> {
    let server = scute_testkit::server().await;
    let request = http::Request::post(format!("{uri}?fieldValidation=Ignore&dryRun=All"))
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    match server.client().await.request(request).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status),
        Err(error) => panic!("{error}"),
    }
}

/// A reference of both versions of Cluster API.
fn infrastructure() -> Value {
    json!({"apiGroup": "a.b", "apiVersion": "a.b/v1", "kind": "K", "name": "n"})
}

fn machine() -> Value {
    json!({"clusterName": "c", "bootstrap": {"dataSecretName": "s"}, "infrastructureRef": infrastructure()})
}

/// A template named as both versions of a ClusterClass do.
fn template() -> Value {
    let reference = json!({"apiVersion": "a.b/v1", "kind": "KTemplate", "name": "n"});
    json!({"ref": reference, "templateRef": reference})
}

fn kamaji_control_plane() -> Value {
    json!({"version": "v1.35.4", "network": {"serviceType": "NodePort"},
        "addons": {}, "apiServer": {}, "controllerManager": {}, "scheduler": {}, "deployment": {}})
}

fn machines() -> Value {
    json!({"clusterName": "c", "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": machine()}})
}

fn vmi() -> Value {
    json!({
        "domain": {"cpu": {"cores": 1}, "memory": {"guest": "1Gi"}, "devices": {
            "disks": [{"name": "d"}], "interfaces": [{"name": "n", "bridge": {}}]}},
        "networks": [{"name": "n", "pod": {}}],
        "volumes": [{"name": "d", "containerDisk": {"image": "i"}}],
    })
}

fn vm() -> Value {
    json!({"runStrategy": "Always", "template": {"spec": vmi()}})
}

/// A spec of a kind that is accepted, with everything in it that holds an unserved field.
fn spec(kind: &str) -> Value {
    let kubeadm = json!({"joinConfiguration": {"nodeRegistration": {"name": "n"}}});
    match kind {
        "Cluster" => json!({"infrastructureRef": infrastructure(),
            "topology": {"class": "c", "classRef": {"name": "c"}, "version": "v1.35.4", "workers": {}}}),
        "Machine" => machine(),
        "MachineDeployment" | "MachineSet" => machines(),
        "KubeadmConfig" => kubeadm,
        "KubeadmConfigTemplate" => json!({"template": {"spec": kubeadm}}),
        "ClusterClass" => json!({"infrastructure": template(), "controlPlane": template(),
            "patches": [{"name": "p", "definitions": [{
                "selector": {"apiVersion": "a.b/v1", "kind": "KTemplate", "matchResources": {"controlPlane": true}},
                "jsonPatches": [{"op": "add", "path": "/spec/a", "value": 1}]}]}]}),
        "KamajiControlPlane" => kamaji_control_plane(),
        "KamajiControlPlaneTemplate" => json!({"template": {"spec": kamaji_control_plane()}}),
        "TenantControlPlane" => json!({"kubernetes": {"version": "v1.35.4", "kubelet": {}}, "addons": {},
            "networkProfile": {"port": 6443}, "controlPlane": {"service": {"serviceType": "NodePort"},
                "deployment": {"replicas": 1, "resources": {}, "extraArgs": {}}}}),
        "KubevirtCluster" => json!({}),
        "KubevirtClusterTemplate" => json!({"template": {"spec": {}}}),
        "KubevirtMachine" => json!({"virtualMachineTemplate": {"spec": vm()}}),
        "KubevirtMachineTemplate" => {
            json!({"template": {"spec": {"virtualMachineTemplate": {"spec": vm()}}}})
        }
        "VirtualMachine" => vm(),
        "VirtualMachineInstance" => vmi(),
        "BareMetalHost" => json!({"online": true, "image": {"url": "http://i", "format": "live-iso"}}),
        other => panic!("{other} has no spec here"),
    }
}

fn object(field: &Unserved, api_version: &str, value: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": field.kind, "metadata": {"name": "n"},
        "spec": spec(field.kind)});
    let mut place = &mut object;
    for step in field.path.split('.') {
        place = match step.strip_suffix("[]") {
            Some(list) => &mut place[list][0],
            None => &mut place[step],
        };
    }
    *place = value;
    object
}

/// Whether the schema of a version has the field: an older one may never have had it.
fn knows(version: &CustomResourceDefinitionVersion, path: &str) -> bool {
    let schema = json!(version.schema.as_ref().unwrap().open_api_v3_schema);
    let end = path.split('.').try_fold(&schema, |schema, step| match step.strip_suffix("[]") {
        Some(list) => schema["properties"].get(list).map(|list| &list["items"]),
        None => schema["properties"].get(step),
    });
    end.is_some()
}

#[tokio::test]
async fn every_unserved_field_is_refused_with_its_path_and_a_reason() {
    let server = scute_testkit::server().await;
    let mut crds = scute_api::crds();
    // The schema of each version is asked: nobody is here who converts.
    for crd in &mut crds {
        crd.spec.conversion = None;
    }
    server.install_crds(crds.clone()).await;
    let namespace = server.namespace("unserved").await;
    for field in fields() {
        let crd = crds.iter().find(|crd| crd.spec.names.kind == field.kind).unwrap();
        let versions: Vec<_> =
            crd.spec.versions.iter().filter(|version| knows(version, &field.path)).collect();
        assert!(versions.iter().any(|version| version.storage), "{field:?} is in no schema that is stored");
        for version in versions.into_iter().map(|version| &version.name) {
            let (group, plural) = (&crd.spec.group, &crd.spec.names.plural);
            let uri = format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}");
            let api_version = format!("{group}/{version}");
            let (wish, none) = match field.shape {
                Shape::Object => (json!({"anything": 1}), Value::Null),
                Shape::Settings => (json!({"anything": {"a": 1}}), json!({})),
                Shape::List => (json!([{"anything": 1}]), json!([])),
                Shape::Flag => (json!(true), json!(false)),
                Shape::Text => (json!("x"), json!("")),
            };
            let refused = create(&uri, &object(&field, &api_version, wish)).await.expect_err(&field.path);
            let path = field.path.replace("[]", "[0]");
            let told = format!("{path}: Forbidden: {}", field.why);
            assert!(refused.message.contains(&told), "{told}\n{}", refused.message);
            let taken = create(&uri, &object(&field, &api_version, none)).await;
            assert!(taken.is_ok(), "no wish for {field:?}: {}", taken.unwrap_err().message);
        }
    }
}
