//! What a tenant needs inside: the roles, ConfigMaps and add-ons that kubeadm would make, kept as they are.
//!
//! One controller for all tenants. It looks when the Pods or the spec change, and every two minutes: a watch would be
//! one connection per kind and tenant, for objects that nobody has a reason to touch. What differs is put back, what
//! carries our label and is no longer wanted is removed.

mod apply;
mod desired;
mod kinds;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use scute_api::kamaji::{KUBECONFIG_KEY_ANNOTATION, TenantControlPlane};
use scute_kit::conditions::is_true;
use scute_kit::tenants::TenantKey;
use scute_kit::{Controller, Key, Next, Why};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::context::Context;
use crate::names::TenantSecret;
use crate::tenant::endpoint::endpoint;
use crate::tenant::validate::validate;
use crate::tenant::{INSIDE, installed_version, is_paused};

pub use desired::{EMBEDDED, POD_NETWORK_ANNOTATION};

/// Key of the administrator's kubeconfig in the Secret `T-admin-kubeconfig`.
pub const ADMIN: &str = "admin.conf";
/// Key of the kubeconfig that needs no binding, by which the binding of the other is made.
pub const SUPER_ADMIN: &str = "super-admin.conf";

/// What nobody watches is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(120);

/// What was found inside a tenant.
#[derive(Clone, Debug)]
pub struct Inside {
    /// Digest of everything that was wanted.
    wanted: u64,
    /// Whether a request with the administrator's kubeconfig succeeded.
    pub usable: bool,
    /// Whether everything is there.
    pub complete: bool,
    /// Whether CoreDNS is among it.
    pub core_dns: bool,
    /// Whether kube-proxy is among it.
    pub kube_proxy: bool,
    /// What is wrong.
    pub why: Option<Why>,
    /// When it was found.
    checked: Instant,
}

/// Which kubeconfig opens a tenant.
pub fn admin(tenant: &Key, key: &str) -> TenantKey {
    TenantKey {
        namespace: tenant.namespace.clone(),
        secret: TenantSecret::Admin.name(&tenant.name),
        key: key.to_owned(),
    }
}

/// Runs the controller; never returns. `wanted` names tenants to look into.
pub async fn run(context: Arc<Context>, wanted: mpsc::UnboundedReceiver<Key>) {
    let hub = Arc::clone(&context.hub);
    Controller::<TenantControlPlane>::new("tenantcontrolplane-inside", &hub)
        .on(wanted)
        .run(context, reconcile)
        .await;
}

async fn reconcile(tcp: Arc<TenantControlPlane>, context: Arc<Context>) -> Next {
    let key = Key::of(tcp.as_ref());
    let deployment = context.hub.watch::<Deployment>().get(&key);
    let ready =
        deployment.and_then(|deployment| deployment.status.as_ref()?.ready_replicas).unwrap_or_default();
    if tcp.metadata.deletion_timestamp.is_some() || ready == 0 {
        // The next API server is looked at anew: it may be another one.
        context.inside.remove(&key);
        return Next::OnChange(Why::new("WaitingForAPIServer", "no Pod is ready"));
    }
    if is_paused(&tcp) {
        return Next::OnChange(Why::new("Paused", "an annotation asks to leave it alone"));
    }
    let desired = match desired(&tcp, &context) {
        Ok(Some(desired)) => desired,
        Ok(None) => return Next::OnChange(Why::new("WaitingForEndpoint", "not set up yet")),
        Err(why) => {
            let before = context.inside.get(&key);
            context.found_inside(&key, Inside::failed(0, before.as_deref(), why.clone()));
            return Next::OnChange(why);
        }
    };
    let wanted = digest(&tcp, &desired.objects);
    let before = context.inside.get(&key);
    if let Some(before) = before.as_deref().filter(|before| before.wanted == wanted && before.why.is_none())
        && let Some(rest) = LOOK_AGAIN.checked_sub(before.checked.elapsed()).filter(|rest| !rest.is_zero())
        && before.complete
    {
        return Next::After(rest, Why::new("Settled", "looking again later"));
    }
    match bring(&tcp, &context, &desired, wanted).await {
        Ok(()) => Next::After(LOOK_AGAIN, Why::new("Settled", "looking again later")),
        Err(why) => {
            context
                .found_inside(&key, Inside::failed(wanted, context.inside.get(&key).as_deref(), why.clone()));
            Next::Failed(why)
        }
    }
}

impl Inside {
    /// Whether there is nothing new to report.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let said = |inside: &Self| {
            let Self { wanted: _, usable, complete, core_dns, kube_proxy, why, checked: _ } = inside.clone();
            (usable, complete, core_dns, kube_proxy, why)
        };
        said(self) == said(other)
    }

    /// A failure: what worked before is believed to work on, unless the API server itself does not answer.
    fn failed(wanted: u64, before: Option<&Self>, why: Why) -> Self {
        let usable = why.reason != UNREACHABLE && before.is_some_and(|before| before.usable);
        Self {
            wanted,
            usable,
            complete: false,
            core_dns: false,
            kube_proxy: false,
            why: Some(why),
            checked: before.map_or_else(Instant::now, |before| before.checked),
        }
    }
}

/// Reason when no request gets through.
const UNREACHABLE: &str = "APIServerUnreachable";

struct Desired {
    objects: Vec<Value>,
    core_dns: bool,
    kube_proxy: bool,
}

fn desired(tcp: &TenantControlPlane, context: &Context) -> Result<Option<Desired>, Why> {
    let key = Key::of(tcp);
    let mut wanted = validate(tcp, &context.config.default_datastore)
        .map_err(|bad| crate::tenant::validate::invalid(&bad))?;
    if let Some(installed) = installed_version(tcp) {
        // Nothing inside is newer than the API servers: an upgrade arrives here when every Pod runs it.
        wanted.version = installed;
    }
    let service = context.hub.watch::<k8s_openapi::api::core::v1::Service>().get(&key);
    let Some(endpoint) = service.and_then(|service| endpoint(&wanted, &service).ok()) else {
        return Ok(None);
    };
    let Some(known) = context.known.get(&key) else { return Ok(None) };
    let facts = crate::tenant::facts(tcp, &wanted, &endpoint, &known.ca_pem);
    let addons = &tcp.spec.addons;
    Ok(Some(Desired {
        objects: desired::objects(tcp, &facts, &context.config)?,
        core_dns: addons.core_dns.is_some(),
        kube_proxy: addons.kube_proxy.is_some(),
    }))
}

fn digest(tcp: &TenantControlPlane, objects: &[Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    tcp.uid().hash(&mut hasher);
    for object in objects {
        object.to_string().hash(&mut hasher);
    }
    hasher.finish()
}

/// The binding of administrators first, then the proof that it works, then everything else.
async fn bring(
    tcp: &TenantControlPlane,
    context: &Context,
    desired: &Desired,
    wanted: u64,
) -> Result<(), Why> {
    let key = Key::of(tcp);
    let operator = tcp.annotations().get(KUBECONFIG_KEY_ANNOTATION).map_or(SUPER_ADMIN, String::as_str);
    let unusable = |error: scute_kit::tenants::TenantError| Why::new("KubeconfigUnusable", error.to_string());
    let root = context.remotes.client(&admin(&key, operator)).await.map_err(unusable)?;
    let was_usable = context.inside.get(&key).is_some_and(|inside| inside.usable);
    if !was_usable {
        let administrator = context.remotes.client(&admin(&key, ADMIN)).await.map_err(unusable)?;
        first(&root, &administrator, desired).await.map_err(|error| {
            let secret = TenantSecret::Admin.name(&key.name);
            Why::new(UNREACHABLE, format!("a request with {ADMIN} of Secret {secret} failed: {error}"))
        })?;
        // It has proved what it was made for.
        context.remotes.forget(&admin(&key, ADMIN));
        let conditions = tcp.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        // A new process that has not looked at everything yet knows nothing worse than the one before it.
        if !is_true(conditions, INSIDE) {
            context.found_inside(&key, found(desired, wanted, false));
        }
    }
    apply::keep(&root, &desired.objects).await.map_err(|error| error.why())?;
    context.found_inside(&key, found(desired, wanted, true));
    Ok(())
}

fn found(desired: &Desired, wanted: u64, complete: bool) -> Inside {
    Inside {
        wanted,
        usable: true,
        complete,
        core_dns: desired.core_dns,
        kube_proxy: desired.kube_proxy,
        why: None,
        checked: Instant::now(),
    }
}

/// How long after the first ready Pod the proxies of the Service and the authorizer's cache may take. Neither can be
/// watched.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(25);

/// The binding of administrators, and a request that only an administrator may make.
async fn first(root: &kube::Client, administrator: &kube::Client, desired: &Desired) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = "no answer".to_owned();
    while let Ok(tried) = tokio::time::timeout_at(deadline, bind(root, administrator, desired)).await {
        match tried {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(last)
}

async fn bind(root: &kube::Client, administrator: &kube::Client, desired: &Desired) -> Result<(), String> {
    let is_binding = |object: &&Value| object["metadata"]["name"] == "kubeadm:cluster-admins";
    let binding = desired.objects.iter().filter(is_binding);
    apply::apply(root, binding).await.map_err(|error| error.to_string())?;
    let namespaces = Api::<Namespace>::all(administrator.clone());
    let one = ListParams::default().limit(1);
    namespaces.list_metadata(&one).await.map(|_| ()).map_err(|error| scute_kit::said(&error))
}
