//! v1beta1 of Metal3's kinds beside v1beta2, by the webhook of a manager that is not the leader.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Client, Error, ResourceExt};
use scute_testkit::{ApiServer, Process, free_port, until};
use serde_json::{Value, json};
use tempfile::TempDir;

const GROUP: &str = "infrastructure.cluster.x-k8s.io";
const OLD: &str = "v1beta1";
const NEW: &str = "v1beta2";
const SAMPLES: &str = include_str!("versions/metal3-v1beta1.yaml");

/// An API server with everything as `scute up` installs it, and a manager that waits for its lease.
struct World {
    _server: ApiServer,
    client: Client,
    folder: TempDir,
    port: u16,
    manager: Process,
}

impl World {
    async fn start() -> Self {
        let server = ApiServer::start().await.expect("an API server");
        let client = server.client().await;
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port().expect("a port"));
        let (certificate, key, ca) = server.serving_certificate();
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("written");
        write("tls.crt", certificate);
        write("tls.key", key);
        write("kubeconfig", server.kubeconfig());
        write("config.yaml", json!({"webhookCertificates": folder.path()}).to_string());
        held_by_another(&client).await;
        let manager = manager(folder.path(), port);
        scute_install::definitions(&client, &ca).await.expect("installed");
        let world = Self { _server: server, client, folder, port, manager };
        world.call_the_manager(&ca).await;
        world
    }

    /// There are no Services on a bare API server: it calls the manager by its address.
    async fn call_the_manager(&self, ca: &str) {
        let called = |mut client_config: Value| {
            let path = client_config["service"]["path"].as_str().expect("a path").to_owned();
            client_config["url"] = format!("https://127.0.0.1:{}{path}", self.port).into();
            client_config["service"] = Value::Null;
            client_config
        };
        let definitions = self.of("apiextensions.k8s.io", "v1", "CustomResourceDefinition", None);
        for crd in definitions.list(&Default::default()).await.expect("listed") {
            let config = crd.data.pointer("/spec/conversion/webhook/clientConfig").cloned();
            let Some(config) = config else { continue };
            assert!(config["caBundle"].as_str().is_some_and(|text| !text.is_empty()), "{config}");
            let change = json!({"spec": {"conversion": {"webhook": {"clientConfig": called(config)}}}});
            let name = crd.name_any();
            definitions.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await.expect("patched");
        }
        for mut configuration in scute_install::webhook_configurations(ca) {
            for webhook in configuration["webhooks"].as_array_mut().expect("webhooks") {
                webhook["clientConfig"] = called(webhook["clientConfig"].take());
            }
            let kind = configuration["kind"].as_str().expect("a kind").to_owned();
            let api = self.of("admissionregistration.k8s.io", "v1", &kind, None);
            let object = serde_json::from_value(configuration).expect("an object");
            api.create(&PostParams::default(), &object).await.expect("created");
        }
        self.answers().await;
    }

    /// Until conversions and admission are asked for, and the manager answers both.
    async fn answers(&self) {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let bad = json!({"strategy": {"type": "Reboot", "timeout": "1s", "retryLimit": 1}});
        until("the webhooks answer", || {
            let name = format!("probe-{}", NAMES.fetch_add(1, Ordering::Relaxed));
            let object = object(OLD, "Metal3Remediation", &name, bad.clone());
            async move {
                let answer = self.create(OLD, "Metal3Remediation", object).await;
                answer.err().filter(|error| error.to_string().contains("denied the request"))
            }
        })
        .await;
    }

    fn of(&self, group: &str, version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        if kind == "Metal3Data" {
            resource.plural = "metal3datas".into();
        }
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    fn kind(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        self.of(GROUP, version, kind, Some("default"))
    }

    async fn create(&self, version: &str, kind: &str, object: Value) -> Result<Value, Error> {
        let object = serde_json::from_value(object).expect("an object");
        Ok(whole(self.kind(version, kind).create(&PostParams::default(), &object).await?))
    }

    async fn get(&self, version: &str, kind: &str, name: &str) -> Result<Value, Error> {
        Ok(whole(self.kind(version, kind).get(name).await?))
    }

    async fn apply(&self, who: &str, version: &str, name: &str, spec: Value) -> Result<Value, Error> {
        let object = object(version, "Metal3Machine", name, spec);
        let api = self.kind(version, "Metal3Machine");
        Ok(whole(api.patch(name, &PatchParams::apply(who), &Patch::Apply(&object)).await?))
    }

    async fn text(&self, path: &str) -> String {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.client.request_text(request).await.expect("an answer")
    }
}

/// Nobody gives this lease back.
async fn held_by_another(client: &Client) {
    let post = PostParams::default();
    let namespace =
        serde_json::from_value(json!({"metadata": {"name": "scute-system"}})).expect("a Namespace");
    Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone())
        .create(&post, &namespace)
        .await
        .expect("made");
    let spec = json!({"holderIdentity": "another", "leaseDurationSeconds": 3600});
    let lease = serde_json::from_value(json!({"metadata": {"name": "scute-manager"}, "spec": spec}))
        .expect("a Lease");
    let leases = Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(client.clone(), "scute-system");
    leases.create(&post, &lease).await.expect("made");
}

fn manager(folder: &Path, port: u16) -> Process {
    let at = |name: &str| folder.join(name).display().to_string();
    let arguments = [
        format!("KUBECONFIG={}", at("kubeconfig")),
        env!("CARGO_BIN_EXE_scute").to_owned(),
        "manager".to_owned(),
        format!("--config={}", at("config.yaml")),
        format!("--webhook-port={port}"),
        format!("--health-port={}", free_port().expect("a port")),
    ];
    Process::start(Path::new("/usr/bin/env"), &arguments, &folder.join("log")).expect("a manager")
}

fn object(version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/{version}"), "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn whole(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("JSON")
}

/// Manager and version of every applied part.
fn appliers(object: &Value) -> Vec<(&str, &str)> {
    let entries = object["metadata"]["managedFields"].as_array().expect("managers");
    let applied = entries.iter().filter(|entry| entry["operation"] == "Apply");
    applied.map(|e| (e["manager"].as_str().unwrap_or(""), e["apiVersion"].as_str().unwrap_or(""))).collect()
}

/// What `wanted` says, whatever else there is: defaults.
fn says(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| says(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| says(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

#[tokio::test]
async fn what_is_written_in_v1beta1_is_read_in_both() {
    let world = World::start().await;
    for document in SAMPLES.split("\n---\n") {
        let written: Value = serde_saphyr::from_str(document).expect("YAML");
        let (kind, name) = (written["kind"].as_str().expect("a kind"), &written["metadata"]["name"]);
        let name = name.as_str().expect("a name");
        world
            .create(OLD, kind, written.clone())
            .await
            .unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        let read = world.get(OLD, kind, name).await.expect("read");
        assert!(says(&read["spec"], &written["spec"]), "{kind}: {}", read["spec"]);
        assert_eq!(read["metadata"].get("annotations"), None, "{kind}");
        let stored = world.get(NEW, kind, name).await.expect("read");
        let (place, right) = match kind {
            "Metal3Cluster" => ("/spec/cloudProviderEnabled", json!(false)),
            "Metal3DataTemplate" => ("/spec/metaData/ipAddressesFromPool/0/key", json!("internal_ip")),
            "Metal3MachineTemplate" if name.ends_with("baked") => {
                ("/spec/template/spec/image/diskFormat", json!("qcow2"))
            }
            _ => ("/spec/template/spec/image/diskFormat", json!("raw")),
        };
        assert_eq!(stored.pointer(place), Some(&right), "{kind}: {stored}");
    }

    // What the old version has no word for survives an edit there.
    let spec =
        json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"image": {"url": "oci://i/a"}}}});
    let new = object(NEW, "Metal3MachineTemplate", "new", spec);
    world.create(NEW, "Metal3MachineTemplate", new).await.expect("created");
    let old = world.kind(OLD, "Metal3MachineTemplate");
    let mut read = old.get("new").await.expect("read");
    read.data["spec"]["nodeReuse"] = json!(true);
    old.replace("new", &PostParams::default(), &read).await.expect("replaced");
    let stored = world.get(NEW, "Metal3MachineTemplate", "new").await.expect("read");
    assert_eq!(stored["spec"]["nodeReuse"], true);
    assert_eq!(stored["spec"]["template"]["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(stored["metadata"].get("annotations"), None);

    // Discovery and what `kubectl explain` reads.
    for version in [OLD, NEW] {
        let resources = world.text(&format!("/apis/{GROUP}/{version}")).await;
        assert!(
            resources.contains("\"metal3clusters\"") && resources.contains("\"metal3datas\""),
            "{resources}"
        );
        let schemas = world.text(&format!("/openapi/v3/apis/{GROUP}/{version}")).await;
        assert!(schemas.contains("\"controlPlaneEndpoint\""), "{version}");
        assert_eq!(schemas.contains("\"noCloudProvider\""), version == OLD, "{version}");
    }
    let group: Value = serde_json::from_str(&world.text(&format!("/apis/{GROUP}")).await).expect("JSON");
    assert_eq!(group["preferredVersion"]["version"], NEW, "{group}");
}

#[tokio::test]
async fn owners_of_fields_change_versions() {
    let world = World::start().await;
    let old = json!({"image": {"url": "http://i/a", "checksum": "http://i/sums", "format": "qcow2"},
        "dataTemplate": {"name": "t", "kind": "Metal3DataTemplate"}});
    let made = world.apply("kubectl", OLD, "m", old.clone()).await.expect("applied");
    assert_eq!(appliers(&made), [("kubectl", "infrastructure.cluster.x-k8s.io/v1beta1")]);
    let again = world.apply("kubectl", OLD, "m", old).await.expect("applied");
    assert_eq!(
        again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"],
        "nothing has changed"
    );

    // The same applier in the other version: what it no longer says goes, and it owns things once.
    let image = json!({"image": {"url": "http://i/a", "checksum": "http://i/sums", "diskFormat": "qcow2"}});
    let new = world.apply("kubectl", NEW, "m", image).await.expect("applied");
    assert_eq!(appliers(&new), [("kubectl", "infrastructure.cluster.x-k8s.io/v1beta2")]);
    assert_eq!(new["spec"].get("dataTemplate"), None, "{}", new["spec"]);

    // Another one in the old version: the conflict names the field as its owner calls it.
    let theirs = json!({"image": {"url": "http://i/a", "checksum": "http://i/sums", "format": "raw"}});
    let conflict = world.apply("other", OLD, "m", theirs.clone()).await.expect_err("a conflict").to_string();
    assert!(conflict.contains("kubectl") && conflict.contains(".spec.image.diskFormat"), "{conflict}");
    let back = world.apply("kubectl", OLD, "m", theirs).await.expect("applied");
    assert_eq!(back["spec"]["image"]["format"], "raw");
    assert_eq!(appliers(&back), [("kubectl", "infrastructure.cluster.x-k8s.io/v1beta1")]);

    // A controller speaks v1beta2; who reads v1beta1 sees what it says.
    let api = world.kind(NEW, "Metal3Machine");
    let status = json!({"apiVersion": format!("{GROUP}/{NEW}"), "kind": "Metal3Machine",
        "status": {"initialization": {"provisioned": true}}});
    api.patch_status("m", &PatchParams::apply("scute"), &Patch::Apply(&status)).await.expect("applied");
    let read = world.get(OLD, "Metal3Machine", "m").await.expect("read");
    assert_eq!(read["status"]["ready"], true);
    let stored = world.get(NEW, "Metal3Machine", "m").await.expect("read");
    assert_eq!(stored["spec"]["image"]["diskFormat"], "raw");
    assert_eq!(stored["metadata"].get("annotations"), None, "nothing is left over");
}

#[tokio::test]
async fn refusals_speak_the_version_that_was_written() {
    let world = World::start().await;
    for (version, kind, spec, wanted) in [
        (
            OLD,
            "Metal3Remediation",
            json!({"strategy": {"type": "Reboot", "timeout": "50s", "retryLimit": 1}}),
            r#"spec.strategy.timeout: Invalid value: "50s": must be at least 100"#,
        ),
        (
            NEW,
            "Metal3Remediation",
            json!({"strategy": {"type": "Reboot", "timeoutSeconds": 50, "retryLimit": 1}}),
            "spec.strategy.timeoutSeconds",
        ),
        (
            OLD,
            "Metal3Machine",
            json!({"image": {"url": "http://i/a", "checksum": "http://i/sums", "format": "vdi"}}),
            r#"spec.image.format: Invalid value: "vdi""#,
        ),
        (
            OLD,
            "Metal3Machine",
            json!({"image": {"url": "ftp://i/a", "checksum": "http://i/sums", "format": "raw"}}),
            "spec.image.url",
        ),
    ] {
        let refused =
            world.create(version, kind, object(version, kind, "bad", spec)).await.expect_err("refused");
        assert!(refused.to_string().contains(wanted), "{refused}");
    }
}

#[tokio::test]
async fn objects_outlive_a_webhook_that_is_away() {
    let mut world = World::start().await;
    let machine = |version: &str, name: &str| {
        object(
            version,
            "Metal3Machine",
            name,
            json!({"image": {"url": "oci://i/a"}, "providerID": "metal3://a/b/c"}),
        )
    };
    let kind = "Metal3Machine";
    let before = world.create(OLD, kind, machine(OLD, "old")).await.expect("created");
    world.create(NEW, kind, machine(NEW, "new")).await.expect("created");
    world.manager.kill();

    // What is stored can be read, listed and reported on as it is stored.
    assert_eq!(world.get(NEW, kind, "old").await.expect("read")["spec"]["providerID"], "metal3://a/b/c");
    assert_eq!(world.kind(NEW, kind).list(&Default::default()).await.expect("listed").items.len(), 2);
    let status = json!({"status": {"initialization": {"provisioned": true}}});
    let reported =
        world.kind(NEW, kind).patch_status("new", &PatchParams::default(), &Patch::Merge(&status)).await;
    reported.expect("reported");
    // What has to be converted waits, and says for what.
    let refused = world.get(OLD, kind, "new").await.expect_err("not converted").to_string();
    assert!(refused.contains("conversion webhook for infrastructure.cluster.x-k8s.io/v1beta2"), "{refused}");
    // Its fields' owner speaks v1beta1: who applies has to know what is whose.
    let applied = object(NEW, kind, "old", json!({}));
    let params = PatchParams::apply("another").force();
    let reported = world.kind(NEW, kind).patch_status("old", &params, &Patch::Apply(&applied)).await;
    let refused = reported.expect_err("not converted").to_string();
    assert!(refused.contains("conversion webhook"), "{refused}");
    let refused = world.create(NEW, kind, machine(NEW, "late")).await.expect_err("refused").to_string();
    assert!(refused.contains("default.scute.dev"), "{refused}");

    world.manager = manager(world.folder.path(), world.port);
    world.answers().await;
    let after = world.get(OLD, kind, "old").await.expect("read");
    assert_eq!(after, before, "nothing was lost, nothing written");
    assert_eq!(world.get(OLD, kind, "new").await.expect("read")["status"]["ready"], true);
}
