//! Figures of a first tenant, one JSON object a line: figure, value, unit, floor, goal, ok. Each floor is
//! measured in the same run, by the same binaries, on the same machine. A site of its own, gone afterwards.

mod cluster;
mod floor;
mod metal;
mod node;
mod process;
mod tenants;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use cluster::Cluster;
use scute_e2e::processes::{self, until};
use scute_e2e::{Kubectl, Site};
use scute_testkit::Figure;

/// Measures a site and its tenants; takes some minutes.
#[derive(Parser)]
struct Args {
    /// Only these parts; without any all but the servers
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How often what is measured by its median is measured
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The site: how soon it is up
    Site,
    /// Control planes: time, API writes, memory
    Tenants,
    /// VMs and the Nodes that they become
    Nodes,
    /// A rack's server and the Node that it becomes
    Metal,
}

/// What every part works on.
struct Bench {
    site: Site,
    kubectl: Kubectl,
    management: Cluster,
    runs: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    // Fails only when there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runs = args.runs.max(1);
    let wants = |part| if args.parts.is_empty() { part != Part::Metal } else { args.parts.contains(&part) };
    let (site, output) = Site::up_saying("bench")?;
    if wants(Part::Site) {
        let seconds = said(&output, "Node ready after ")?;
        Figure::of("scute up to Node Ready, bundle present", "s").value(seconds).at_most(12.0).print();
        up_again(&site, runs)?;
    }
    let kubectl = site.kubectl();
    let management = Cluster::new(kubectl.kubeconfig()).await?;
    let bench = Bench { site, kubectl, management, runs };
    if wants(Part::Tenants) {
        tenants::measure(&bench).await.context("tenants")?;
    }
    if wants(Part::Nodes) {
        node::measure(&bench).await.context("nodes")?;
    }
    if wants(Part::Metal) {
        metal::measure(&bench).await.context("servers")?;
    }
    bench.site.down()
}

/// The seconds that `scute up` itself says after some words: the moment is inside of it.
fn said(output: &str, words: &str) -> Result<f64> {
    output
        .lines()
        .find_map(|line| line.strip_prefix(words)?.strip_suffix(" s.")?.parse().ok())
        .with_context(|| format!("scute up did not say {words:?}:\n{output}"))
}

/// What a machine does that lost its power.
fn up_again(site: &Site, runs: usize) -> Result<()> {
    let supervisor = || processes::of_site(site.name(), "site-supervisor");
    let times = (0..runs).map(|_| {
        processes::kill(supervisor()?)?;
        until("no process of the site", || processes::of_site(site.name(), "").is_err())?;
        said(&site.start()?, &format!("Site {} is up after ", site.name()))
    });
    let times = times.map(|seconds| seconds.map(Duration::from_secs_f64)).collect::<Result<_>>()?;
    Figure::of("scute up after kill -9 of all that runs, whole site", "s").value(median(times)).print();
    Ok(())
}

/// The middle one of some durations, in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}
