//! What is refused at the door, and the defaults that users shall see.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use ipnet::IpNet;
use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::controlplane::KamajiControlPlane;
use scute_api::kamaji::{DataStore, TenantControlPlane};
use scute_kit::{Admission, AdmissionRequest, FieldError, Hub, Key, Operation, Verdict};
use serde_json::{Value, json};

use crate::Config;
use crate::kamajicontrolplane::mapping::check_ranges;
use crate::tenant::service::refused_external_ip;
use crate::tenant::storage;
use crate::tenant::validate::{tenant_of, validate};

/// Adds the decoders and handlers.
pub fn add(hub: &Arc<Hub>, config: &Config, admission: Admission) -> Admission {
    let (hub, config) = (Arc::clone(hub), Arc::new(config.clone()));
    let management_pods = config.management_pod_cidrs.clone();
    let admission =
        admission.decodes::<DataStore>().decodes::<KamajiControlPlane>().decodes::<TenantControlPlane>();
    let admission = admission.on("cluster.x-k8s.io", "Cluster", move |request| {
        std::future::ready(cluster(&management_pods, &request)).boxed()
    });
    admission.on("kamaji.clastix.io", "TenantControlPlane", move |request| -> BoxFuture<'static, Verdict> {
        let (hub, config) = (Arc::clone(&hub), Arc::clone(&config));
        Box::pin(async move { tenant(&hub, &config, request).await })
    })
}

/// A Cluster with VM Nodes whose ranges would hide them. One that is there already is told in its conditions.
fn cluster(management_pods: &[IpNet], request: &AdmissionRequest) -> Verdict {
    let asks = |object: &Value| {
        let spec = &object["spec"];
        (spec["clusterNetwork"].clone(), spec["infrastructureRef"]["kind"].clone())
    };
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    let same = request.old.as_ref().is_some_and(|old| asks(old) == asks(&request.object));
    if !writes || same || !request.subresource.is_empty() {
        return Verdict::Allow;
    }
    // What cannot be decoded was denied before.
    let Ok(cluster) = serde_json::from_value::<Cluster>(request.object.clone()) else {
        return Verdict::Allow;
    };
    match check_ranges(&cluster, management_pods) {
        Ok(()) => Verdict::Allow,
        Err(bad) => Verdict::Deny(vec![bad]),
    }
}

async fn tenant(hub: &Hub, config: &Config, request: AdmissionRequest) -> Verdict {
    let object = match request.operation {
        Operation::Create | Operation::Update if request.subresource.is_empty() => request.object.clone(),
        _ => return Verdict::Allow,
    };
    // Whatever is being deleted must be able to lose its finalizers.
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Verdict::Allow;
    }
    // A write of metadata must pass whatever the rest of the world has come to.
    if request.old.as_ref().is_some_and(|old| old["spec"] == object["spec"]) {
        return Verdict::Allow;
    }
    let object = match request.operation {
        Operation::Create => with_defaults(object, config),
        _ => object,
    };
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
    let (datastores, tenants) = (hub.watch::<DataStore>(), hub.watch::<TenantControlPlane>());
    datastores.ready().await;
    tenants.ready().await;
    let name = tcp.spec.data_store.as_deref().unwrap_or(&config.default_datastore);
    bad.extend(data_store(&tcp, name, datastores.get(&Key::new("", name)).as_deref()));
    bad.extend(refused_external_ip(&tcp, &config.external_ip_cidrs));
    bad.extend(taken(&tcp, &tenants.list(), &config.default_datastore));
    match (bad.is_empty(), object == request.object) {
        (false, _) => Verdict::Deny(bad),
        (true, true) => Verdict::Allow,
        (true, false) => Verdict::Replace(object),
    }
}

/// What upstream's webhook fills in on creation, but for schema and user: they default to the UID, which is known only
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
fn taken(
    tcp: &TenantControlPlane,
    tenants: &[Arc<TenantControlPlane>],
    default_datastore: &str,
) -> Vec<FieldError> {
    let store = |tcp: &TenantControlPlane| {
        tcp.spec.data_store.clone().unwrap_or_else(|| default_datastore.to_owned())
    };
    let mine = tenant_of(tcp, &tcp.uid().unwrap_or_default());
    let mut bad = Vec::new();
    for other in tenants.iter().filter(|other| Key::of(other.as_ref()) != Key::of(tcp)) {
        let (key, theirs) = (Key::of(other.as_ref()), tenant_of(other, &other.uid().unwrap_or_default()));
        let taken = |what: &str| {
            tracing::info!(tenant = %Key::of(tcp), owner = %key, "{what} is taken");
            format!("{what} is taken: choose another")
        };
        if store(other) == store(tcp) {
            let here = format!("on DataStore {} this", store(tcp));
            if theirs.schema == mine.schema {
                bad.push(FieldError::new("spec.dataStoreSchema", &mine.schema, taken(&here)));
            }
            if theirs.user == mine.user {
                bad.push(FieldError::new("spec.dataStoreUsername", &mine.user, taken(&here)));
            }
        }
        let (network, other_network) = (&tcp.spec.network_profile, &other.spec.network_profile);
        let same = network.address == other_network.address && network.port == other_network.port;
        if !network.address.is_empty() && same {
            let endpoint = format!("{}:{}", network.address, network.port);
            bad.push(FieldError::new("spec.networkProfile.address", &network.address, taken(&endpoint)));
        }
    }
    bad
}
