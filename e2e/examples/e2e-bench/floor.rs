//! What cannot be beaten: the upstream processes alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use scute_testkit::ApiServer;

use crate::cluster::{POD, is_true};
use crate::{Bench, median, process};

/// A bare API server on a bare etcd: wall and CPU time from exec to ready.
pub struct Bare {
    pub wall: f64,
    pub cpu: f64,
}

/// The median of some starts.
pub async fn api_server(runs: usize) -> Result<Bare> {
    let (mut wall, mut cpu) = (vec![], vec![]);
    for _ in 0..runs {
        let server = ApiServer::start().await?;
        wall.push(server.ready_after());
        cpu.push(process::cpu(server.process())?);
    }
    Ok(Bare { wall: median(wall), cpu: median(cpu) })
}

/// How long `count` of them take when they start together: more than their share of it alone, for they are in each
/// other's way.
pub async fn api_servers(count: usize) -> Result<f64> {
    let start = Instant::now();
    // Each of them dies with this list.
    let servers = try_join_all((0..count).map(|_| ApiServer::start())).await?;
    let took = start.elapsed().as_secs_f64();
    drop(servers);
    Ok(took)
}

/// The one image that holds a program which waits.
const PAUSE: &str = "registry.k8s.io/pause:3.10.1";

/// From the apply of the smallest Pod to its container's start: what a sandbox costs.
pub async fn sandbox(bench: &Bench) -> Result<Duration> {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: floor}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 0\n  \
         containers: [{{name: c, image: \"{PAUSE}\", imagePullPolicy: Never}}]\n"
    );
    let start = Instant::now();
    bench.kubectl.apply(&manifest)?;
    bench.management.when(POD, "floor", |pod| is_true(pod, "Ready")).await?;
    let took = start.elapsed();
    bench.kubectl.run(&["delete", "pod", "floor", "--wait=true"]).context("removing the Pod")?;
    Ok(took)
}
