//! Ranges of addresses that harm each other, at the door. What one object says against itself is refused. Where another
//! object is the other owner there is a warning, whichever of them comes last: which one is to move is not ours to say.
//!
//! Only owners in the object's own namespace are named, and the management cluster: tenants are strangers (ADR 0010).

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use scute_api::cluster::{Cluster, MachineDeployment};
use scute_api::ipam::IPPool;
use scute_api::kamaji::TenantControlPlane;
use scute_api::ranges::{Claim, Clash, clashes, of_cluster, of_pool, of_tenant};
use scute_kit::{Admission, AdmissionRequest, FieldError, Hub, Key};
use serde::de::DeserializeOwned;

/// Adds the advisers of every kind that names ranges, or makes VM Nodes of a Cluster.
pub fn add(hub: &Arc<Hub>, management: &[Claim], admission: Admission) -> Admission {
    let known = Arc::new(Known { hub: Arc::clone(hub), management: management.to_vec() });
    let admission = advised::<Cluster>(admission, &known, |known, cluster| {
        Says::new(of_cluster(cluster, known.has_vms(cluster, None)))
    });
    let admission = advised::<TenantControlPlane>(admission, &known, |_, it| Says::new(of_tenant(it)));
    let admission = advised::<IPPool>(admission, &known, |_, pool| Says::new(of_pool(pool)));
    advised::<MachineDeployment>(admission, &known, Known::with_machines)
}

/// What is claimed on account of an object.
#[derive(Default)]
struct Says {
    claims: Vec<Claim>,
    /// The same without the object.
    without: Vec<Claim>,
}

impl Says {
    fn new(claims: Vec<Claim>) -> Self {
        Self { claims, without: Vec::new() }
    }
}

/// What an object of a kind says, by what is known of others.
type Reading<K> = fn(&Known, &K) -> Says;

fn advised<K>(admission: Admission, known: &Arc<Known>, reading: Reading<K>) -> Admission
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
{
    let known = Arc::clone(known);
    admission.advises(&K::group(&()), &K::kind(&()), move |request| {
        let known = Arc::clone(&known);
        Box::pin(async move { known.advice(&request, reading).await })
    })
}

/// What the manager has seen, and is told.
struct Known {
    hub: Arc<Hub>,
    management: Vec<Claim>,
}

impl Known {
    async fn advice<K>(&self, request: &AdmissionRequest, says: Reading<K>) -> Vec<String>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync,
    {
        self.hub.watch::<Cluster>().ready().await;
        self.hub.watch::<MachineDeployment>().ready().await;
        let read = |object: &serde_json::Value| serde_json::from_value::<K>(object.clone()).ok();
        let Some(new) = read(&request.object) else { return Vec::new() };
        let Says { claims, without } = says(self, &new);
        if claims.is_empty() {
            return Vec::new();
        }
        let before = request.old.as_ref().and_then(read).map_or(without, |old| says(self, &old).claims);
        let others = self.claims_in(&request.namespace).await;
        let known = told(&K::kind(&()), &before, &others);
        told(&K::kind(&()), &claims, &others).into_iter().filter(|told| !known.contains(told)).collect()
    }

    /// What is claimed in a namespace, and by the management cluster.
    async fn claims_in(&self, namespace: &str) -> Vec<Claim> {
        let (clusters, tenants) = (self.hub.watch::<Cluster>(), self.hub.watch::<TenantControlPlane>());
        let pools = self.hub.watch::<IPPool>();
        tenants.ready().await;
        pools.ready().await;
        let mut claims = self.management.clone();
        for cluster in clusters.list_in(namespace) {
            claims.extend(of_cluster(&cluster, self.has_vms(&cluster, None)));
        }
        claims.extend(tenants.list_in(namespace).iter().flat_map(|tenant| of_tenant(tenant)));
        claims.extend(pools.list_in(namespace).iter().flat_map(|pool| of_pool(pool)));
        claims
    }

    /// Whether MachineDeployments, but for one of them, make VMs for a Cluster.
    fn has_vms(&self, cluster: &Cluster, but: Option<&str>) -> bool {
        let all = self.hub.watch::<MachineDeployment>().list_in(&cluster.namespace().unwrap_or_default());
        let of = |machines: &&Arc<MachineDeployment>| {
            Some(&machines.spec.cluster_name) == cluster.metadata.name.as_ref()
                && machines.metadata.name.as_deref() != but
        };
        all.iter().filter(of).any(|machines| makes_vms(machines))
    }

    /// What a Cluster claims when these Machines are VMs, and when only the others are there.
    fn with_machines(&self, machines: &MachineDeployment) -> Says {
        let key = Key::new(machines.namespace().unwrap_or_default(), machines.spec.cluster_name.clone());
        match self.hub.watch::<Cluster>().get(&key) {
            Some(cluster) if makes_vms(machines) => {
                let others = self.has_vms(&cluster, machines.metadata.name.as_deref());
                Says { claims: of_cluster(&cluster, true), without: of_cluster(&cluster, others) }
            }
            _ => Says::default(),
        }
    }
}

fn makes_vms(machines: &MachineDeployment) -> bool {
    machines.spec.template.spec.infrastructure_ref.kind == "KubevirtMachineTemplate"
}

/// The sentences, for whoever writes an object of this kind; fields of others are named with their owner.
fn told(kind: &str, ours: &[Claim], others: &[Claim]) -> Vec<String> {
    let found = clashes(ours, others).into_iter();
    let mut told: Vec<_> = found
        .filter(|clash| clash.ours.owner != clash.theirs.owner)
        .map(|clash| match clash.ours.owner.kind == kind {
            true => clash.to_string(),
            false => format!("{}: {clash}", clash.ours.owner),
        })
        .collect();
    told.sort();
    told.dedup();
    told
}

/// What one object says against itself, and did not say `before`. A field that is wrong already is not told twice.
pub fn against_itself(claims: &[Claim], before: &[Claim], wrong: &[FieldError]) -> Vec<FieldError> {
    let field = |Clash { ours, theirs, harm }: &Clash<'_>| {
        let detail = format!("overlaps {} ({}): {}", theirs.text, theirs.path, harm.why);
        FieldError::new(&ours.path, &ours.text, detail)
    };
    let known: Vec<_> = clashes(before, &[]).iter().map(field).collect();
    let found = clashes(claims, &[]);
    let told = |error: &FieldError| wrong.iter().any(|wrong| error.path.starts_with(&wrong.path));
    found.iter().map(field).filter(|error| !known.contains(error) && !told(error)).collect()
}
