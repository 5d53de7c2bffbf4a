//! One MachineDeployment: created, rolled out and deleted, beside a plain client that does the same writes.

use std::time::{Duration, Instant};

use anyhow::Result;
use scute_testkit::{ApiServer, Figure, MIB, writes};

use crate::objects::Writer;
use crate::{AT_ONCE, PATIENCE, World, kinds, names, written};

/// Machines of the MachineDeployment.
const MACHINES: usize = 100;
/// Clusters with one such MachineDeployment each, for the memory of the manager.
const CLUSTERS: usize = 10;
/// Times the floor that each step may take.
const GOAL: f64 = 1.5;

/// Prints the figures.
pub async fn run() -> Result<()> {
    let floor = Floor::measured().await?;
    let world = World::with(1, MACHINES).await?;
    Floor::beside("created, until all run", world.took, floor.create);
    let made = written(&world).await?;
    Figure::of("API writes for each Machine until it runs, by all", "writes")
        .value(writes::total(&made) / MACHINES as f64)
        .floor(6.0)
        .print();
    writes::print_each(&made, MACHINES);
    // What is made at each of these steps is deleted too, one Machine at a time.
    Floor::beside("rolled out, maxSurge 1", world.roll_out().await?, floor.create + floor.delete);
    let rolled = writes::since(&made, &written(&world).await?);
    Figure::of("API writes for each Machine that is replaced, by all", "writes")
        .value(writes::total(&rolled) / MACHINES as f64)
        .floor(9.0)
        .print();
    Floor::beside("deleted", world.delete().await?, floor.delete);
    drop(world);

    let world = World::with(CLUSTERS, MACHINES).await?;
    world.manager.settled(PATIENCE).await?;
    Figure::of(&format!("resident memory of the manager, {} Machines", CLUSTERS * MACHINES), "MiB")
        .value(world.manager.resident()? as f64 / MIB)
        .at_most(80.0)
        .print();
    Ok(())
}

/// What the API server takes for the same writes.
struct Floor {
    create: Duration,
    delete: Duration,
}

impl Floor {
    /// At the concurrency at which it is fastest.
    async fn measured() -> Result<Self> {
        let server = ApiServer::start().await?;
        server.install_crds([scute_api::crds(), kinds::crds()].concat()).await;
        let client = server.client().await;
        let mut best = Self { create: Duration::MAX, delete: Duration::MAX };
        for at_once in [8, AT_ONCE, 32, 64] {
            let writer = Writer::new(&client, at_once);
            let one = names(&format!("floor-{at_once}-"), 1);
            let start = Instant::now();
            writer.clusters(&one, MACHINES as i32, |_| server.kubeconfig()).await?;
            writer.machines(&one, MACHINES as i32).await?;
            best.create = best.create.min(start.elapsed());
            let start = Instant::now();
            writer.delete_machines(&one, MACHINES as i32).await?;
            best.delete = best.delete.min(start.elapsed());
        }
        Ok(best)
    }

    fn beside(what: &str, took: Duration, floor: Duration) {
        let floor = floor.as_secs_f64();
        Figure::of(&format!("a MachineDeployment of {MACHINES}: {what}"), "s")
            .value(took.as_secs_f64())
            .floor(floor)
            .at_most(floor * GOAL)
            .print();
    }
}
