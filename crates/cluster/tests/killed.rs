//! A manager that is killed at any moment: the next one ends what it began, makes nothing twice and
//! leaves nothing behind.

mod world;

use std::time::Duration;

use serde_json::{Value, json};
use world::{Case, condition, names, run};

/// Runs managers that each live for so long, until `done`.
async fn with_short_lived_managers(lives: &[u64], done: impl AsyncFn() -> bool) {
    for life in lives {
        let manager = world::controllers(world::bare().await.client().await);
        tokio::time::sleep(Duration::from_millis(*life)).await;
        drop(manager);
        if done().await {
            return;
        }
    }
    let _last = world::controllers(world::bare().await.client().await);
    scute_testkit::until("the last manager ends what the others began", || async { done().await.then_some(()) }).await;
}

/// Times after which managers die: from before their first listing to after several writes.
const LIVES: [u64; 14] = [5, 40, 80, 110, 140, 170, 200, 230, 260, 300, 350, 400, 500, 600];

#[test]
fn a_creation_and_a_deletion_survive_managers_that_die() {
    run(async {
        let server = world::bare().await;
        let _providers = world::providers(server.client().await);
        let case = Case::on(server, "killed").await;
        case.create(world::build::infra_cluster("c")).await;
        case.create(world::build::control_plane("c")).await;
        case.create(world::build::cluster("c")).await;
        case.kubeconfig("c").await;
        case.provision_cluster("c").await;
        case.initialize_control_plane("c").await;
        case.create(world::build::infra_template("t")).await;
        case.create(world::build::config_template("t")).await;
        case.create(world::build::deployment("md", "c", "t", 3)).await;

        with_short_lived_managers(&LIVES, async || all_available(&case, 3).await).await;
        let machines = case.list("Machine").await;
        assert_eq!(names(&machines), names(&case.list("TestMachine").await), "no half is left over");
        assert_eq!(names(&machines), names(&case.list("TestConfig").await));
        assert_eq!(case.list("MachineSet").await.len(), 1, "no set was made twice");

        // A rollout in the middle of which managers die.
        case.create(world::build::infra_template("t2")).await;
        let roll = json!({"spec": {"template": {"spec": {"infrastructureRef": {"name": "t2"}}}}});
        case.patch("MachineDeployment", "md", roll).await;
        with_short_lived_managers(&LIVES, async || {
            all_available(&case, 3).await && case.list("MachineSet").await.len() == 1 && all_from(&case, "t2").await
        })
        .await;
        assert_eq!(names(&case.list("Machine").await), names(&case.list("TestMachine").await));

        case.delete("Cluster", "c").await;
        with_short_lived_managers(&LIVES, async || case.get("Cluster", "c").await.is_none()).await;
        for kind in ["MachineDeployment", "MachineSet", "Machine", "TestMachine", "TestConfig", "TestCluster", "TestControlPlane"] {
            assert_eq!(names(&case.list(kind).await), Vec::<String>::new(), "{kind}");
        }
    });
}

async fn all_available(case: &Case, count: usize) -> bool {
    let machines = case.list("Machine").await;
    let available = |machine: &Value| condition(machine, "Available")["status"] == "True";
    machines.len() == count && machines.iter().all(available)
}

async fn all_from(case: &Case, template: &str) -> bool {
    let from = |object: &Value| object["metadata"]["annotations"]["cluster.x-k8s.io/cloned-from-name"] == template;
    case.list("TestMachine").await.iter().all(from)
}
