//! A cluster, watched: nothing is polled that can be awaited.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config};
use serde_json::Value;

/// Longer than anything that is measured may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Group, version, kind and plural of what is looked at.
#[derive(Clone, Copy)]
pub struct Kind(pub &'static str, pub &'static str, pub &'static str);

pub const SECRET: Kind = Kind("v1", "Secret", "secrets");
pub const POD: Kind = Kind("v1", "Pod", "pods");
pub const NODE: Kind = Kind("v1", "Node", "nodes");
pub const VM: Kind = Kind("kubevirt.io/v1", "VirtualMachine", "virtualmachines");
pub const MACHINE: Kind = Kind("cluster.x-k8s.io/v1beta2", "Machine", "machines");
pub const TCP: Kind = Kind("kamaji.clastix.io/v1alpha1", "TenantControlPlane", "tenantcontrolplanes");

/// The namespace that everything measured is in.
pub const NAMESPACE: &str = "default";

pub struct Cluster {
    pub client: Client,
}

impl Cluster {
    pub async fn new(kubeconfig: &Path) -> Result<Self> {
        Self::from_text(&std::fs::read_to_string(kubeconfig)?).await
    }

    pub async fn from_text(kubeconfig: &str) -> Result<Self> {
        let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // A request that is refused is an answer here.
        config.default_retry = false;
        config.read_timeout = None;
        Ok(Self { client: Client::try_from(config)? })
    }

    pub fn api(&self, Kind(api_version, kind, plural): Kind) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        if kind == "Node" {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
        }
    }

    /// Waits until the object of this name is as wanted.
    pub async fn when(&self, kind: Kind, name: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let field = format!("metadata.name={name}");
        self.first(kind, watcher::Config::default().fields(&field), is)
            .await
            .with_context(|| format!("{} {name}", kind.1))
    }

    /// Waits until any object of the kind is as wanted.
    pub async fn any(&self, kind: Kind, is: impl Fn(&Value) -> bool) -> Result<Value> {
        self.first(kind, watcher::Config::default(), is).await.with_context(|| kind.1.to_owned())
    }

    async fn first(&self, kind: Kind, config: watcher::Config, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut objects = std::pin::pin!(watcher(self.api(kind), config).default_backoff().applied_objects());
        let mut last = Value::Null;
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(object) = objects.next().await {
                let Ok(object) = object else { continue };
                last = serde_json::to_value(object)?;
                if is(&last) {
                    return Ok(last.clone());
                }
            }
            bail!("the watch ended")
        });
        match found.await {
            Ok(found) => found,
            Err(_) => bail!("never as wanted; last seen: {last}"),
        }
    }

    /// Waits until every object of these names is gone.
    pub async fn gone(&self, objects: &[(Kind, String)]) -> Result<()> {
        futures::future::try_join_all(objects.iter().map(|(kind, name)| self.one_gone(*kind, name)))
            .await
            .map(drop)
    }

    async fn one_gone(&self, kind: Kind, name: &str) -> Result<()> {
        let gone = tokio::time::timeout(PATIENCE, scute_testkit::gone(self.api(kind), name));
        gone.await.with_context(|| format!("{} {name} is still there", kind.1))
    }

    /// Asks until the API server answers well: one that is not there yet cannot be watched.
    pub async fn answers(&self, path: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.text(path).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub async fn text(&self, path: &str) -> Result<String> {
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(self.client.request_text(request).await?)
    }
}

/// Whether a condition of this type is true.
pub fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == condition && one["status"] == "True")
}
