//! Control planes of tenants: how soon they answer, what they write, what they hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine as _;
use futures::future::try_join_all;
use serde_json::Value;

use crate::cluster::{Cluster, POD, SECRET, TCP, is_true};
use crate::{Bench, floor, median, process};
use scute_testkit::{Figure, MIB};

/// How many are made at once.
const MANY: usize = 10;
/// Nothing was written for so long: what a tenant's creation set off is over.
const QUIET: Duration = Duration::from_secs(8);
const IDLE: Duration = Duration::from_secs(60);

pub async fn measure(bench: &Bench) -> Result<()> {
    let manager = manager(bench)?;
    let bare = floor::api_server(bench.runs).await?;
    let together = floor::api_servers(MANY).await?;
    one(bench, &bare).await.context("one tenant")?;
    let with_one = writes(bench, manager).await.context("what one tenant writes")?;
    let usable = many(bench).await.context("ten tenants")?;
    let floor = bare.cpu * MANY as f64;
    Figure::of("ten tenants applied at once, all usable", "s")
        .value(usable.iter().max().map_or(f64::NAN, Duration::as_secs_f64))
        .floor(floor)
        .at_most(1.5 * floor)
        .print();
    Figure::of("ten tenants applied at once, the median one usable", "s").value(median(usable)).print();
    Figure::of("ten bare API servers started at once, all ready", "s").value(together).print();
    idle(bench, manager, with_one).await.context("an idle manager")?;
    remove(bench, &names(MANY)).await
}

/// From the apply to the first request with the admin kubeconfig that is answered.
async fn one(bench: &Bench, bare: &floor::Bare) -> Result<()> {
    let mut times = vec![];
    for _ in 0..bench.runs {
        let names = names(1);
        let start = Instant::now();
        bench.kubectl.apply(&manifest(&names))?;
        usable(bench, &names[0]).await?;
        times.push(start.elapsed());
        remove(bench, &names).await?;
    }
    Figure::of("apply to tenant API usable", "s")
        .value(median(times))
        .floor(bare.wall)
        .at_most(1.5 * bare.wall)
        .print();
    Ok(())
}

/// When each of them was usable.
async fn many(bench: &Bench) -> Result<Vec<Duration>> {
    let names = names(MANY);
    let before = process::cpu_by_role()?;
    let start = Instant::now();
    bench.kubectl.apply(&manifest(&names))?;
    let each = names.iter().map(async |name| {
        usable(bench, name).await?;
        anyhow::Ok(start.elapsed())
    });
    let took = try_join_all(each).await?;
    for (role, used) in process::cpu_by_role()? {
        let used = used.saturating_sub(before.get(&role).copied().unwrap_or_default()).as_secs_f64();
        if used >= 1.0 {
            eprintln!("ten tenants: {used:.1} s of CPU by {role}");
        }
    }
    Ok(took)
}

/// Requests that write, leases excluded, from the apply until nothing more comes of it. The floor is the
/// number of objects that are there afterwards and were not before. Gives what the manager has resident by then.
async fn writes(bench: &Bench, manager: u32) -> Result<u64> {
    let names = names(1);
    let objects = objects(bench)?;
    let before = (by_manager(bench).await?, by_all(bench).await?);
    bench.kubectl.apply(&manifest(&names))?;
    usable(bench, &names[0]).await?;
    bench.management.when(TCP, &names[0], |tcp| is_true(tcp, "Ready")).await?;
    let mut last = by_all(bench).await?;
    // A counter cannot be watched.
    loop {
        tokio::time::sleep(QUIET).await;
        let now = by_all(bench).await?;
        if now == last {
            break;
        }
        last = now;
    }
    let new = self::objects(bench)?.saturating_sub(objects) as f64;
    for (who, before, after, goal) in [
        ("the manager", &before.0, &by_manager(bench).await?, 30.0),
        ("all clients", &before.1, &by_all(bench).await?, 60.0),
    ] {
        let grown = growth(before, after);
        for (what, count) in &grown {
            eprintln!("{who}: {count} {what}");
        }
        Figure::of(&format!("API writes per tenant by {who}"), "requests")
            .value(grown.values().sum())
            .floor(new)
            .at_most(goal)
            .print();
    }
    memory(bench, &names[0]).await?;
    let resident = process::resident(manager)?;
    remove(bench, &names).await?;
    Ok(resident)
}

/// Memory of one idle control plane: its three processes.
async fn memory(bench: &Bench, name: &str) -> Result<()> {
    let pod = bench.management.any(POD, |pod| pod["metadata"]["labels"]["kamaji.clastix.io/name"] == name);
    let uid = pod.await?["metadata"]["uid"].as_str().context("a uid")?.to_owned();
    let (mut share, mut resident) = (0, 0);
    for pid in process::of_pod(&uid).keys() {
        share += process::share(*pid)?;
        resident += process::resident(*pid)?;
    }
    Figure::of("memory of an idle control plane, PSS", "MiB").value(share as f64 / MIB).print();
    Figure::of("memory of an idle control plane, RSS", "MiB").value(resident as f64 / MIB).print();
    Ok(())
}

async fn idle(bench: &Bench, manager: u32, with_one: u64) -> Result<()> {
    for name in names(MANY) {
        bench.management.when(TCP, &name, |tcp| is_true(tcp, "Ready")).await?;
    }
    tokio::time::sleep(QUIET).await;
    let before = process::cpu(manager)?;
    tokio::time::sleep(IDLE).await;
    let used = process::cpu(manager)?.saturating_sub(before);
    let resident = process::resident(manager)?;
    Figure::of("manager RSS with ten idle tenants", "MiB").value(resident as f64 / MIB).at_most(40.0).print();
    Figure::of("growth of the manager per tenant", "MiB")
        .value(resident.saturating_sub(with_one) as f64 / MIB / (MANY - 1) as f64)
        .at_most(0.5)
        .print();
    Figure::of("manager CPU, idle, ten tenants", "mCPU")
        .value(used.as_secs_f64() / IDLE.as_secs_f64() * 1000.0)
        .at_most(5.0)
        .print();
    Ok(())
}

/// Until a request with the admin kubeconfig of the tenant succeeds.
async fn usable(bench: &Bench, name: &str) -> Result<()> {
    let text = |secret: &Value| -> Option<String> {
        let data = secret["data"]["admin.conf"].as_str()?;
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).ok()?).ok()
    };
    let secret = format!("{name}-admin-kubeconfig");
    let secret = bench.management.when(SECRET, &secret, |secret| text(secret).is_some()).await?;
    let tenant = Cluster::from_text(&text(&secret).context("admin.conf")?).await?;
    tenant.answers("/api/v1/namespaces").await
}

async fn remove(bench: &Bench, names: &[String]) -> Result<()> {
    let objects: Vec<_> = names.iter().map(|name| format!("tcp/{name}")).collect();
    let mut delete = vec!["delete", "--wait=true"];
    delete.extend(objects.iter().map(String::as_str));
    bench.kubectl.run(&delete)?;
    // Processes that still end would be measured with what comes next.
    bench.kubectl.wait_for_none(&["pods"], Duration::from_secs(120))
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("tenant-{n}")).collect()
}

fn manifest(names: &[String]) -> String {
    let mut text = String::new();
    for name in names {
        let _ = write!(
            text,
            "---\napiVersion: kamaji.clastix.io/v1alpha1\nkind: TenantControlPlane\nmetadata: {{name: {name}}}\n\
             spec:\n  controlPlane:\n    deployment: {{replicas: 1}}\n    service: {{serviceType: LoadBalancer}}\n  \
             kubernetes:\n    version: v1.35.4\n    kubelet: {{cgroupfs: systemd}}\n  \
             networkProfile: {{port: 6443}}\n  addons: {{coreDNS: {{}}, kubeProxy: {{}}}}\n"
        );
    }
    text
}

const MANAGER: &str = "scute-system";

fn manager_pod(bench: &Bench) -> Result<Value> {
    let pods = bench.kubectl.json(&["pods", "--namespace", MANAGER])?;
    pods["items"].get(0).cloned().context("no Pod of the manager")
}

fn manager(bench: &Bench) -> Result<u32> {
    let pod = manager_pod(bench)?;
    let all = process::of_pod(pod["metadata"]["uid"].as_str().context("a uid")?);
    all.keys().next().copied().context("no process of the manager")
}

type Counters = BTreeMap<String, f64>;

async fn by_manager(bench: &Bench) -> Result<Counters> {
    let pod = manager_pod(bench)?;
    let name = pod["metadata"]["name"].as_str().context("a name")?;
    let path = format!("/api/v1/namespaces/{MANAGER}/pods/{name}:8080/proxy/metrics");
    let text = bench.management.text(&path).await?;
    Ok(counters(&text, "scute_api_writes_total", |labels| {
        (!labels.contains("kind=\"Lease\"")).then(|| labels.to_owned())
    }))
}

async fn by_all(bench: &Bench) -> Result<Counters> {
    let text = bench.management.text("/metrics").await?;
    Ok(counters(&text, "apiserver_request_total", |labels| {
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let (verb, resource) = (label("verb")?, label("resource")?);
        let writes = ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"];
        // Reviews ask a question; nothing is written.
        let counts =
            writes.contains(&verb.as_str()) && resource != "leases" && !resource.ends_with("reviews");
        let subresource = label("subresource").filter(|name| !name.is_empty());
        counts.then(|| {
            [Some(verb), Some(resource), subresource].into_iter().flatten().collect::<Vec<_>>().join(" ")
        })
    }))
}

/// The samples of a metric, added up by what `key` makes of their labels.
fn counters(text: &str, metric: &str, key: impl Fn(&str) -> Option<String>) -> Counters {
    let mut counters = Counters::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(metric).and_then(|rest| rest.strip_prefix('{')) else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        if let (Some(key), Ok(value)) = (key(labels), value.parse::<f64>()) {
            *counters.entry(key).or_default() += value;
        }
    }
    counters
}

fn growth(before: &Counters, after: &Counters) -> Counters {
    after
        .iter()
        .map(|(key, value)| (key.clone(), value - before.get(key).copied().unwrap_or_default()))
        .filter(|(_, grown)| *grown > 0.0)
        .collect()
}

/// How many objects there are, events and leases excluded: the requests that nobody can save.
fn objects(bench: &Bench) -> Result<usize> {
    let kinds = bench.kubectl.run(&["api-resources", "--verbs=list,create", "--output=name"])?;
    let kinds: Vec<_> =
        kinds.lines().filter(|kind| !kind.starts_with("events") && !kind.starts_with("leases")).collect();
    Ok(bench.kubectl.run(&["get", "--all-namespaces", "--output=name", &kinds.join(",")])?.lines().count())
}
