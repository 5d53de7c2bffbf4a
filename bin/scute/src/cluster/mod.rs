//! `scute cluster`: tenant clusters as people see them.

mod fetch;
mod list;
mod tree;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::{await_condition, conditions};
use scute_api::cluster::Cluster;

use crate::client::ClientArgs;
use crate::output::{self, Format};

/// What can be asked of tenant clusters.
#[derive(Subcommand)]
pub enum ClusterCommand {
    /// List tenant clusters
    List {
        #[command(flatten)]
        client: ClientArgs,
        /// All namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// Output format
        #[arg(short, long, default_value = "table")]
        output: Format,
    },
    /// Show a cluster as a tree, with what blocks it
    Describe {
        #[command(flatten)]
        cluster: Named,
        /// Output format
        #[arg(short, long, default_value = "table")]
        output: Format,
    },
    /// Print the kubeconfig of a cluster
    Kubeconfig {
        #[command(flatten)]
        cluster: Named,
    },
    /// Delete a cluster and everything in it
    Delete {
        #[command(flatten)]
        cluster: Named,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Return at once instead of when it is gone
        #[arg(long)]
        no_wait: bool,
    },
}

/// One cluster.
#[derive(Args)]
pub struct Named {
    /// Name of the Cluster
    name: String,
    #[command(flatten)]
    client: ClientArgs,
}

impl ClusterCommand {
    /// Does what was asked.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { client, all_namespaces, output } => {
                let (client, namespace) = client.connect().await?;
                let api: Api<Cluster> =
                    if all_namespaces { Api::all(client) } else { Api::namespaced(client, &namespace) };
                let clusters = api.list(&Default::default()).await.context("listing Clusters")?;
                output::print(output, &list::rows(&clusters.items), |rows| {
                    list::table(rows, jiff::Timestamp::now())
                })?;
            }
            Self::Describe { cluster, output } => {
                let (client, namespace) = cluster.client.connect().await?;
                let objects = fetch::objects(client, &namespace, &cluster.name).await?;
                let tree = tree::Tree::of(&objects);
                output::print(output, &tree, |tree| tree.render(jiff::Timestamp::now()))?;
            }
            Self::Kubeconfig { cluster } => {
                let (client, namespace) = cluster.client.connect().await?;
                output::say(&kubeconfig(Api::namespaced(client, &namespace), &cluster.name).await?)?;
            }
            Self::Delete { cluster, yes, no_wait } => {
                if !yes {
                    // Before anything is asked of the cluster.
                    output::can_ask(&question(&cluster.name))?;
                }
                let (client, namespace) = cluster.client.connect().await?;
                return delete(Api::namespaced(client, &namespace), &namespace, &cluster.name, yes, !no_wait)
                    .await;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The content of Secret `<cluster>-kubeconfig`, key `value` (Cluster API contract).
async fn kubeconfig(secrets: Api<Secret>, cluster: &str) -> anyhow::Result<String> {
    let name = format!("{cluster}-kubeconfig");
    let secret = secrets.get_opt(&name).await.with_context(|| format!("reading Secret {name}"))?.with_context(|| {
        format!("Secret {name} does not exist: the control plane is not there yet (`scute cluster describe {cluster}`)")
    })?;
    let value = secret.data.unwrap_or_default().remove("value");
    let value = value.with_context(|| format!("Secret {name} has no key \"value\""))?;
    String::from_utf8(value.0).with_context(|| format!("Secret {name} is not text"))
}

fn question(cluster: &str) -> String {
    format!("Delete Cluster {cluster}?")
}

async fn delete(
    api: Api<Cluster>,
    namespace: &str,
    name: &str,
    yes: bool,
    wait: bool,
) -> anyhow::Result<ExitCode> {
    let cluster = api.get(name).await.with_context(|| format!("reading Cluster {namespace}/{name}"))?;
    let parts = [format!("Cluster {namespace}/{name} with all its Machines and data")];
    let asks = || output::confirmed("This deletes for good:", &parts, &question(name));
    if !yes && !asks()? {
        eprintln!("Nothing was deleted.");
        return Ok(ExitCode::FAILURE);
    }
    api.delete(name, &DeleteParams::background())
        .await
        .with_context(|| format!("deleting Cluster {name}"))?;
    if wait {
        let uid = cluster.metadata.uid.unwrap_or_default();
        await_condition(api, name, conditions::is_deleted(&uid)).await.context("waiting for the deletion")?;
        output::say(&format!("Cluster {namespace}/{name} is deleted\n"))?;
    } else {
        output::say(&format!("Cluster {namespace}/{name} is being deleted\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
