//! A manager that is killed at any moment: the next one ends what it began, makes nothing twice and
//! leaves nothing behind.

mod world;

use std::time::{Duration, Instant};

use scute_testkit::{ApiServer, Mortal};
use serde_json::{Value, json};
use world::{Case, condition, names, run};

async fn manager(server: &'static ApiServer) -> Mortal {
    Mortal::start(async { world::controllers(server.client().await) }).await
}

/// Runs managers that each live for so long, until `done`.
async fn with_short_lived_managers(case: &Case, what: &str, done: impl AsyncFn() -> bool) {
    let server = world::bare().await;
    for life in LIVES {
        let mortal = manager(server).await;
        tokio::time::sleep(Duration::from_millis(life)).await;
        mortal.kill().await;
        if done().await {
            return;
        }
    }
    let _last = manager(server).await;
    let deadline = Instant::now() + LAST;
    while !done().await {
        if Instant::now() >= deadline {
            panic!("the last manager does not end what the others began: {what}\n{}", state(case).await);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How long the last manager may take: it may find nearly everything undone.
const LAST: Duration = Duration::from_secs(120);

/// Times after which managers die: from before their first listing to after several writes.
const LIVES: [u64; 14] = [5, 40, 80, 120, 160, 200, 250, 300, 400, 500, 600, 800, 1000, 1500];

const KINDS: [&str; 7] = [
    "MachineDeployment",
    "MachineSet",
    "Machine",
    "TestMachine",
    "TestConfig",
    "TestCluster",
    "TestControlPlane",
];

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

        with_short_lived_managers(&case, "creation", async || all_available(&case, 3).await).await;
        let machines = case.list("Machine").await;
        assert_eq!(names(&machines), names(&case.list("TestMachine").await), "no half is left over");
        assert_eq!(names(&machines), names(&case.list("TestConfig").await));
        assert_eq!(case.list("MachineSet").await.len(), 1, "no set was made twice");

        // A rollout in the middle of which managers die.
        case.create(world::build::infra_template("t2")).await;
        let roll = json!({"spec": {"template": {"spec": {"infrastructureRef": {"name": "t2"}}}}});
        case.patch("MachineDeployment", "md", roll).await;
        with_short_lived_managers(&case, "rollout", async || {
            all_available(&case, 3).await
                && case.list("MachineSet").await.len() == 1
                && all_from(&case, "t2").await
        })
        .await;
        assert_eq!(names(&case.list("Machine").await), names(&case.list("TestMachine").await));

        case.delete("Cluster", "c").await;
        with_short_lived_managers(&case, "deletion", async || case.get("Cluster", "c").await.is_none()).await;
        for kind in KINDS {
            assert_eq!(names(&case.list(kind).await), Vec::<String>::new(), "{kind}");
        }
    });
}

/// What the managers left, for the message of a failure.
async fn state(case: &Case) -> String {
    let mut text = String::new();
    for kind in KINDS {
        for mut object in case.list(kind).await {
            object["metadata"]["managedFields"] = Value::Null;
            text.push_str(&format!("{kind}: {object}\n"));
        }
    }
    text
}

async fn all_available(case: &Case, count: usize) -> bool {
    let machines = case.list("Machine").await;
    let available = |machine: &Value| condition(machine, "Available")["status"] == "True";
    machines.len() == count && machines.iter().all(available)
}

async fn all_from(case: &Case, template: &str) -> bool {
    let from =
        |object: &Value| object["metadata"]["annotations"]["cluster.x-k8s.io/cloned-from-name"] == template;
    case.list("TestMachine").await.iter().all(from)
}

#[test]
fn a_new_manager_says_nothing_else_of_a_cluster_at_rest() {
    run(async {
        let server = world::bare().await;
        let case = Case::on(server, "manual-restart").await;
        let first = manager(server).await;
        case.ready_cluster("c").await;
        case.condition("Cluster", "c", "RemoteConnectionProbe", "True", "ProbeSucceeded").await;
        let before = case.condition("Cluster", "c", "Available", "True", "Available").await;
        let version = case.get("Cluster", "c").await.expect("there")["metadata"]["resourceVersion"].clone();
        first.kill().await;

        let _second = manager(server).await;
        // By the time that another one has come up, the first one has been asked too.
        case.ready_cluster("d").await;
        case.condition("Cluster", "d", "RemoteConnectionProbe", "True", "ProbeSucceeded").await;
        let after = case.get("Cluster", "c").await.expect("there");
        assert_eq!(after["metadata"]["resourceVersion"], version, "{before} became {after}");
    });
}
