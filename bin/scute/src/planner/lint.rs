//! `scute lint`: what is wrong with objects, before they are applied or while they run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use scute_plan::blueprint::Blueprint;
use scute_plan::input::{Demand, InputError, parse_demand};
use scute_plan::lint::{Finding, Level, Objects, RULES, blueprint, lint, read, render, sarif};

use super::live::LiveArgs;
use crate::output;

/// Check manifests or a management cluster: addresses, networks, versions, references, capacity
#[derive(Args)]
pub struct LintCommand {
    /// Files or folders of YAML; - is standard input. A blueprint among them is held against --demand
    #[arg(required_unless_present_any = ["live", "rules"])]
    files: Vec<PathBuf>,
    /// Tenants and policy that blueprints among the files must keep
    #[arg(long)]
    demand: Option<PathBuf>,
    #[command(flatten)]
    live: LiveArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
    /// Fail on warnings, too
    #[arg(long)]
    strict: bool,
    /// The files are all there is: references that do not resolve are errors
    #[arg(long)]
    complete: bool,
    /// List the rules
    #[arg(long)]
    rules: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Sarif,
}

impl LintCommand {
    /// Runs it. The exit code is 1 when errors were found, 2 when input cannot be read.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        super::end(self.answer().await)
    }

    async fn answer(self) -> anyhow::Result<ExitCode> {
        if self.rules {
            let rules: String = RULES.iter().map(|(rule, about)| format!("{rule:24}{about}\n")).collect();
            output::say(&rules)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut objects = Objects { complete: self.complete, ..Objects::default() };
        let (mut wrong, mut findings) = (Vec::new(), Vec::new());
        let demand = super::plan::parsed(self.demand.as_deref(), parse_demand);
        let demand = demand.unwrap_or_else(|errors| {
            wrong.extend(errors);
            None
        });
        for path in self.files.iter().flat_map(files) {
            let name = path.to_string_lossy();
            let text = super::read(&path);
            let done = text.and_then(|text| match (is_blueprint(&text), &demand) {
                (true, Some(demand)) => {
                    findings.extend(of_blueprint(&name, &super::plan::blueprint(&name, &text)?, demand));
                    Ok(())
                }
                (true, None) if self.demand.is_none() => Err(InputError::unreadable(
                    &name,
                    &"is a blueprint: give --demand, which says what it must keep",
                )),
                (true, None) => Ok(()),
                (false, _) => read(&name, &text, &mut objects),
            });
            wrong.extend(done.err());
        }
        wrong.iter().for_each(|w| eprintln!("{w}"));
        if self.live.wanted() {
            self.live.objects().await?.iter().for_each(|o| objects.add_json("cluster", o));
        }
        findings.extend(lint(&objects));
        let json = match self.output {
            Format::Text => None,
            Format::Json => Some(serde_json::to_string_pretty(&findings)?),
            Format::Sarif => {
                let log = sarif::sarif(&findings, env!("CARGO_PKG_VERSION"));
                Some(serde_json::to_string_pretty(&log)?)
            }
        };
        output::say(&json.map_or_else(|| render(&findings), |json| json + "\n"))?;
        let worst = findings.iter().map(|f| f.level).min();
        Ok(match worst {
            _ if !wrong.is_empty() => ExitCode::from(super::NO_ANSWER),
            Some(Level::Error) => ExitCode::from(super::BAD),
            Some(Level::Warning) if self.strict => ExitCode::from(super::BAD),
            _ => ExitCode::SUCCESS,
        })
    }
}

/// Whether a file is a plan and not objects.
fn is_blueprint(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Plan {
        #[serde(rename = "totals")]
        _totals: serde::de::IgnoredAny,
        #[serde(rename = "hosts")]
        _hosts: serde::de::IgnoredAny,
    }
    serde_saphyr::from_str::<Plan>(text).is_ok()
}

fn of_blueprint(file: &str, plan: &Blueprint, demand: &Demand) -> Vec<Finding> {
    let mut findings = blueprint::check(plan, demand);
    findings.iter_mut().flat_map(|f| &mut f.places).for_each(|p| p.file = file.to_owned());
    findings
}

/// A file, or the YAML files of a folder and those below it, by name.
fn files(path: &PathBuf) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.clone()] };
    let mut below: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    below.sort();
    let yaml = |p: &PathBuf| p.is_dir() || p.extension().is_some_and(|e| e == "yaml" || e == "yml");
    below.iter().filter(|p| yaml(p)).flat_map(files).collect()
}
