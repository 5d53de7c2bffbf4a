//! v1beta1 of Metal3's kinds beside v1beta2.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{METAL3, NEW, OLD, World, appliers, manager, object, says};

const SAMPLES: &str = include_str!("metal3-v1beta1.yaml");

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
        let resources = world.text(&format!("/apis/{METAL3}/{version}")).await;
        assert!(
            resources.contains("\"metal3clusters\"") && resources.contains("\"metal3datas\""),
            "{resources}"
        );
        let schemas = world.text(&format!("/openapi/v3/apis/{METAL3}/{version}")).await;
        assert!(schemas.contains("\"controlPlaneEndpoint\""), "{version}");
        assert_eq!(schemas.contains("\"noCloudProvider\""), version == OLD, "{version}");
    }
    let group: Value = serde_json::from_str(&world.text(&format!("/apis/{METAL3}")).await).expect("JSON");
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
    let status = json!({"apiVersion": format!("{METAL3}/{NEW}"), "kind": "Metal3Machine",
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
