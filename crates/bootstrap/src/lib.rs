//! In: KubeadmConfigs, their Machines and Clusters, the CA and the API server of the tenant. Out: a bootstrap
//! token in the tenant, the discovery in the spec, and a Secret with the data that makes a host begin the Cluster or join it.
//! Never: starts a host, or writes bootstrap data anywhere but into that Secret.

mod admission;
mod apply;
mod lock;
mod observe;
mod plan;
mod render;
mod report;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::bootstrap::KubeadmConfig;
use scute_api::cluster::{Cluster, Machine};
use scute_api::meta::{CLUSTER_NAME_LABEL, CONTROL_PLANE_LABEL};
use scute_contract::Externals;
use scute_contract::certificates::Purpose;
use scute_kit::tenants::Tenants;
use scute_kit::{Admission, Controller, Hub, Key, Next, Watch, Why};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use observe::observe;
use plan::Plan;

/// How the controller behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a bootstrap token lives unless it is extended, which it is until the Node is there.
    pub token_ttl: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { token_ttl: Duration::from_secs(15 * 60) }
    }
}

/// How often somebody who waits for the lock looks at it.
const LOCK: Duration = Duration::from_secs(30);

/// What the controller works with.
pub(crate) struct Context {
    hub: Arc<Hub>,
    tenants: Arc<Tenants>,
    config: Config,
    clusters: Watch<Cluster>,
    machines: Watch<Machine>,
    externals: Externals,
}

/// What is checked at the door.
#[must_use]
pub fn admission(_hub: &Arc<Hub>, admission: Admission) -> Admission {
    admission::admission(admission)
}

/// Starts the controller.
pub fn spawn(hub: &Arc<Hub>, tenants: &Arc<Tenants>, config: Config, tasks: &mut JoinSet<()>) {
    let (externals, woken) = Externals::new(hub);
    let context = Context {
        externals,
        hub: Arc::clone(hub),
        tenants: Arc::clone(tenants),
        config,
        clusters: hub.watch(),
        machines: hub.watch(),
    };
    tasks.spawn(run(context, woken));
}

async fn run(context: Context, woken: UnboundedReceiver<Key>) {
    let hub = Arc::clone(&context.hub);
    context.clusters.ready().await;
    context.machines.ready().await;
    hub.watch_meta::<Secret>().ready().await;
    let configs = hub.watch::<KubeadmConfig>();
    let of_cluster = {
        let configs = configs.clone();
        move |cluster: &Cluster| {
            let name = cluster.name_any();
            pending(&configs, &cluster.namespace().unwrap_or_default(), |config| {
                config.labels().get(CLUSTER_NAME_LABEL) == Some(&name)
            })
        }
    };
    let of_secret = move |secret: &kube::api::PartialObjectMeta<Secret>| {
        let name = secret.name_any();
        pending(&configs, &secret.namespace().unwrap_or_default(), |config| needs(config).contains(&name))
    };
    let configs = hub.watch::<KubeadmConfig>();
    let of_machine = move |machine: &Machine| {
        let namespace = machine.namespace().unwrap_or_default();
        // Who waits for a lock hears of its holder's end.
        let mut keys = if machine.labels().contains_key(CONTROL_PLANE_LABEL) {
            let cluster = &machine.spec.cluster_name;
            pending(&configs, &namespace, |config| config.labels().get(CLUSTER_NAME_LABEL) == Some(cluster))
        } else {
            Vec::new()
        };
        let reference = machine.spec.bootstrap.config_ref.as_ref();
        keys.extend(
            reference
                .filter(|reference| reference.kind == "KubeadmConfig")
                .map(|reference| Key::new(namespace, reference.name.clone())),
        );
        keys
    };
    Controller::<KubeadmConfig>::new("kubeadmconfig", &hub)
        .watches::<Machine>(of_machine)
        .watches::<Cluster>(of_cluster)
        .listen(hub.watch_meta::<Secret>(), of_secret)
        .on(woken)
        .run(Arc::new(context), reconcile)
        .await;
}

/// Configurations that have not made their Secret yet, and those that may have a lock to give back; the others wait for
/// nothing but their Node.
fn pending(configs: &Watch<KubeadmConfig>, namespace: &str, is: impl Fn(&KubeadmConfig) -> bool) -> Vec<Key> {
    configs
        .list_in(namespace)
        .iter()
        .filter(|config| (!plan::is_created(config) || plan::has_begun(config)) && is(config))
        .map(|config| Key::of(config.as_ref()))
        .collect()
}

/// Secrets that a configuration cannot do without.
fn needs(config: &KubeadmConfig) -> BTreeSet<String> {
    let files = config.spec.files.iter().filter_map(|file| file.content_from.as_ref());
    let users = config.spec.users.iter().filter_map(|user| user.passwd_from.as_ref());
    let mut names: BTreeSet<_> = files.chain(users).map(|source| source.secret.name.clone()).collect();
    if let Some(cluster) = config.labels().get(CLUSTER_NAME_LABEL) {
        names.insert(format!("{cluster}-kubeconfig"));
        let pairs = [
            Purpose::ClusterCa,
            Purpose::EtcdCa,
            Purpose::FrontProxyCa,
            Purpose::ServiceAccount,
            Purpose::ApiServerEtcdClient,
        ];
        names.extend(pairs.map(|purpose| purpose.secret_name(cluster)));
    }
    names
}

/// Brings one configuration a step on.
async fn reconcile(config: Arc<KubeadmConfig>, context: Arc<Context>) -> Next {
    let seen = match observe(config, &context).await {
        Ok(seen) => seen,
        Err(error) => return Next::Failed(Why::of("InternalError", &error)),
    };
    let now = context.hub.now();
    let plan = plan::plan(&seen);
    let done = apply::apply(&seen, &plan, &context, now).await;
    if let Err(why) = &done
        && why.passes()
    {
        return Next::Failed(why.clone());
    }
    let status = report::report(&seen, &plan, done.as_ref().err(), now);
    let reported = context.hub.patch_status(seen.config.as_ref(), json!(status)).await;
    match (done, reported) {
        (Err(why), _) => Next::Failed(why),
        (_, Err(error)) if error.is_not_found() => Next::Settled,
        (_, Err(error)) => Next::Failed(Why::of("InternalError", &error)),
        (Ok(()), Ok(())) => match plan {
            Plan::Paused(why) => Next::OnChange(Why::new("Paused", why)),
            // Nobody watches the ConfigMap of the lock.
            Plan::Wait(why) if matches!(seen.lock, Some(lock::Lock::Held(_))) => Next::After(LOCK, why),
            Plan::Refuse(why) if seen.lock == Some(lock::Lock::Unreadable) => Next::After(LOCK, why),
            Plan::Wait(why) | Plan::Refuse(why) => Next::OnChange(why),
            // The next step is looked for with what has just been written.
            Plan::Certificates | Plan::Unlock { .. } => {
                Next::After(Duration::ZERO, Why::new("Preparing", "the Cluster is about to begin"))
            }
            // The end of its lock is looked for until the Cluster is there; its Machine tells.
            Plan::Done | Plan::Init { .. } => Next::Settled,
            // The token's time passes by itself.
            Plan::Make(make) if make.by_file() => Next::Settled,
            Plan::Refresh(None) => Next::Settled,
            Plan::Make(_) | Plan::Refresh(Some(_)) | Plan::Restore { .. } => Next::After(
                context.config.token_ttl / 3,
                Why::new("WaitingForNode", "the bootstrap token is extended until the Node has joined"),
            ),
        },
    }
}
