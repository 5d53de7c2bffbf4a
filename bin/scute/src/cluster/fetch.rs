//! Reads everything that belongs to one cluster. The only part of `describe` that talks to a server.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::future::try_join_all;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::discovery::Discovery;
use kube::{Client, ResourceExt};
use scute_api::meta::CLUSTER_NAME_LABEL;
use serde_json::Value;

/// Kinds that stand in the tree, in the order in which siblings are drawn. Others are not read.
const KINDS: [(&str, &str); 9] = [
    ("cluster.x-k8s.io", "MachineDeployment"),
    ("cluster.x-k8s.io", "MachineSet"),
    ("cluster.x-k8s.io", "Machine"),
    ("bootstrap.cluster.x-k8s.io", "KubeadmConfig"),
    ("infrastructure.cluster.x-k8s.io", "KubevirtMachine"),
    ("infrastructure.cluster.x-k8s.io", "Metal3Machine"),
    ("kubevirt.io", "VirtualMachine"),
    ("kubevirt.io", "VirtualMachineInstance"),
    ("metal3.io", "BareMetalHost"),
];

/// The objects of one cluster, as they were read.
pub struct Objects {
    /// The Cluster itself.
    pub cluster: Value,
    /// Objects by kind and name; referenced ones that do not exist are missing here.
    pub others: BTreeMap<(String, String), Value>,
}

/// Reads the Cluster, what it refers to, and what carries its label.
pub async fn objects(client: Client, namespace: &str, name: &str) -> anyhow::Result<Objects> {
    let groups = ["cluster.x-k8s.io", "infrastructure.cluster.x-k8s.io", "controlplane.cluster.x-k8s.io"];
    let more = ["bootstrap.cluster.x-k8s.io", "kamaji.clastix.io", "kubevirt.io", "metal3.io"];
    let served = Discovery::new(client.clone())
        .filter(&[groups.as_slice(), &more].concat())
        .run()
        .await
        .context("asking which kinds are served")?;
    let read = Reader { client, namespace: namespace.to_owned(), served };
    let cluster = read
        .one("cluster.x-k8s.io", "Cluster", name)
        .await?
        .with_context(|| format!("there is no Cluster {namespace}/{name}"))?;
    let mut others = BTreeMap::new();
    for reference in ["infrastructureRef", "controlPlaneRef"] {
        let of = |field: &str| cluster["spec"][reference][field].as_str().unwrap_or_default().to_owned();
        let (group, kind, name) = (of("apiGroup"), of("kind"), of("name"));
        if let Some(object) = read.one(&group, &kind, &name).await? {
            others.insert((kind.clone(), name.clone()), object);
        }
        if kind == "KamajiControlPlane"
            && let Some(object) = read.one("kamaji.clastix.io", "TenantControlPlane", &name).await?
        {
            others.insert(("TenantControlPlane".to_owned(), name), object);
        }
    }
    let labelled = try_join_all(KINDS.map(|(group, kind)| read.labelled(group, kind, name))).await?;
    others.extend(labelled.into_iter().flatten());
    Ok(Objects { cluster, others })
}

struct Reader {
    client: Client,
    namespace: String,
    served: Discovery,
}

impl Reader {
    fn api(&self, group: &str, kind: &str) -> Option<Api<DynamicObject>> {
        let group = self.served.groups().find(|served| served.name() == group)?;
        // Of the group's versions not every one has every kind.
        let mut all = group.resources_by_stability().into_iter();
        let (resource, _): (ApiResource, _) = all.find(|(resource, _)| resource.kind == kind)?;
        Some(Api::namespaced_with(self.client.clone(), &self.namespace, &resource))
    }

    async fn one(&self, group: &str, kind: &str, name: &str) -> anyhow::Result<Option<Value>> {
        let Some(api) = self.api(group, kind) else { return Ok(None) };
        let object = api.get_opt(name).await.with_context(|| format!("reading {kind} {name}"))?;
        Ok(object.map(serde_json::to_value).transpose()?)
    }

    async fn labelled(
        &self,
        group: &str,
        kind: &str,
        cluster: &str,
    ) -> anyhow::Result<Vec<((String, String), Value)>> {
        let Some(api) = self.api(group, kind) else { return Ok(Vec::new()) };
        let selector = ListParams::default().labels(&format!("{CLUSTER_NAME_LABEL}={cluster}"));
        let list = api.list(&selector).await.with_context(|| format!("listing {kind} objects"))?;
        list.items
            .into_iter()
            .map(|object| Ok(((kind.to_owned(), object.name_any()), serde_json::to_value(object)?)))
            .collect()
    }
}
