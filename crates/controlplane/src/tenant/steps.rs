//! The steps of a run: each reads what it needs, writes what is missing, and says what it waits for.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use scute_api::kamaji::{TENANT_FINALIZER, TenantControlPlane};
use scute_kit::json::covers;
use scute_kit::{Error, Key, Why, finalizer};
use scute_kubeadm::ClusterFacts;
use serde_json::{Value, json};

use super::certificates::Needs;
use super::deployment::deployment;
use super::endpoint::{Endpoint, endpoint};
use super::network::other_family;
use super::network_policy::network_policy;
use super::occupied;
use super::progress::{Progress, Stage, Stop};
use super::rollout;
use super::secrets;
use super::service::{refused_external_ip, service, without_node_ports};
use super::storage;
use super::trouble;
use super::validate::{Wanted, invalid, validate};
use crate::context::Context;
use crate::holders::{Holder, holders};
use crate::names::{MANAGER, NAME_SELECTOR};
use crate::start_limiter::{StartLimiter, at_once};

/// Goes as far as possible.
///
/// # Errors
/// What stopped it.
pub async fn advance(
    tcp: &Arc<TenantControlPlane>,
    context: &Context,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let wanted = spec(tcp, context).await?;
    progress.wanted = Some(wanted.clone());
    let (datastore, opened) = storage::open(tcp, &wanted, context).await?;
    // From here on something may exist in the DataStore that has to be removed again.
    let tcp = settle(tcp, &wanted, context).await?;
    let (made, found) = tokio::join!(
        storage::ensure(&tcp, &wanted, &datastore, &opened, context),
        reach(&tcp, &wanted, context)
    );
    made?;
    progress.data_store = Some(wanted.data_store.clone());
    let found = found?;
    progress.service = Some(Arc::clone(&found));
    let endpoint = endpoint(&wanted, &found).map_err(|why| Stop::wait(Stage::Endpoint, why))?;
    progress.endpoint = Some(endpoint.clone());
    if let Some(bad) = other_family(&wanted.service_cidrs, endpoint.address) {
        return Err(Stop::wait(Stage::Endpoint, Why::new("OtherFamily", bad.to_string())));
    }
    let needs = Needs::new(&wanted, &endpoint, &opened.endpoints, Arc::clone(&opened.ca));
    let known = secrets::keep(&tcp, context, &needs, &facts(&tcp, &wanted, &endpoint, ""), &endpoint).await?;
    progress.known = Some(Arc::clone(&known));
    let rendered = deployment(&tcp, &wanted, &endpoint, &opened.endpoints, &known.checksums);
    progress.ignored = rendered.ignored;
    fence(&tcp, &opened.endpoints, context).await?;
    progress.deployment = Some(pods(&tcp, &rendered.deployment, context).await?);
    progress.trouble = trouble_of(&tcp, context);
    context.look_inside(&Key::of(tcp.as_ref()));
    Ok(())
}

/// What kubeadm's objects say of this tenant.
pub fn facts(tcp: &TenantControlPlane, wanted: &Wanted, endpoint: &Endpoint, ca_pem: &str) -> ClusterFacts {
    use scute_api::kamaji::CgroupDriver;
    let mut facts = ClusterFacts::new(
        &wanted.name,
        wanted.version.clone(),
        &endpoint.address.to_string(),
        endpoint.port,
        ca_pem,
    );
    facts.service_cidrs.clone_from(&wanted.service_cidrs);
    facts.pod_cidrs.clone_from(&wanted.pod_cidrs);
    facts.cluster_domain.clone_from(&wanted.cluster_domain);
    facts.dns_ips.clone_from(&wanted.dns_ips);
    facts.cert_sans.clone_from(&wanted.cert_sans);
    facts.image_repository.clone_from(&tcp.spec.control_plane.deployment.registry_settings.registry);
    facts.cgroup_driver = match tcp.spec.kubernetes.kubelet.cgroupfs {
        Some(CgroupDriver::Cgroupfs) => scute_kubeadm::CgroupDriver::Cgroupfs,
        Some(CgroupDriver::Systemd) | None => scute_kubeadm::CgroupDriver::Systemd,
    };
    facts
}

async fn spec(tcp: &Arc<TenantControlPlane>, context: &Context) -> Result<Wanted, Stop> {
    let wanted = validate(tcp, &context.config.default_datastore)
        .map_err(|bad| Stop::wait(Stage::Spec, invalid(&bad)))?;
    let installed = installed_version(tcp);
    let allowed = match &installed {
        Some(installed) => installed.check_update(&wanted.version),
        None => wanted.version.check_create(),
    };
    allowed.map_err(|error| Stop::wait(Stage::Spec, Why::new("UnsupportedVersion", error.to_string())))?;
    let default = &context.config.default_datastore;
    let holders = holders(&context.hub.watch(), default).await;
    match conflict(&Holder::of(tcp, default), &holders) {
        Some(why) => Err(Stop::wait(Stage::Spec, why)),
        None => Ok(wanted),
    }
}

/// The version that every Pod runs.
pub fn installed_version(tcp: &TenantControlPlane) -> Option<scute_kubeadm::Version> {
    let resources = tcp.status.as_ref()?.kubernetes_resources.as_ref()?;
    resources.version.version.as_ref()?.parse().ok()
}

/// Another tenant on the same DataStore with the same user or prefix, that came first: the two would read each other's
/// keys.
pub fn conflict(mine: &Holder, holders: &[Holder]) -> Option<Why> {
    let older = |other: &&Holder| other.uid != mine.uid && other.is_older_than(mine);
    holders.iter().filter(older).find_map(|other| {
        let (store, theirs) = (&other.data_store, &other.tenant);
        let field = match () {
            () if *store != mine.data_store => return None,
            () if theirs.schema == mine.tenant.schema => format!("spec.dataStoreSchema {:?}", theirs.schema),
            () if theirs.user == mine.tenant.user => format!("spec.dataStoreUsername {:?}", theirs.user),
            () => return None,
        };
        // Whose is the operator's business, not the next tenant's.
        tracing::warn!(tenant = %mine.key, owner = %other.key, store, "{field} is taken");
        let message = format!("{field} on DataStore {store} is taken: choose another");
        Some(Why::new("DataStoreConflict", message))
    })
}

/// Writes what was decided by default where everybody can read it, and the finalizer, in one patch.
async fn settle(
    tcp: &Arc<TenantControlPlane>,
    wanted: &Wanted,
    context: &Context,
) -> Result<Arc<TenantControlPlane>, Stop> {
    let Some(mut patch) = defaults(tcp, wanted) else { return Ok(Arc::clone(tcp)) };
    patch["metadata"]["uid"] = json!(tcp.uid());
    patch["metadata"]["resourceVersion"] = json!(tcp.resource_version());
    context.hub.patch(&Key::of(tcp.as_ref()), &patch).await.map_err(failed(Stage::DataStore))
}

/// The finalizer and the fields that the user left to us, as far as they are missing.
pub fn defaults(tcp: &TenantControlPlane, wanted: &Wanted) -> Option<Value> {
    let (spec, network) = (&tcp.spec, &tcp.spec.network_profile);
    let mut patch = json!({});
    if !finalizer::has(tcp, TENANT_FINALIZER) {
        let finalizers = tcp.finalizers().iter().map(String::as_str).chain([TENANT_FINALIZER]);
        patch["metadata"]["finalizers"] = json!(finalizers.collect::<Vec<_>>());
    }
    for (field, given, value) in [
        ("dataStore", &spec.data_store, &wanted.data_store),
        ("dataStoreSchema", &spec.data_store_schema, &wanted.tenant.schema),
        ("dataStoreUsername", &spec.data_store_username, &wanted.tenant.user),
    ] {
        if given.is_none() {
            patch["spec"][field] = json!(value);
        }
    }
    for (field, given, value) in [
        ("serviceCidrs", &network.service_cidrs, json!(wanted.service_cidrs)),
        ("podCidrs", &network.pod_cidrs, json!(wanted.pod_cidrs)),
        ("dnsServiceIPs", &network.dns_service_ips, json!(wanted.dns_ips)),
    ] {
        if given.is_empty() {
            patch["spec"]["networkProfile"][field] = value;
        }
    }
    (patch != json!({})).then_some(patch)
}

async fn reach(tcp: &TenantControlPlane, wanted: &Wanted, context: &Context) -> Result<Arc<Service>, Stop> {
    let stage = Stage::Endpoint;
    if let Some(bad) = refused_external_ip(tcp, &context.config.external_ip_cidrs) {
        return Err(Stop::wait(stage, Why::new("ExternalIPNotAllowed", bad.to_string())));
    }
    let services = context.hub.watch::<Service>();
    services.ready().await;
    let seen = services.get(&Key::of(tcp));
    occupied::ours_or_free(tcp, seen.as_deref(), stage)?;
    let want = without_node_ports(service(tcp, wanted), seen.as_deref());
    context.hub.apply(MANAGER, &want).await.map_err(|error| {
        let why = match error.code() {
            // The port or address is somebody else's: the API server names it.
            Some(422) => Why::new("EndpointRefused", refused(wanted, &error)),
            _ => return failed(stage)(error),
        };
        Stop::failed(stage, why)
    })
}

/// The limit of what the Pods reach stands before the first of them.
async fn fence(tcp: &TenantControlPlane, endpoints: &[String], context: &Context) -> Result<(), Stop> {
    let (stage, key) = (Stage::Deployment, Key::of(tcp));
    let policies = context.hub.watch::<NetworkPolicy>();
    policies.ready().await;
    let seen = policies.get(&key);
    match network_policy(tcp, endpoints, context.config.ranges()) {
        Some(want) => {
            occupied::ours_or_free(tcp, seen.as_deref(), stage)?;
            context.hub.apply(MANAGER, &want).await.map(|_| ()).map_err(failed(stage))
        }
        None => match seen.filter(|seen| occupied::is_ours(tcp, Some(seen.as_ref()))) {
            Some(seen) => context.hub.delete(seen.as_ref()).await.map_err(failed(stage)),
            None => Ok(()),
        },
    }
}

async fn pods(
    tcp: &TenantControlPlane,
    want: &Deployment,
    context: &Context,
) -> Result<Arc<Deployment>, Stop> {
    let (stage, key) = (Stage::Deployment, Key::of(tcp));
    let deployments = context.hub.watch::<Deployment>();
    deployments.ready().await;
    let seen = deployments.get(&key);
    occupied::ours_or_free(tcp, seen.as_deref(), stage)?;
    if starts_pods(seen.as_deref(), want) {
        turn(&key, context).await?;
    }
    let deployment = context.hub.apply(MANAGER, want).await.map_err(failed(stage))?;
    if rollout::of(&deployment, None).is_complete() {
        context.start_is_over(&key);
    }
    Ok(deployment)
}

/// The user's field before the API server's words about the Service that was made of it.
fn refused(wanted: &Wanted, error: &Error) -> String {
    let said = error.to_string();
    match said.contains("nodePort") {
        true => format!(
            "spec.networkProfile.port {} cannot be the port of a NodePort Service, where it is a port of the Nodes, too: {said}",
            wanted.port
        ),
        false => said,
    }
}

fn trouble_of(tcp: &TenantControlPlane, context: &Context) -> Option<Why> {
    let pods = context.hub.watch::<Pod>().list_in(&tcp.namespace().unwrap_or_default());
    let own = |pod: &&Arc<Pod>| pod.labels().get(NAME_SELECTOR) == Some(&tcp.name_any());
    trouble::of(pods.iter().filter(own).map(AsRef::as_ref))
}

/// Whether `want` makes Pods that `seen` has not.
pub fn starts_pods(seen: Option<&Deployment>, want: &Deployment) -> bool {
    let spec = |deployment: Option<&Deployment>| deployment.and_then(|deployment| deployment.spec.clone());
    let (seen, want) = (spec(seen).unwrap_or_default(), spec(Some(want)).unwrap_or_default());
    // Rendered and stored Deployments have a number of replicas; no Deployment has none.
    let (has, wants) = (seen.replicas.unwrap_or_default(), want.replicas.unwrap_or_default());
    wants > has || (wants > 0 && !covers(&json!(seen.template), &json!(want.template)))
}

/// Waits for its turn to start Pods.
async fn turn(key: &Key, context: &Context) -> Result<(), Stop> {
    let nodes = context.hub.watch::<Node>();
    nodes.ready().await;
    let at_once = at_once(nodes.list().iter().map(Arc::as_ref));
    if context.starts.enter(key, at_once, Instant::now()) {
        return Ok(());
    }
    let message = format!("{at_once} control planes start at a time, and others are before this one");
    let why = Why::new("WaitingForTurn", message);
    Err(Stop::wait_for(StartLimiter::LIMIT, Stage::Deployment, why))
}

/// A write that failed.
pub fn failed(stage: Stage) -> impl Fn(Error) -> Stop {
    move |error| Stop::failed(stage, Why::of("WriteFailed", &error))
}
