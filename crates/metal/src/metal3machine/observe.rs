//! What a Metal3Machine depends on, read from the watches.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use scute_api::cluster::{
    CLONED_FROM_GROUP_KIND_ANNOTATION, CLONED_FROM_NAME_ANNOTATION, Cluster, Machine, MachineDeployment,
};
use scute_api::infrastructure::{
    HOST_ANNOTATION, Metal3Cluster, Metal3Data, Metal3DataClaim, Metal3Machine, Metal3MachineTemplate,
};
use scute_api::meta::{CLUSTER_NAME_LABEL, DEPLOYMENT_NAME_LABEL};
use scute_api::metal3::BareMetalHost;
use scute_contract::infracluster::infra_of;
use scute_contract::owners::owner_of_kind;
use scute_kit::tenants::{Standing, TenantKey, Tenants};
use scute_kit::{Error, Field, Hub, Key};

use super::node::{Marks, Match, node_of};
use super::render::{is_consumer, provider_id};

/// BareMetalHosts by the name of the Metal3Machine that has them.
pub const CONSUMER: Field<BareMetalHost> = Field {
    name: "spec.consumerRef.name",
    of: |host| {
        let consumer = host.spec.consumer_ref.as_ref()?;
        consumer.name.as_deref().filter(|_| consumer.kind.as_deref() == Some("Metal3Machine")).map(Into::into)
    },
};

/// What the controller has seen.
#[derive(Clone, Default)]
pub struct Observed {
    /// The Machine that owns the Metal3Machine.
    pub machine: Option<Arc<Machine>>,
    /// The Cluster of the Machine.
    pub cluster: Option<Arc<Cluster>>,
    /// Its Metal3Cluster; a Cluster whose first InfraCluster is of another kind needs none.
    pub infra: Option<Arc<Metal3Cluster>>,
    /// The host that the Metal3Machine has.
    pub host: Option<Arc<BareMetalHost>>,
    /// The hosts of the namespace, when it has none.
    pub hosts: Vec<Arc<BareMetalHost>>,
    /// The template that it was made from, if it is still there.
    pub template: Option<Arc<Metal3MachineTemplate>>,
    /// MachineDeployments and control planes of the namespace, for which hosts may be kept.
    pub keepers: Vec<String>,
    /// Its claim for metadata and network data.
    pub claim: Option<Arc<Metal3DataClaim>>,
    /// What the claim got.
    pub data: Option<Arc<Metal3Data>>,
    /// Its Node.
    pub node: Seen,
}

/// What is known of the Node.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seen {
    /// Nobody has looked: there is no host, or no control plane that could be asked.
    #[default]
    NotAsked,
    /// The tenant cannot be asked, and why.
    Unknown(String),
    /// What was found.
    Found(Match),
}

/// The only reader.
pub async fn observe(hub: &Hub, tenants: &Arc<Tenants>, object: &Metal3Machine) -> Result<Observed, Error> {
    let key = Key::of(object);
    let at = |name: &str| Key::new(key.namespace.clone(), name);
    let machine = owner_of_kind::<Machine>(&object.metadata)
        .and_then(|owner| hub.watch::<Machine>().get(&at(&owner.name)));
    let cluster_name = machine
        .as_ref()
        .map(|machine| machine.spec.cluster_name.clone())
        .or_else(|| object.labels().get(CLUSTER_NAME_LABEL).cloned());
    let cluster = cluster_name.and_then(|name| hub.watch::<Cluster>().get(&at(&name)));
    let infra = cluster
        .as_deref()
        .and_then(|cluster| infra_of(&hub.watch::<Metal3Cluster>().list_in(&key.namespace), cluster));
    let host = host(hub, object, &key).await?;
    let hosts = match host {
        Some(_) => Vec::new(),
        None => hub.watch::<BareMetalHost>().list_in(&key.namespace),
    };
    let template = template_of(object).and_then(|key| hub.watch::<Metal3MachineTemplate>().get(&key));
    let claim = hub.watch::<Metal3DataClaim>().get(&key);
    let rendered = claim.as_ref().and_then(|claim| claim.status.as_ref()?.rendered_data.clone()?.name);
    let data = rendered.and_then(|name| hub.watch::<Metal3Data>().get(&at(&name)));
    let mut seen = Observed {
        machine,
        cluster,
        infra,
        host,
        hosts,
        template,
        keepers: keepers(hub, &key.namespace),
        claim,
        data,
        node: Seen::NotAsked,
    };
    seen.node = node(tenants, object, &seen);
    Ok(seen)
}

/// The host that the Metal3Machine has. A watch may lag after a start: a server may not be left behind on its word.
async fn host(hub: &Hub, object: &Metal3Machine, key: &Key) -> Result<Option<Arc<BareMetalHost>>, Error> {
    let hosts = hub.watch::<BareMetalHost>();
    let ours = |host: &Arc<BareMetalHost>| is_consumer(host, object);
    let known = hosts.list_by(&CONSUMER, &key.namespace, &key.name).into_iter().find(ours);
    if known.is_some() || object.metadata.deletion_timestamp.is_none() {
        return Ok(known);
    }
    let noted = object.annotations().get(HOST_ANNOTATION).and_then(|noted| noted.split_once('/'));
    let Some((namespace, name)) = noted.filter(|(namespace, _)| *namespace == key.namespace) else {
        return Ok(None);
    };
    Ok(hub.get(&Key::new(namespace, name)).await?.map(Arc::new).filter(ours))
}

fn node(tenants: &Arc<Tenants>, object: &Metal3Machine, seen: &Observed) -> Seen {
    let (Some(cluster), Some(host), Some(machine)) = (&seen.cluster, &seen.host, &seen.machine) else {
        return Seen::NotAsked;
    };
    if !cluster.may_answer() || cluster.metadata.deletion_timestamp.is_some() {
        return Seen::NotAsked;
    }
    let known = tenants.nodes(&TenantKey::capi(&object.namespace().unwrap_or_default(), &cluster.name_any()));
    let names = [machine.name_any(), object.name_any(), host.name_any()];
    let id = (!has_cloud_provider(seen)).then(|| provider_id(object, host));
    let uid = host.uid().unwrap_or_default();
    let marks = Marks { provider_id: id.as_deref(), uid: &uid, names: &names };
    match (node_of(&known.list(), &marks), known.standing()) {
        (Match::None, Standing::Known) => Seen::Found(Match::None),
        (Match::None, standing) => Seen::Unknown(standing.message().unwrap_or_default()),
        (found, _) => Seen::Found(found),
    }
}

/// Whether a cloud provider in the Cluster gives the Nodes their providerIDs.
pub fn has_cloud_provider(seen: &Observed) -> bool {
    seen.infra.as_ref().is_some_and(|infra| infra.spec.cloud_provider_enabled == Some(true))
}

/// The template that a Metal3Machine was made from, as its maker notes it.
pub fn template_of(object: &Metal3Machine) -> Option<Key> {
    let noted = |annotation| object.annotations().get(annotation).cloned();
    let kind = format!("{}.{}", Metal3MachineTemplate::kind(&()), Metal3MachineTemplate::group(&()));
    let name = noted(CLONED_FROM_NAME_ANNOTATION)?;
    (noted(CLONED_FROM_GROUP_KIND_ANNOTATION) == Some(kind))
        .then(|| Key::new(object.namespace().unwrap_or_default(), name))
}

/// Those that will have more Machines.
fn keepers(hub: &Hub, namespace: &str) -> Vec<String> {
    let deployments = hub.watch::<MachineDeployment>().list_in(namespace);
    let clusters = hub.watch::<Cluster>().list_in(namespace);
    let stay = |object: &&Arc<Cluster>| object.metadata.deletion_timestamp.is_none();
    let control_planes = clusters
        .iter()
        .filter(stay)
        .filter_map(|cluster| Some(cluster.spec.control_plane_ref.as_ref()?.name.clone()));
    let deployments =
        deployments.iter().filter(|deployment| deployment.metadata.deletion_timestamp.is_none());
    deployments.map(|deployment| deployment.name_any()).chain(control_planes).collect()
}

/// The MachineDeployment or control plane for whose Machines a host may be kept.
pub fn keeper(seen: &Observed) -> Option<&str> {
    let labels = seen.machine.as_ref()?.labels();
    let control_plane = labels.get(scute_api::cluster::CONTROL_PLANE_NAME_LABEL);
    labels.get(DEPLOYMENT_NAME_LABEL).or(control_plane).map(String::as_str)
}
