//! `scute move`: clusters and hosts from one management cluster to another.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use scute_movement::{Movement, Plan, Scope};
use scute_site::SiteName;

use crate::client::ClientArgs;
use crate::output;

/// Move clusters and hosts from one management cluster to another, with their status
///
/// Nothing is done to servers and Nodes. When it is interrupted, run it again: it goes on where it ended.
#[derive(Args)]
pub struct MoveArgs {
    /// Kubeconfig of the management cluster that they leave, or `default`: $KUBECONFIG, or the site on this machine
    #[arg(long, value_name = "KUBECONFIG", default_value = DEFAULT)]
    from: PathBuf,
    /// Kubeconfig of the management cluster that gets them
    #[arg(long, value_name = "KUBECONFIG")]
    to: PathBuf,
    /// Namespace, at both sides
    #[arg(short, long)]
    namespace: Option<String>,
    /// Clusters, or `all`
    #[arg(long = "cluster", value_name = "NAME", num_args = 1.., default_value = ALL)]
    clusters: Vec<String>,
    /// Hosts that nobody consumes, too
    #[arg(long)]
    hosts: bool,
    /// Print what would be moved and what speaks against it, and change nothing
    #[arg(long)]
    dry_run: bool,
}

const DEFAULT: &str = "default";
const ALL: &str = "all";

impl MoveArgs {
    /// Moves, and prints a line per step.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let side = |kubeconfig: PathBuf| ClientArgs {
            kubeconfig: (kubeconfig.as_os_str() != DEFAULT).then_some(kubeconfig),
            site: SiteName::default(),
            namespace: self.namespace.clone(),
        };
        let (from, namespace) = side(self.from).connect().await?;
        let (to, _) = side(self.to).connect().await?;
        let names: BTreeSet<String> = self.clusters.into_iter().collect();
        let clusters = (!names.contains(ALL)).then_some(names);
        let scope = Scope { clusters, hosts: self.hosts };
        let id = format!("{namespace}-{}", jiff::Timestamp::now().as_second());
        let movement = Movement::new(from, to, &namespace, scope, &id);
        if self.dry_run {
            let plan = movement.look().await?;
            output::say(&told(&plan))?;
            return Ok(if plan.refusals.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let outcome = movement.run(&|line| output::say(&format!("{line}\n")).is_ok()).await?;
        for (kind, count) in outcome.counts {
            output::say(&format!("  {count} {kind}\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A plan for people: names only, owners first.
fn told(plan: &Plan) -> String {
    let objects = plan.items.iter().map(|item| {
        let how = if item.copied { " (copied: others use it, too)" } else { "" };
        format!("{}{}{how}\n", "  ".repeat(item.level), item.object.key())
    });
    let counts = plan.counts().into_iter().map(|(kind, count)| format!("  {count} {kind}\n"));
    let mut text: String = objects.chain(["would be moved:\n".to_owned()]).chain(counts).collect();
    if !plan.refusals.is_empty() {
        text.push_str("what speaks against it:\n");
        plan.refusals.iter().for_each(|why| text.push_str(&format!("  {why}\n")));
    }
    text
}
