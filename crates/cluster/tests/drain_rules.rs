//! MachineDrainRules on a real API server: Pods leave a Node in their order, and some are let be.

mod world;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use world::{Case, build, condition, run};

fn rule(name: &str, app: &str, drain: Value) -> Value {
    json!({"apiVersion": build::CORE, "kind": "MachineDrainRule", "metadata": {"name": name},
        "spec": {"drain": drain, "pods": [{"selector": {"matchLabels": {"app": app}},
            "namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "Exists"}]}}],
            "machines": [{"clusterSelector": {"matchLabels": {"stage": "production"}}}]}})
}

#[test]
fn pods_leave_in_their_order_and_some_are_let_be() {
    run(async {
        let case = Case::new("drain-rules").await;
        case.ready_cluster("c").await;
        case.patch("Cluster", "c", json!({"metadata": {"labels": {"stage": "production"}}})).await;
        case.create(build::config("m")).await;
        case.create(build::infra_machine("m")).await;
        case.create(build::machine("m", "c")).await;
        case.condition("Machine", "m", "Available", "True", "").await;
        case.create(rule("first", "web", json!({"behavior": "Drain", "order": -10}))).await;
        case.create(rule("let-be", "log", json!({"behavior": "Skip"}))).await;
        let node = format!("{}.m", case.namespace);
        for app in ["web", "db", "log"] {
            case.create(build::pod(app, &node, json!({"labels": {"app": app}}))).await;
        }
        case.delete("Machine", "m").await;
        let going = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
        case.when("Pod", "web", "evicted", going).await;
        let said = |words: &'static str| {
            move |machine: &Value| {
                condition(machine, "Deleting")["message"].as_str().is_some_and(|text| text.contains(words))
            }
        };
        case.when("Machine", "m", "told who waits", said("/db: evicted when those before them are gone"))
            .await;
        assert!(!going(&case.get("Pod", "db").await.expect("there")));
        // What a kubelet does when the containers have ended.
        let end = async |name: &str| {
            let now = DeleteParams::default().grace_period(0);
            case.api("Pod").delete(name, &now).await.expect("deleted");
        };
        end("web").await;
        case.when("Pod", "db", "evicted", going).await;
        end("db").await;
        case.gone("Machine", "m").await;
        assert!(!going(&case.get("Pod", "log").await.expect("there")), "it was let be");
        end("log").await;
    });
}

#[test]
fn what_cannot_be_meant_is_refused() {
    run(async {
        let case = Case::on(world::bare().await, "refused-rules").await;
        let refused = async |object: Value| case.try_create(object).await.expect_err("refused").to_string();
        let skip = rule("r", "x", json!({"behavior": "Skip", "order": 1}));
        assert!(refused(skip).await.contains("order must not be set if drain behavior is"));
        let mut twice = rule("r", "x", json!({"behavior": "Drain"}));
        let pods = twice["spec"]["pods"][0].clone();
        twice["spec"]["pods"] = json!([pods, pods]);
        assert!(refused(twice).await.contains("entries in pods must be unique"));
        let mut nobody = rule("r", "x", json!({"behavior": "Drain"}));
        nobody["spec"]["machines"] = json!([{}]);
        assert!(refused(nobody).await.contains("spec.machines[0]"));
        case.create(rule("r", "x", json!({"behavior": "WaitCompleted"}))).await;
    });
}
