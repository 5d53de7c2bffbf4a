//! What is refused at the door, and the defaults that users shall see.

use std::sync::Arc;

use futures::future::BoxFuture;
use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::controlplane::template::KamajiControlPlaneTemplate;
use scute_api::controlplane::{KamajiControlPlane, KamajiControlPlaneSpec};
use scute_api::kamaji::{DataStore, TenantControlPlane};
use scute_api::ranges::{of_cluster, of_tenant};
use scute_kit::{Admission, AdmissionRequest, FieldError, Hub, Key, Operation, Verdict};
use serde_json::{Value, json};

use crate::Config;
use crate::holders::{Holder, holders};
use crate::kamajicontrolplane::mapping::{self, check_ranges};
use crate::kamajicontrolplane::{control_plane_of, words};
use crate::ranges;
use crate::tenant::service::refused_external_ip;
use crate::tenant::storage;
use crate::tenant::validate::validate;

/// Adds the decoders and handlers.
pub fn add(hub: &Arc<Hub>, config: &Config, admission: Admission) -> Admission {
    let shared = (Arc::clone(hub), Arc::new(config.clone()));
    let (clusters, control_planes, tenants) = (shared.clone(), shared.clone(), shared);
    admission
        .decodes::<DataStore>()
        .decodes::<KamajiControlPlane>()
        .decodes::<KamajiControlPlaneTemplate>()
        .decodes::<TenantControlPlane>()
        .on("cluster.x-k8s.io", "Cluster", move |request| -> BoxFuture<'static, Verdict> {
            let (hub, config) = clusters.clone();
            Box::pin(async move { cluster(&hub, &config, &request).await })
        })
        .on(
            "controlplane.cluster.x-k8s.io",
            "KamajiControlPlane",
            move |request| -> BoxFuture<'static, Verdict> {
                let (hub, config) = control_planes.clone();
                Box::pin(async move { control_plane(&hub, &config, &request).await })
            },
        )
        .on("kamaji.clastix.io", "TenantControlPlane", move |request| -> BoxFuture<'static, Verdict> {
            let (hub, config) = tenants.clone();
            Box::pin(async move { tenant(&hub, &config, request).await })
        })
}

/// Whether a request asks for something new that can be refused: a write of metadata must pass whatever the rest of the
/// world has come to, and whatever is being deleted must be able to lose its finalizers.
fn asks(request: &AdmissionRequest, what: impl Fn(&Value) -> Value) -> bool {
    matches!(request.operation, Operation::Create | Operation::Update)
        && request.subresource.is_empty()
        && request.object["metadata"]["deletionTimestamp"].is_null()
        && request.old.as_ref().is_none_or(|old| what(old) != what(&request.object))
}

fn verdict(bad: Vec<FieldError>) -> Verdict {
    if bad.is_empty() { Verdict::Allow } else { Verdict::Deny(bad) }
}

/// A Cluster whose ranges hide its VM Nodes, or with which its hosted control plane cannot run. One that is there
/// already is told in its conditions.
async fn cluster(hub: &Hub, config: &Config, request: &AdmissionRequest) -> Verdict {
    let relevant = |object: &Value| {
        let spec = &object["spec"];
        json!([spec["clusterNetwork"], spec["infrastructureRef"]["kind"], spec["controlPlaneRef"]])
    };
    if !asks(request, relevant) {
        return Verdict::Allow;
    }
    // What cannot be decoded was denied before.
    let Ok(cluster) = serde_json::from_value::<Cluster>(request.object.clone()) else {
        return Verdict::Allow;
    };
    let (pods, services) = (&config.management_pod_cidrs, &config.management_service_cidrs);
    let mut bad: Vec<_> = check_ranges(&cluster, pods, services).err().into_iter().collect();
    let old = request.old.as_ref().and_then(|old| serde_json::from_value::<Cluster>(old.clone()).ok());
    let before = old.map(|old| of_cluster(&old, false)).unwrap_or_default();
    if let Some(key) = control_plane_of(&cluster) {
        let known = hub.watch::<KamajiControlPlane>();
        known.ready().await;
        let control_plane =
            known.get(&key).map_or_else(|| yet_to_come(&key, &cluster), |known| known.as_ref().clone());
        let wrong = hosted(&control_plane, &cluster, hub, config).await;
        bad.extend(wrong.into_iter().filter_map(|error| words::of_cluster(&error)));
    }
    bad.extend(ranges::against_itself(&of_cluster(&cluster, false), &before, &bad));
    verdict(bad)
}

/// Stands for a control plane that is made after its Cluster: of the newest version, and with DNS addresses of its own.
/// What it then really asks for is checked with it.
fn yet_to_come(key: &Key, cluster: &Cluster) -> KamajiControlPlane {
    let services = cluster.spec.cluster_network.iter().filter_map(|network| network.services.as_ref());
    let nets = services.flat_map(|ranges| &ranges.cidr_blocks).filter_map(|range| range.parse().ok());
    let mut spec = KamajiControlPlaneSpec {
        version: scute_kubeadm::KUBERNETES_VERSION.to_owned(),
        ..KamajiControlPlaneSpec::default()
    };
    spec.network.dns_service_ips =
        nets.filter_map(|net| scute_kubeadm::first_service_ip(&net)).map(|ip| ip.to_string()).collect();
    KamajiControlPlane::new(&key.name, spec)
}

/// A KamajiControlPlane with which no control plane can run.
async fn control_plane(hub: &Hub, config: &Config, request: &AdmissionRequest) -> Verdict {
    if !asks(request, |object| object["spec"].clone()) {
        return Verdict::Allow;
    }
    let Ok(kcp) = serde_json::from_value::<KamajiControlPlane>(request.object.clone()) else {
        return Verdict::Allow;
    };
    let clusters = hub.watch::<Cluster>();
    clusters.ready().await;
    let key = Key::of(&kcp);
    let cluster = clusters
        .list_in(&key.namespace)
        .into_iter()
        .find(|cluster| control_plane_of(cluster).as_ref() == Some(&key));
    let cluster = cluster.map(|cluster| cluster.as_ref().clone()).unwrap_or_default();
    let wrong = hosted(&kcp, &cluster, hub, config).await;
    verdict(wrong.into_iter().filter_map(|error| words::of_control_plane(&error)).collect())
}

/// What would be wrong with the TenantControlPlane of a KamajiControlPlane.
async fn hosted(kcp: &KamajiControlPlane, cluster: &Cluster, hub: &Hub, config: &Config) -> Vec<FieldError> {
    let tenants = hub.watch::<TenantControlPlane>();
    tenants.ready().await;
    let existing = tenants.get(&Key::of(kcp));
    let want = mapping::tenant(kcp, cluster, existing.as_deref());
    let mut bad = validate(&want, &config.default_datastore).err().unwrap_or_default();
    bad.extend(version(&want, existing.as_deref()));
    bad
}

async fn tenant(hub: &Hub, config: &Config, request: AdmissionRequest) -> Verdict {
    if !asks(&request, |object| object["spec"].clone()) {
        return Verdict::Allow;
    }
    let object = with_defaults(carried_over(request.object.clone(), request.old.as_ref()), config);
    let tcp: TenantControlPlane = match serde_json::from_value(object.clone()) {
        Ok(tcp) => tcp,
        Err(error) => return Verdict::Deny(vec![FieldError::new("spec", "", error.to_string())]),
    };
    let old = request.old.as_ref().and_then(|old| serde_json::from_value(old.clone()).ok());
    let mut bad = match validate(&tcp, &config.default_datastore) {
        Ok(_) => Vec::new(),
        Err(bad) => bad,
    };
    bad.extend(version(&tcp, old.as_ref()));
    let before = old.as_ref().map(of_tenant).unwrap_or_default();
    bad.extend(ranges::against_itself(&of_tenant(&tcp), &before, &bad));
    bad.extend(old.as_ref().and_then(|old| moved_dns(&tcp, old)));
    let (datastores, tenants) = (hub.watch::<DataStore>(), hub.watch::<TenantControlPlane>());
    datastores.ready().await;
    let name = tcp.spec.data_store.as_deref().unwrap_or(&config.default_datastore);
    bad.extend(data_store(&tcp, name, datastores.get(&Key::new("", name)).as_deref()));
    bad.extend(refused_external_ip(&tcp, &config.external_ip_cidrs));
    let mine = Holder::of(&tcp, &config.default_datastore);
    bad.extend(taken(&mine, &holders(&tenants, &config.default_datastore).await));
    match (bad.is_empty(), object == request.object) {
        (false, _) => Verdict::Deny(bad),
        (true, true) => Verdict::Allow,
        (true, false) => Verdict::Replace(object),
    }
}

/// A manifest that says nothing of the DataStore is applied again and again: what was decided for it stays.
fn carried_over(mut object: Value, old: Option<&Value>) -> Value {
    let (Some(old), Some(spec)) = (old, object["spec"].as_object_mut()) else { return object };
    for field in ["dataStore", "dataStoreSchema", "dataStoreUsername"] {
        let before = &old["spec"][field];
        if !before.is_null() && spec.get(field).is_none_or(Value::is_null) {
            spec.insert(field.to_owned(), before.clone());
        }
    }
    object
}

/// The DNS Service keeps the address that it was made with, and so do the kubelets of Nodes that joined.
fn moved_dns(tcp: &TenantControlPlane, old: &TenantControlPlane) -> Option<FieldError> {
    let has_dns = old.status.as_ref()?.addons.as_ref()?.core_dns.enabled;
    let (before, wanted) =
        (&old.spec.network_profile.dns_service_ips, &tcp.spec.network_profile.dns_service_ips);
    if !has_dns || wanted.starts_with(before) {
        return None;
    }
    let detail = format!(
        "cannot be changed from {}: Service kube-dns of the tenant keeps its address, and Nodes that joined ask there",
        before.join(",")
    );
    Some(FieldError::new("spec.networkProfile.dnsServiceIPs", wanted.join(","), detail))
}

/// What upstream's webhook fills in, but for schema and user: they default to the UID, which is known only
/// once the object exists. The controller writes them with the finalizer.
fn with_defaults(mut object: Value, config: &Config) -> Value {
    let spec = &mut object["spec"];
    if !spec.is_object() {
        return object;
    }
    if spec["dataStore"].is_null() {
        spec["dataStore"] = json!(config.default_datastore);
    }
    let Ok(tcp) = serde_json::from_value::<TenantControlPlane>(object.clone()) else { return object };
    let network = &tcp.spec.network_profile;
    let (services, pods) = (network.service_ranges(), network.pod_ranges());
    let profile = &mut object["spec"]["networkProfile"];
    if profile["serviceCidrs"].as_array().is_none_or(Vec::is_empty) {
        profile["serviceCidrs"] = json!(services);
    }
    if profile["podCidrs"].as_array().is_none_or(Vec::is_empty) {
        profile["podCidrs"] = json!(pods);
    }
    if profile["dnsServiceIPs"].as_array().is_none_or(Vec::is_empty) {
        let nets = services.iter().filter_map(|cidr| cidr.parse().ok());
        let ips: Vec<_> = nets.filter_map(|net| scute_kubeadm::dns_service_ip(&net)).collect();
        profile["dnsServiceIPs"] = json!(ips);
    }
    object
}

/// A DataStore that is not there, at its end, or not for this namespace. Who uses it already hears of that in conditions.
fn data_store(tcp: &TenantControlPlane, name: &str, found: Option<&DataStore>) -> Option<FieldError> {
    let namespace = tcp.namespace().unwrap_or_default();
    let why = match found {
        _ if storage::is_user(tcp) => return None,
        None => format!("{name} DataStore does not exist"),
        Some(found) if !storage::allows(found, &namespace) => storage::not_allowed(name, &namespace),
        Some(found) if found.metadata.deletion_timestamp.is_some() => storage::is_ending(name),
        Some(_) => return None,
    };
    Some(FieldError::new("spec.dataStore", name, why))
}

fn version(tcp: &TenantControlPlane, old: Option<&TenantControlPlane>) -> Option<FieldError> {
    let asked = &tcp.spec.kubernetes.version;
    // A text that is no version is refused by the validation.
    let wanted = asked.parse::<scute_kubeadm::Version>().ok()?;
    let installed = old.and_then(crate::tenant::installed_version);
    let before = old.and_then(|old| old.spec.kubernetes.version.parse::<scute_kubeadm::Version>().ok());
    let checked = match installed.or(before) {
        Some(before) => before.check_update(&wanted),
        None => wanted.check_create(),
    };
    checked.err().map(|error| FieldError::new("spec.kubernetes.version", asked, error.to_string()))
}

/// What can belong to one tenant only: prefix and user on a DataStore, and an address with its port. Whose it is, the
/// operator finds in the log: tenants are strangers to each other.
fn taken(mine: &Holder, holders: &[Holder]) -> Vec<FieldError> {
    let mut bad = Vec::new();
    for other in holders.iter().filter(|other| other.key != mine.key) {
        let taken = |what: &str| {
            tracing::info!(tenant = %mine.key, owner = %other.key, "{what} is taken");
            format!("{what} is taken: choose another")
        };
        let (ours, theirs) = (&mine.tenant, &other.tenant);
        if other.data_store == mine.data_store {
            let here = format!("on DataStore {} this", mine.data_store);
            if theirs.schema == ours.schema {
                bad.push(FieldError::new("spec.dataStoreSchema", &ours.schema, taken(&here)));
            }
            if theirs.user == ours.user {
                bad.push(FieldError::new("spec.dataStoreUsername", &ours.user, taken(&here)));
            }
        }
        if !mine.address.is_empty() && (&other.address, other.port) == (&mine.address, mine.port) {
            let endpoint = format!("{}:{}", mine.address, mine.port);
            bad.push(FieldError::new("spec.networkProfile.address", &mine.address, taken(&endpoint)));
        }
    }
    bad
}
