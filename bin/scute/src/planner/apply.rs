//! `scute plan apply`: a blueprint as objects, shown or written.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use scute_plan::blueprint::{Blueprint, HostRole};
use scute_plan::render::manifests::{File, Settings, files};

use super::plan::{InputArgs, load};
use crate::output;

/// Write MachineDeployments, templates and host labels
#[derive(Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    input: InputArgsOrBlueprint,
    /// Print the objects instead of writing them
    #[arg(long, conflicts_with = "write", required_unless_present = "write")]
    dry_run: bool,
    /// Folder to write one file a tenant into
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Namespace of the tenant clusters
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Kubernetes version of new Nodes
    #[arg(long, default_value = scute_kubeadm::KUBERNETES_VERSION)]
    kubernetes_version: String,
    /// containerDisk of VM Nodes [default: scute.dev/node of the version]
    #[arg(long)]
    image: Option<String>,
}

#[derive(Args)]
struct InputArgsOrBlueprint {
    /// A blueprint made earlier (YAML or JSON), instead of fleet and demand
    #[arg(long, conflicts_with_all = ["fleet", "demand"])]
    blueprint: Option<PathBuf>,
    #[command(flatten)]
    input: ApplyInput,
}

/// The same as for planning, but nothing is required when a blueprint is given.
#[derive(Args)]
struct ApplyInput {
    /// Servers: YAML or CSV
    #[arg(long, requires = "demand", required_unless_present = "blueprint")]
    fleet: Option<PathBuf>,
    /// Tenants and policy: YAML or CSV
    #[arg(long, requires = "fleet")]
    demand: Option<PathBuf>,
    /// Turns the order in which like servers are filled
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl ApplyArgs {
    /// Runs it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let blueprint = match self.input.blueprint {
            Some(path) => load(&path)?,
            None => {
                let input =
                    InputArgs::files(self.input.input.fleet, self.input.input.demand, self.input.input.seed);
                let (fleet, demand) = input.read().await?;
                scute_plan::planner::plan(&fleet, &demand, input.seed())
            }
        };
        anyhow::ensure!(
            blueprint.unplaced.is_empty(),
            "the plan leaves something without a place: run scute plan to see what"
        );
        let settings = Settings {
            namespace: self.namespace,
            image: self.image.unwrap_or_else(|| format!("scute.dev/node:{}", self.kubernetes_version)),
            version: self.kubernetes_version,
        };
        let wrong: Vec<&str> = names(&blueprint).filter(|n| !is_name(n)).collect();
        anyhow::ensure!(
            wrong.is_empty(),
            "no names for objects of Kubernetes (a-z, 0-9 and - are): {}",
            wrong.join(", ")
        );
        let files = files(&blueprint, &settings);
        match self.write {
            Some(folder) => {
                std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
                for file in &files {
                    let path = folder.join(&file.name);
                    std::fs::write(&path, text(file)?)
                        .with_context(|| format!("writing {}", path.display()))?;
                    output::say(&format!("{}\n", path.display()))?;
                }
                files.iter().flat_map(|f| &f.left).for_each(|l| eprintln!("note: not written: {l}"));
            }
            None => {
                for file in &files {
                    output::say(&format!("# {}\n{}\n", file.name, text(file)?))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What becomes the name of an object.
fn names(blueprint: &Blueprint) -> impl Iterator<Item = &str> {
    let hosts = blueprint.hosts.iter().filter(|h| h.role != HostRole::Free).map(|h| h.name.as_str());
    hosts.chain(blueprint.tenants.iter().map(|t| t.name.as_str()))
}

/// Labels of RFC 1123, with dots between them.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |l: &str| {
        l.len() <= 63 && l.starts_with(plain) && l.ends_with(plain) && l.chars().all(|c| plain(c) || c == '-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn text(file: &File) -> anyhow::Result<String> {
    let documents: Vec<String> = file.documents.iter().map(output::yaml).collect::<Result<_, _>>()?;
    let left: String = file.left.iter().map(|l| format!("# not in here: {l}\n")).collect();
    Ok(documents.iter().fold(left, |text, d| text + "---\n" + d))
}
