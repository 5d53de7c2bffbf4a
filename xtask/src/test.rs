//! Every check and test, from nothing: what `.ci/run` runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};

use crate::cache::Cache;
use crate::{bundle, components, crds, judges, layers, run, say, setup, workspace};

/// Where property tests begin. The same everywhere: what passed here passes there, and a failure is the change's own. Any
/// other seed of the environment is taken instead, and `cargo test` alone draws anew each time.
const SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "1");

/// End-to-end tests that have one emulated server of one processor each and no site: they run beside the others.
const SERVERS: [&str; 2] = ["node_image", "ramdisk"];

/// What to leave out.
#[derive(clap::Args)]
pub struct Args {
    /// Leave out the end-to-end tests, which start a site and virtual machines
    #[arg(long)]
    no_e2e: bool,
}

/// `cargo xtask test`.
pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    setup::run()?;
    say::step("fmt", || run::quiet(run::cargo().args(["fmt", "--all", "--check"])))?;
    layers::run()?;
    let cache = Cache::open()?;
    let kube = components::build(&cache)?.kube;
    // One compilation for lints, definitions and tests, the end-to-end ones too.
    let all = ["test", "--workspace", "--no-run", "--quiet"];
    say::step("clippy and build", || run::quiet(run::linting_cargo()?.args(all)))?;
    crds::check(run::linting_cargo()?)?;
    // Tests wait for each other's events now and then: what the end-to-end tests need is built in their pauses.
    let bundle = std::thread::scope(|scope| {
        let bundle = (!args.no_e2e).then(|| scope.spawn(build_in_pauses));
        say::stream("cargo test", || {
            // One line per test binary is enough; a failure prints its own output.
            let tests = ["test", "--workspace", "--exclude", "scute-e2e", "--no-fail-fast"];
            run::loud(run::linting_cargo()?.args(tests).env("SCUTE_KUBE", &kube).env(SEED.0, seed()))
        })?;
        judges::test(&cache)?;
        bundle.map(join).transpose()
    })?;
    clients(&cache, &kube)?;
    if let Some(bundle) = bundle {
        end_to_end(&bundle)?;
    }
    say::note(&format!("all tests passed after {}", say::duration(started.elapsed())));
    Ok(())
}

/// What `clusterctl` and `helm` think of it.
fn clients(cache: &Cache, kube: &Path) -> Result<()> {
    let (clusterctl, helm) = (components::clusterctl(cache)?, components::helm(cache)?);
    say::stream("clusterctl and helm", || {
        let mut cargo = run::tests(["versions", "installed"])?;
        cargo
            .args(["--", "--ignored", "clusterctl", "helm"])
            .env("SCUTE_CLUSTERCTL", &clusterctl)
            .env("SCUTE_HELM", &helm);
        run::loud(cargo.env("SCUTE_KUBE", kube))
    })
}

fn seed() -> String {
    std::env::var(SEED.0).unwrap_or_else(|_| SEED.1.to_owned())
}

/// clusterctl, helm, and the bundle for the end-to-end tests, built by programs that let all others go first.
fn build_in_pauses() -> Result<PathBuf> {
    // The niceness of a thread of Linux is its own, and that of the processes that it starts.
    rustix::process::nice(15).context("let others go first")?;
    let cache = Cache::open()?;
    components::clusterctl(&cache)?;
    components::helm(&cache)?;
    bundle::default().context("the bundle for the end-to-end tests")
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread of the tests has panicked"))?
}

fn end_to_end(bundle: &Path) -> Result<()> {
    let (servers, sites): (Vec<_>, Vec<_>) =
        end_to_end_tests()?.into_iter().partition(|name| SERVERS.contains(&name.as_str()));
    let cargo = |names: &[String]| -> Result<Command> {
        let mut cargo = run::tests(names.iter().map(String::as_str))?;
        // One site at a time, and the steps are printed while they run: the whole takes minutes.
        cargo.args(["--", "--test-threads=1", "--nocapture"]).env("SCUTE_BUNDLE", bundle);
        Ok(cargo)
    };
    let (servers, sites) = std::thread::scope(|scope| {
        let servers = scope.spawn(|| cargo(&servers)?.stdin(Stdio::null()).output().context("start cargo"));
        let sites = say::stream("end to end: sites", || run::loud(&mut cargo(&sites)?));
        (join(servers), sites)
    });
    say::stream("end to end: servers, meanwhile", || {
        let done = servers?;
        eprint!("{}", String::from_utf8_lossy(&done.stderr));
        print!("{}", String::from_utf8_lossy(&done.stdout));
        ensure!(done.status.success(), "cargo test: {}", done.status);
        Ok(())
    })
    .and(sites)
    .with_context(|| format!("end-to-end tests in {}", workspace::root().join("e2e").display()))
}

/// One file, one test binary.
fn end_to_end_tests() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(workspace::root().join("e2e/tests"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
