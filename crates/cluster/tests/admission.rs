//! What the admission handlers do on a real API server: an autoscaler's number stays, and what cannot be decoded, or
//! belongs to a rule of later, is told apart from what is on its way out.

mod world;

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use world::{Case, build, run};

/// A namespace whose objects go through the handlers.
async fn guarded(prefix: &str) -> Case {
    let server = world::bare().await;
    let case = Case::on(server, prefix).await;
    let (certificate, key, ca) = server.serving_certificate();
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("tls.crt"), certificate).expect("written");
    std::fs::write(dir.path().join("tls.key"), key).expect("written");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], scute_testkit::free_port().expect("a port")));
    let hub = scute_kit::Hub::new(case.client.clone());
    let admission = scute_cluster::admission(&hub, scute_kit::Admission::new());
    tokio::spawn(async move {
        let _certificates = &dir;
        admission.serve(address, dir.path()).await
    });
    server.install_webhooks(&case.namespace, &["cluster.x-k8s.io"], address, &ca, &case.namespace).await;
    case
}

fn autoscaled(mut object: Value) -> Value {
    object["metadata"]["annotations"] = json!({
        "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size": "2",
        "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size": "9",
    });
    object["spec"].as_object_mut().expect("a spec").remove("replicas");
    object
}

/// Git has no number, as everybody advises with an autoscaler; each way to apply it leaves the Machines alone.
#[test]
fn the_number_of_an_autoscaler_stays_when_an_update_leaves_it_out() {
    run(async {
        let case = guarded("autoscaled").await;
        for (kind, object) in [
            ("MachineDeployment", autoscaled(build::deployment("o", "c", "t", 0))),
            ("MachineSet", autoscaled(build::set("o", "c", "t", 0))),
        ] {
            let api = case.api(kind);
            let apply = async || {
                let params = PatchParams::apply("git").force();
                let applied = api.patch("o", &params, &Patch::Apply(&object)).await;
                applied.unwrap_or_else(|error| panic!("{kind}: {error}"))
            };
            assert_eq!(
                apply().await.data["spec"]["replicas"],
                2,
                "{kind}: a new one begins at the lower limit"
            );
            case.patch(kind, "o", json!({"spec": {"replicas": 5}})).await;
            assert_eq!(apply().await.data["spec"]["replicas"], 5, "{kind}: server-side apply");
            let mut replaced: kube::api::DynamicObject =
                serde_json::from_value(object.clone()).expect("an object");
            replaced.metadata.resource_version = api.get("o").await.expect("it").metadata.resource_version;
            let replaced = api.replace("o", &PostParams::default(), &replaced).await;
            let replaced = replaced.unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert_eq!(replaced.data["spec"]["replicas"], 5, "{kind}: kubectl replace");
        }
    });
}

#[test]
fn a_selector_cannot_be_changed() {
    run(async {
        let case = guarded("selector").await;
        case.create(build::deployment("md", "c", "t", 1)).await;
        let patch = json!({"spec": {"selector": {"matchLabels": {"deployment": "x"}},
            "template": {"metadata": {"labels": {"deployment": "x"}}}}});
        let refused =
            case.api("MachineDeployment").patch("md", &Default::default(), &Patch::Merge(&patch)).await;
        let refused = refused.expect_err("another selector").to_string();
        assert!(refused.contains("spec.selector"), "{refused}");
        // What the user wrote, which has none of what was filled in, can be applied again.
        let again = build::deployment("md", "c", "t", 3);
        let params = PatchParams::apply("git").force();
        let applied = case.api("MachineDeployment").patch("md", &params, &Patch::Apply(&again)).await;
        assert_eq!(applied.expect("the same object").data["spec"]["replicas"], 3);
    });
}
