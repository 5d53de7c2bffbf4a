//! The cluster room at scale: a real kube-apiserver and etcd, providers and tenants played in this process, no kubelet.
//! N Clusters of one MachineDeployment each are created at once, rolled out and deleted. Run by `cargo xtask bench scale`, and
//! for one MachineDeployment by `cargo xtask bench machines`.

mod machines;
mod manager;
mod objects;
mod provider;
mod tenant;

#[allow(dead_code)] // the tests make more
#[path = "../../tests/world/build.rs"]
mod build;
#[path = "../../tests/world/kinds.rs"]
mod kinds;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Client;
use scute_testkit::{ApiServer, Figure, MIB, Manager, free_port, writes};

use objects::Writer;
use provider::{Providers, Seen};
use tenant::Tenants;

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Requests at a time of who creates and deletes the Clusters.
const AT_ONCE: usize = 16;

/// `bench [CLUSTERS [MACHINES]]`: 1,000 and 10 unless told otherwise; other sizes are shares of these. `bench machines`: see there.
#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, kubeconfig, port] = arguments.as_slice()
        && command == "manager"
    {
        return manager::run(kubeconfig.as_ref(), port.parse()?).await;
    }
    if arguments.first().is_some_and(|what| what == "machines") {
        return machines::run().await;
    }
    let number =
        |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse::<usize>());
    let (clusters, machines) = (number(0, 1000)?, number(1, 10)?);
    let floor = floor(clusters, machines as i32).await?;
    let few = World::with(clusters.div_ceil(10), machines).await?.cost;
    whole_life(clusters, machines, floor, few).await?;
    let many = World::with(clusters * 2, machines).await?.cost;
    per_cluster(clusters * 2, many, few);
    dead_tenants(machines).await
}

/// An API server, providers, and a manager that has made every Machine run.
struct World {
    server: ApiServer,
    client: Client,
    providers: Providers,
    manager: Manager,
    folder: tempfile::TempDir,
    namespaces: Vec<String>,
    /// From the first create until every Machine ran.
    took: Duration,
    /// CPU time of the manager for one Cluster, in milliseconds.
    cost: f64,
    tenants: Arc<Tenants>,
}

impl World {
    async fn with(clusters: usize, machines: usize) -> Result<Self> {
        let mut world = Self::empty().await?;
        let namespaces = names("t", clusters);
        world.took = world.create(&namespaces, machines).await?;
        world.cost = world.manager.cpu()?.as_secs_f64() * 1000.0 / clusters as f64;
        world.namespaces = namespaces;
        Ok(world)
    }

    async fn empty() -> Result<Self> {
        let server = ApiServer::start().await?;
        server.install_crds([scute_api::crds(), kinds::crds()].concat()).await;
        let client = server.client().await;
        let tenants = Tenants::start(server.serving_certificate()).await?;
        let providers = Providers::start(&client, &tenants);
        let folder = tempfile::tempdir()?;
        let manager = Manager::start(&server, folder.path(), &[free_port()?.to_string()])?;
        manager.settled(PATIENCE).await.context("a manager without objects")?;
        let (took, cost) = (Duration::ZERO, 0.0);
        Ok(Self { server, client, providers, manager, folder, namespaces: Vec::new(), took, cost, tenants })
    }

    /// Creates Clusters and waits until their Machines run.
    async fn create(&self, namespaces: &[String], machines: usize) -> Result<Duration> {
        let start = Instant::now();
        let writer = Writer::new(&self.client, AT_ONCE);
        writer.clusters(namespaces, machines as i32, |namespace| self.tenants.kubeconfig(namespace)).await?;
        let wanted: HashSet<&str> = namespaces.iter().map(String::as_str).collect();
        let all = namespaces.len() * machines;
        let is_wanted = |id: &&String| id.split_once('/').is_some_and(|(of, _)| wanted.contains(of));
        let run =
            |seen: &Seen| seen.running.len() >= all && seen.running.iter().filter(is_wanted).count() >= all;
        self.providers.until(PATIENCE, run).await?;
        Ok(start.elapsed())
    }

    /// Replaces every Machine.
    async fn roll_out(&self) -> Result<Duration> {
        let start = Instant::now();
        Writer::new(&self.client, AT_ONCE).roll_out(&self.namespaces).await?;
        // The old generation counts as complete until its controller has looked.
        self.providers.until(PATIENCE, |seen| seen.complete.len() < seen.deployments.len()).await?;
        self.providers.until(PATIENCE, |seen| seen.complete.len() == seen.deployments.len()).await?;
        Ok(start.elapsed())
    }

    /// Deletes every Cluster.
    async fn delete(&self) -> Result<Duration> {
        let start = Instant::now();
        Writer::new(&self.client, AT_ONCE).delete(&self.namespaces).await?;
        self.providers.until(PATIENCE, |seen| seen.clusters.is_empty() && seen.machines.is_empty()).await?;
        Ok(start.elapsed())
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// The same objects and one status each by a plain client, at the concurrency at which it is fastest.
async fn floor(clusters: usize, machines: i32) -> Result<Duration> {
    let server = ApiServer::start().await?;
    server.install_crds([scute_api::crds(), kinds::crds()].concat()).await;
    let client = server.client().await;
    let kubeconfig = |_: &str| server.kubeconfig();
    let mut best = (f64::MAX, AT_ONCE);
    for at_once in [8, 16, 32, 64] {
        let writer = Writer::new(&client, at_once);
        let sample = names(&format!("sample-{at_once}-"), clusters.div_ceil(20).max(at_once));
        let start = Instant::now();
        writer.clusters(&sample, machines, kubeconfig).await?;
        writer.machines(&sample, machines).await?;
        let each = start.elapsed().as_secs_f64() / sample.len() as f64;
        best = if each < best.0 { (each, at_once) } else { best };
    }
    let writer = Writer::new(&client, best.1);
    let all = names("t", clusters);
    let start = Instant::now();
    writer.clusters(&all, machines, kubeconfig).await?;
    writer.machines(&all, machines).await?;
    Ok(start.elapsed())
}

async fn whole_life(clusters: usize, machines: usize, floor: Duration, few: f64) -> Result<()> {
    let size = format!("{clusters} Clusters of {machines} Machines");
    let mut world = World::with(clusters, machines).await?;
    let floor = floor.as_secs_f64();
    Figure::of(&format!("{size}: until all run"), "s")
        .value(world.took.as_secs_f64())
        .floor(floor)
        .at_most(floor * 1.5)
        .print();
    per_cluster(clusters, world.cost, few);
    let made = written(&world).await?;
    // A Machine, its bootstrap configuration and its infrastructure: created, and one status each.
    let each = writes::total(&made) / (clusters * machines) as f64;
    Figure::of("API writes for each Machine, by all", "writes").value(each).floor(6.0).print();
    writes::print_each(&made, clusters * machines);
    world.manager.settled(PATIENCE).await?;
    let before = world.manager.cpu()?;
    // Idle is what is measured.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let idle = (world.manager.cpu()? - before).as_secs_f64() * 1000.0 / 60.0;
    Figure::of(&format!("{size}: CPU at rest"), "mCPU").value(idle).at_most(20.0).print();
    let resident = world.manager.resident()? as f64 / MIB;
    Figure::of(&format!("{size}: resident memory at rest"), "MiB").value(resident).at_most(200.0).print();

    let before = written(&world).await?;
    let another = restarted(&world)?;
    drop(std::mem::replace(&mut world.manager, another));
    let settled = world.manager.settled(PATIENCE).await?.as_secs_f64();
    Figure::of(&format!("{size}: a new manager has settled"), "s").value(settled).at_most(20.0).print();
    let more = writes::since(&before, &written(&world).await?);
    Figure::of(&format!("{size}: writes of a new manager"), "writes")
        .value(writes::total(&more))
        .at_most(0.0)
        .print();
    writes::print_each(&more, 1);

    Figure::of(&format!("{size}: rolled out"), "s").value(world.roll_out().await?.as_secs_f64()).print();
    Figure::of(&format!("{size}: deleted"), "s").value(world.delete().await?.as_secs_f64()).print();
    Ok(())
}

/// Another manager of the same API server.
fn restarted(world: &World) -> Result<Manager> {
    Manager::start(&world.server, world.folder.path(), &[free_port()?.to_string()])
}

/// Leases are nobody's objects.
async fn written(world: &World) -> Result<writes::Writes> {
    writes::so_far(&world.client, |group| group.ends_with("cluster.x-k8s.io")).await
}

fn per_cluster(clusters: usize, cost: f64, few: f64) {
    Figure::of(&format!("manager's CPU for each of {clusters} Clusters"), "ms")
        .value(cost)
        .floor(few)
        .at_most(few * 1.2)
        .print();
}

/// Tenants whose API server takes connections and never answers, and live ones beside them.
const DEAD: usize = 200;
const LIVE: usize = 5;

async fn dead_tenants(machines: usize) -> Result<()> {
    let mut world = World::empty().await?;
    let alone = world.create(&names("alone", LIVE), machines).await?.as_secs_f64();
    let silent = tenant::black_hole().await?;
    let writer = Writer::new(&world.client, AT_ONCE);
    world.namespaces = names("dead", DEAD);
    writer.clusters(&world.namespaces, 1, |_| world.tenants.kubeconfig_at(silent)).await?;
    // As far as they come, and told: what is measured is what they cost while they are dead, not while they are made.
    world.providers.until(PATIENCE, |seen| seen.provisioned.len() >= DEAD).await?;
    world.manager.settled(PATIENCE).await.context("a manager of dead tenants")?;
    let beside = world.create(&names("beside", LIVE), machines).await?.as_secs_f64();
    Figure::of(&format!("{LIVE} Clusters beside {DEAD} dead tenants: until all run"), "s")
        .value(beside)
        .floor(alone)
        .at_most(alone * 1.2)
        .print();
    Ok(())
}
