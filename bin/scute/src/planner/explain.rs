//! `scute explain`: the one object that blocks, and what to change.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use scute_plan::explain::{Target, elsewhere, explain, is_kind, render};

use super::live;
use crate::client::ClientArgs;
use crate::output;

/// Say why a cluster, machine or host is not ready, and what to change
#[derive(Args)]
pub struct ExplainCommand {
    /// cluster, machine, host, or any kind
    kind: String,
    /// Its name
    name: String,
    /// Read recorded objects (YAML or JSON) instead of a cluster
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Why there is nothing to explain.
fn absent(seen: &[serde_json::Value], target: &Target) -> String {
    let Target { kind, namespace, name } = target;
    let missing = format!("there is no {kind} {name} in namespace {namespace}");
    let spaces: Vec<String> = elsewhere(seen, target);
    match spaces.as_slice() {
        [] => missing,
        spaces => format!("{missing}; there is one in {}: -n {}", spaces.join(", "), spaces[0]),
    }
}

impl ExplainCommand {
    /// Runs it. The exit code is 1 when something blocks, 2 when there is nothing to explain.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        super::end(self.answer().await)
    }

    async fn answer(self) -> anyhow::Result<ExitCode> {
        let (seen, namespace) = if self.from.is_empty() {
            let (seen, namespace) = live::seen(&self.client).await?;
            let served = seen.kinds.iter().any(|k| is_kind(k, &self.kind));
            anyhow::ensure!(served, "this cluster serves no kind {}: its CRDs are not installed", self.kind);
            (seen.objects, namespace)
        } else {
            let mut seen = Vec::new();
            for path in &self.from {
                let documents = serde_saphyr::from_multiple::<serde_json::Value>(&super::read(path)?);
                for document in documents.with_context(|| format!("{} is not YAML", path.display()))? {
                    match document.get("items").and_then(serde_json::Value::as_array) {
                        Some(items) => seen.extend(items.iter().cloned()),
                        None => seen.push(document),
                    }
                }
            }
            (seen, self.client.namespace.clone().unwrap_or_else(|| "default".to_owned()))
        };
        let target = Target { kind: self.kind, namespace, name: self.name };
        let Some(explanation) = explain(&seen, &target) else {
            anyhow::bail!(absent(&seen, &target));
        };
        match self.output {
            Format::Text => output::say(&render(&explanation))?,
            Format::Json => output::say(&(serde_json::to_string_pretty(&explanation)? + "\n"))?,
        }
        Ok(ExitCode::from(if explanation.ready { 0 } else { super::BAD }))
    }
}
