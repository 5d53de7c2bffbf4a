//! `scute plan` and what belongs to it: compare, diff, replan, apply.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use scute_plan::blueprint::Blueprint;
use scute_plan::input::{Demand, Fleet, InputError, parse_demand, parse_fleet};
use scute_plan::lint;
use scute_plan::planner::compare::{Row, Variant, compare};
use scute_plan::planner::{diff, replan};
use scute_plan::render;

use super::apply::ApplyArgs;
use super::live::LiveArgs;
use crate::output;

/// Plan how servers are cut: which stay whole, which hold VMs of which size, what binds, what it costs
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PlanCommand {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    plan: PlanArgs,
}

#[derive(Subcommand)]
enum Sub {
    /// Show what changes between two blueprints, and what that costs
    Diff {
        /// Blueprint before (YAML or JSON)
        old: PathBuf,
        /// Blueprint after
        new: PathBuf,
        /// Output format
        #[arg(short, long, value_enum, default_value = "table")]
        output: output::Format,
    },
    /// Write the objects that make a blueprint so
    Apply(Box<ApplyArgs>),
}

#[derive(Args)]
struct PlanArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    /// Plan under other rules side by side: all-metal, all-vm, mixed, shapes=2/4,8/32, overcommit=N, max-pods=N, hosted, own-vms, own-metal, no-reserve
    #[arg(long, value_name = "VARIANTS", value_parser = |t: &str| Variant::parse_list(t).map(Variants))]
    compare: Option<Variants>,
    /// Keep what this blueprint says runs where it is, and move only what frees a host
    #[arg(long, value_name = "BLUEPRINT")]
    replan: Option<PathBuf>,
    /// Most moves that a replan may make
    #[arg(long, default_value_t = 10, requires = "replan")]
    max_moves: u32,
}

/// Fleet, demand and seed.
#[derive(Args)]
pub struct InputArgs {
    /// Servers: YAML or CSV
    #[arg(long, required_unless_present = "live")]
    fleet: Option<PathBuf>,
    /// Tenants and policy: YAML or CSV
    #[arg(long, required_unless_present = "live")]
    demand: Option<PathBuf>,
    #[command(flatten)]
    live: LiveArgs,
    /// Turns the order in which like servers are filled
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone)]
struct Variants(Vec<Variant>);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Yaml,
    Svg,
    Html,
}

impl PlanCommand {
    /// Runs it. The exit code is 1 when something finds no place, 2 when there is no plan at all.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        super::end(match self.command {
            Some(Sub::Diff { old, new, output }) => show_diff(&old, &new, output),
            Some(Sub::Apply(args)) => args.run().await,
            None => self.plan.run().await,
        })
    }
}

impl PlanArgs {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let (fleet, demand) = self.input.read().await?;
        let seed = self.input.seed;
        let blueprint = match &self.replan {
            Some(path) => replan::replan(&fleet, &demand, &load(path)?, self.max_moves),
            None => scute_plan::planner::plan(&fleet, &demand, seed),
        };
        verify(&blueprint, &demand)?;
        let rows = match &self.compare {
            Some(Variants(variants)) => compare(&fleet, &demand, variants, seed),
            None => Vec::new(),
        };
        print(self.output, &blueprint, &rows)?;
        Ok(ExitCode::from(if blueprint.unplaced.is_empty() { 0 } else { super::BAD }))
    }
}

/// Holds a plan against the linter, which shares nothing with the planner: a plan that fails is not shown.
fn verify(blueprint: &Blueprint, demand: &Demand) -> anyhow::Result<()> {
    let findings = lint::blueprint::check(blueprint, demand);
    let first = findings.iter().map(|f| f.message.as_str()).take(3).collect::<Vec<_>>().join("; ");
    anyhow::ensure!(findings.is_empty(), "the plan breaks its own rules, a fault of scute's: {first}");
    Ok(())
}

impl InputArgs {
    /// Fleet and demand, from files and, where none is given, from the cluster.
    pub async fn read(&self) -> anyhow::Result<(Fleet, Demand)> {
        let (fleet, demand) =
            (parsed(self.fleet.as_deref(), parse_fleet), parsed(self.demand.as_deref(), parse_demand));
        let (mut fleet, mut demand) = match (fleet, demand) {
            (Ok(fleet), Ok(demand)) => (fleet, demand),
            (fleet, demand) => {
                let errors = fleet.err().into_iter().chain(demand.err()).flatten().collect();
                return Err(super::Wrong(errors).into());
            }
        };
        if fleet.is_none() || demand.is_none() {
            let seen = self.live.objects().await?;
            if fleet.is_none() {
                let (found, notes) = scute_plan::live::fleet(&seen);
                notes.iter().for_each(|n| eprintln!("note: {n}"));
                anyhow::ensure!(
                    !found.hosts.is_empty(),
                    "the cluster has neither Nodes nor inspected BareMetalHosts"
                );
                fleet = Some(found);
            }
            if demand.is_none() {
                let (found, notes) = scute_plan::live::demand(&seen, Default::default());
                notes.iter().for_each(|n| eprintln!("note: {n}"));
                anyhow::ensure!(
                    !found.tenants.is_empty(),
                    "the cluster has no Clusters, and no Pods outside of kube-* and *-system: give --demand"
                );
                demand = Some(found);
            }
        }
        fleet.zip(demand).context("there is neither fleet nor demand")
    }

    /// For files alone.
    pub fn files(fleet: Option<PathBuf>, demand: Option<PathBuf>, seed: u64) -> InputArgs {
        InputArgs { fleet, demand, live: LiveArgs::none(), seed }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// What a file says; `None` when none is given.
pub fn parsed<T>(
    path: Option<&Path>,
    parse: fn(&str, &str) -> Result<T, Vec<InputError>>,
) -> Result<Option<T>, Vec<InputError>> {
    let Some(path) = path else { return Ok(None) };
    let text = super::read(path).map_err(|e| vec![e])?;
    parse(&path.to_string_lossy(), &text).map(Some)
}

fn print(format: Format, blueprint: &Blueprint, rows: &[Row]) -> anyhow::Result<()> {
    let whole = || -> anyhow::Result<serde_json::Value> {
        let mut value = serde_json::to_value(blueprint)?;
        if !rows.is_empty() {
            value["compared"] = serde_json::to_value(rows)?;
        }
        Ok(value)
    };
    let text = match format {
        Format::Table if rows.is_empty() => render::table::blueprint(blueprint),
        Format::Table => {
            format!("{}\nCOMPARED\n{}", render::table::blueprint(blueprint), render::table::comparison(rows))
        }
        Format::Json => serde_json::to_string_pretty(&whole()?)? + "\n",
        Format::Yaml => output::yaml(&whole()?)?,
        Format::Svg => render::svg::blueprint(blueprint) + "\n",
        Format::Html => render::html::page(blueprint, rows) + "\n",
    };
    output::say(&text)
}

/// A blueprint that was written as YAML or JSON.
pub fn load(path: &Path) -> Result<Blueprint, InputError> {
    blueprint(&path.to_string_lossy(), &super::read(path)?)
}

/// The same, as text of a file.
pub fn blueprint(file: &str, text: &str) -> Result<Blueprint, InputError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |l| l.line());
        let said = error.without_snippet().to_string();
        let why = said.lines().next().and_then(|l| l.split(" at line ").next()).unwrap_or_default();
        let message = format!("is no blueprint (scute plan -o yaml): {why}");
        InputError { file: file.to_owned(), line, field: String::new(), message }
    })
}

fn show_diff(old: &Path, new: &Path, output: output::Format) -> anyhow::Result<ExitCode> {
    let (old, new) = match (load(old), load(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => return Err(super::Wrong(old.err().into_iter().chain(new.err()).collect()).into()),
    };
    let changes = diff::diff(&old, &new);
    output::print(output, &changes, render::table::diff)?;
    Ok(ExitCode::SUCCESS)
}
