//! The metal room at scale: a real kube-apiserver and etcd, BMCs and ramdisks played in this process. N servers are taken in
//! at once, rest, and are deleted when their BMCs are dead. Run by `cargo xtask bench metal`.

mod manager;
mod objects;
mod server;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use kube::Client;
use kube::runtime::{WatchStreamExt, watcher};
use scute_api::metal3::{BareMetalHost, ProvisioningState};
use scute_bmc::Identity;
use scute_testkit::{ApiServer, Figure, MIB, Manager, free_port, writes};

use objects::Writer;
use server::Played;

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Requests at a time of who makes the hosts.
const AT_ONCE: usize = 16;
/// Servers whose BMCs die.
const DEAD: usize = 10;
/// What is looked at of a manager at rest; each host is looked at once a minute.
const REST: Duration = Duration::from_secs(120);

/// `bench [HOSTS]`: 1,000 unless told otherwise; goals are shares of those of 1,000.
#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Fails only when there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if let [command, kubeconfig, ports @ .., ramdisk] = arguments.as_slice()
        && command == "manager"
        && let [metrics, agents, media] = ports
    {
        let ports = [metrics.parse()?, agents.parse()?, media.parse()?];
        return manager::run(kubeconfig.as_ref(), ports, ramdisk.as_ref()).await;
    }
    let hosts = arguments.first().map_or(Ok(1000), |text| text.parse::<usize>())?;
    let floor = floor(hosts).await?;
    let few = World::with(hosts.div_ceil(10)).await?.cost;
    let world = World::with(hosts).await?;
    intake(&world, hosts, floor, few).await?;
    rest(&world, hosts).await?;
    dead(&world).await
}

/// An API server, servers that are played, and a manager that has taken them in.
struct World {
    _server: ApiServer,
    _folder: tempfile::TempDir,
    client: Client,
    manager: Manager,
    played: Vec<Played>,
    names: Vec<String>,
    /// From the first create until every host was available.
    took: Duration,
    /// CPU time of the manager for one host, in milliseconds.
    cost: f64,
}

impl World {
    async fn with(hosts: usize) -> Result<Self> {
        let server = ApiServer::start().await?;
        server.install_crds(scute_api::crds()).await;
        let client = server.client().await;
        let writer = Writer::new(&client, AT_ONCE);
        writer.prepare().await?;
        let identity = Identity::new(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let played = (0..hosts).map(|number| Played::new(number, &identity)).collect::<Result<Vec<_>>>()?;
        let folder = tempfile::tempdir()?;
        let ramdisk = ramdisk(folder.path())?;
        let mut arguments = Vec::new();
        for _ in 0..3 {
            arguments.push(free_port()?.to_string());
        }
        arguments.push(ramdisk);
        let manager = Manager::start(&server, folder.path(), &arguments)?;
        manager.settled(PATIENCE).await.context("a manager without hosts")?;
        let before = manager.cpu()?;

        let servers = servers(&played);
        let start = Instant::now();
        let (made, available) = tokio::join!(writer.make(&servers), all_available(&writer, hosts));
        made.and(available)?;
        let took = start.elapsed();
        let cost = (manager.cpu()? - before).as_secs_f64() * 1000.0 / hosts as f64;
        let names = servers.into_iter().map(|(name, ..)| name).collect();
        Ok(Self { _server: server, _folder: folder, client, manager, played, names, took, cost })
    }
}

/// Name, interface and address of each.
fn servers(played: &[Played]) -> Vec<(String, String, String)> {
    let server = |(number, played): (usize, &Played)| {
        (format!("server-{number}"), played.mac.clone(), played.address.clone())
    };
    played.iter().enumerate().map(server).collect()
}

/// An ISO of which nothing but its command line is read: the descriptor says where that is.
fn ramdisk(folder: &Path) -> Result<String> {
    let mut medium = vec![0; 128 << 10];
    let (note, line) = (16 * 2048 + 883, 64 << 10);
    let words = format!("scute command line at {line}");
    medium[note..note + words.len()].copy_from_slice(words.as_bytes());
    medium[line..line + 2000].fill(b' ');
    let path = folder.join("ramdisk.iso");
    std::fs::write(&path, medium)?;
    Ok(path.display().to_string())
}

async fn all_available(writer: &Writer, hosts: usize) -> Result<()> {
    let mut available = HashSet::new();
    let config = watcher::Config::default();
    let mut seen = std::pin::pin!(watcher(writer.hosts(), config).default_backoff().applied_objects());
    let all = async {
        while let Some(host) = seen.next().await {
            let Ok(host) = host else { continue };
            if state(&host) == ProvisioningState::Available {
                available.insert(host.metadata.name);
            }
            if available.len() == hosts {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.context("hosts did not become available")
}

fn state(host: &BareMetalHost) -> ProvisioningState {
    host.status.as_ref().map(|status| status.provisioning.state).unwrap_or_default()
}

/// What must be written, by a plain client, at the concurrency at which it is fastest.
async fn floor(hosts: usize) -> Result<Duration> {
    let server = ApiServer::start().await?;
    server.install_crds(scute_api::crds()).await;
    let client = server.client().await;
    Writer::new(&client, 1).prepare().await?;
    let hardware = server::hardware();
    let named = |prefix: &str, count: usize| -> Vec<_> {
        let server = |number: usize| {
            let (mac, address) =
                (format!("52:54:00:00:{:02x}:{:02x}", number >> 8, number & 255), "redfish://127.0.0.1");
            (format!("{prefix}{number}"), mac, address.to_owned())
        };
        (0..count).map(server).collect()
    };
    let mut best = (f64::MAX, AT_ONCE);
    for at_once in [8, 16, 32, 64] {
        let sample = named(&format!("sample-{at_once}-"), hosts.div_ceil(10).max(at_once));
        let took = Writer::new(&client, at_once).floor(&sample, &hardware).await?;
        let each = took.as_secs_f64() / sample.len() as f64;
        best = if each < best.0 { (each, at_once) } else { best };
    }
    Writer::new(&client, best.1).floor(&named("all-", hosts), &hardware).await
}

async fn intake(world: &World, hosts: usize, floor: Duration, few: f64) -> Result<()> {
    Figure::of(&format!("intake of {hosts} BMCs: until all are available"), "s")
        .value(world.took.as_secs_f64())
        .floor(floor.as_secs_f64())
        .at_most(180.0 * hosts as f64 / 1000.0)
        .print();
    Figure::of(&format!("manager's CPU for each of {hosts} hosts, and of a tenth"), "ms")
        .value(world.cost)
        .floor(few)
        .at_most(few * 1.2)
        .print();
    let made = written(world).await?;
    let each = writes::total(&made) / hosts as f64;
    Figure::of("API writes for each host, by all", "writes").value(each).floor(13.0).print();
    writes::print_each(&made, hosts);
    let asked: usize = world.played.iter().map(|played| played.bmc.take_requests().len()).sum();
    Figure::of("requests to each BMC until it is available", "requests")
        .value(asked as f64 / hosts as f64)
        .print();
    Ok(())
}

/// Leases and events are nobody's objects.
async fn written(world: &World) -> Result<writes::Writes> {
    let mut all = writes::so_far(&world.client, |group| group.is_empty() || group == "metal3.io").await?;
    all.retain(|what, _| {
        what.contains("secrets") || what.contains("baremetalhosts") || what.contains("hardwaredata")
    });
    Ok(all)
}

async fn rest(world: &World, hosts: usize) -> Result<()> {
    world.manager.settled(PATIENCE).await?;
    let (cpu, before) = (world.manager.cpu()?, written(world).await?);
    world.played.iter().for_each(|played| drop(played.bmc.take_requests()));
    // Idle is what is measured.
    tokio::time::sleep(REST).await;
    let minutes = REST.as_secs_f64() / 60.0;
    let idle = (world.manager.cpu()? - cpu).as_secs_f64() * 1000.0 / REST.as_secs_f64();
    // Goals are for 500 hosts.
    Figure::of(&format!("{hosts} hosts at rest: CPU"), "mCPU")
        .value(idle)
        .at_most(hosts as f64 / 10.0)
        .print();
    let asked: usize = world.played.iter().map(|played| played.bmc.take_requests().len()).sum();
    Figure::of(&format!("{hosts} hosts at rest: requests to each BMC in a minute"), "requests")
        .value(asked as f64 / hosts as f64 / minutes)
        .at_most(1.0)
        .print();
    let more = writes::since(&before, &written(world).await?);
    Figure::of(&format!("{hosts} hosts at rest: API writes in a minute"), "writes")
        .value(writes::total(&more) / minutes)
        .at_most(0.0)
        .print();
    let resident = world.manager.resident()? as f64 / MIB;
    Figure::of(&format!("{hosts} hosts at rest: resident memory"), "MiB")
        .value(resident)
        .at_most(200.0)
        .print();
    Ok(())
}

async fn dead(world: &World) -> Result<()> {
    let writer = Writer::new(&world.client, AT_ONCE);
    let dead = world.names.len().min(DEAD);
    world.played.iter().take(dead).for_each(Played::die);
    let names = &world.names[..dead];
    let start = Instant::now();
    writer.delete(names).await?;
    let gone = names.iter().map(|name| scute_testkit::gone(writer.hosts(), name));
    let all = tokio::time::timeout(PATIENCE, futures::future::join_all(gone)).await;
    all.context("hosts with dead BMCs are still there")?;
    Figure::of(&format!("deletion of {dead} hosts with dead BMCs"), "s")
        .value(start.elapsed().as_secs_f64())
        .at_most(60.0)
        .print();
    Ok(())
}
