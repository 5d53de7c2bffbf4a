//! `scute plan apply`: a blueprint as objects, shown or written.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use scute_api::metal3::{DiskFormat, Image};
use scute_plan::blueprint::{Blueprint, HostRole};
use scute_plan::render::manifests::{File, Settings, files};
use serde::de::DeserializeOwned;

use super::plan::{InputArgs, load};
use crate::output;

/// Write Clusters, MachineDeployments, templates and host labels
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
    #[command(flatten)]
    metal: MetalImage,
    /// Write no Clusters and control planes, only pools for those that are there
    #[arg(long)]
    pools_only: bool,
    /// DataStore of hosted control planes; further ones are called as in the plan
    #[arg(long, default_value = "default")]
    data_store: String,
    /// Range of the tenants' Pods: not the management cluster's, in which VM Nodes live
    #[arg(long, default_value = "10.245.0.0/16", value_name = "CIDR")]
    pods: ipnet::IpNet,
    /// Range of the tenants' Services
    #[arg(long, default_value = "10.93.0.0/16", value_name = "CIDR")]
    services: ipnet::IpNet,
}

/// What is written onto the disks of metal Nodes where the demand (metalImage) names nothing.
#[derive(Args)]
struct MetalImage {
    /// Image of metal Nodes, HTTP or HTTPS
    #[arg(long, value_name = "URL")]
    metal_image: Option<String>,
    /// Its digest, or the URL of a file with digests
    #[arg(long, value_name = "DIGEST|URL", requires = "metal_image")]
    metal_checksum: Option<String>,
    /// raw, qcow2 or live-iso [default: found out by its first bytes]
    #[arg(long, value_name = "FORMAT", requires = "metal_image", value_parser = word::<DiskFormat>)]
    metal_format: Option<DiskFormat>,
}

impl MetalImage {
    fn image(self) -> Option<Image> {
        let MetalImage { metal_image, metal_checksum: checksum, metal_format: format } = self;
        metal_image.map(|url| Image {
            url,
            checksum,
            checksum_type: None,
            format,
            oci_auth_secret_name: None,
        })
    }
}

/// A word of the API.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
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
            metal_image: self.metal.image(),
            clusters: !self.pools_only,
            data_store: self.data_store,
            pods: self.pods.to_string(),
            services: self.services.to_string(),
        };
        check_names(&blueprint)?;
        let files = files(&blueprint, &settings).map_err(|refusals| {
            anyhow::anyhow!(refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
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

/// Names of servers are names of objects, names of pools label values, names of tenants those of Services too; classes and
/// racks are label values.
fn check_names(b: &Blueprint) -> anyhow::Result<()> {
    let used = || b.hosts.iter().filter(|h| h.role != HostRole::Free);
    let hosts = used().map(|h| &h.name).filter(|n| !is_name(n));
    let pools = b.tenants.iter().flat_map(|t| &t.pools).map(|p| &p.name).filter(|n| !is_label(n));
    let letter = |n: &str| n.starts_with(|c: char| c.is_ascii_lowercase());
    let tenants = b.tenants.iter().map(|t| &t.name).filter(|n| !is_label(n) || !letter(n));
    let wrong: Vec<&str> = hosts.chain(tenants).chain(pools).map(String::as_str).collect();
    anyhow::ensure!(
        wrong.is_empty(),
        "no names for objects of Kubernetes (a-z, 0-9 and - are, up to 63 of them; tenants begin with a letter): {}",
        wrong.join(", ")
    );
    let values: BTreeSet<&str> =
        used().flat_map(|h| [h.class.as_str(), h.rack.as_str()]).filter(|v| !is_value(v)).collect();
    anyhow::ensure!(
        values.is_empty(),
        "no label values, which classes and racks become (letters, digits, -, _ and . are, up to 40 of them): {}",
        values.into_iter().collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// A label of RFC 1123.
fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 63
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || c == '-')
}

/// Labels of RFC 1123, with dots between them.
fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A label value, with room behind it for the size of a server.
fn is_value(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    let inside = |c: char| plain(c) || "-_.".contains(c);
    text.len() <= 40 && text.starts_with(plain) && text.ends_with(plain) && text.chars().all(inside)
}

fn text(file: &File) -> anyhow::Result<String> {
    let documents: Vec<String> = file.documents.iter().map(output::yaml).collect::<Result<_, _>>()?;
    let left: String = file.left.iter().map(|l| format!("# not in here: {l}\n")).collect();
    Ok(documents.iter().fold(left, |text, d| text + "---\n" + d))
}
