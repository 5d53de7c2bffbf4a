//! Providers that keep to the contract and do their duty at once, and what they see on the way: how many Machines run.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::build;
use crate::objects::resource;
use crate::tenant::Tenants;

/// Requests of one provider that are on their way at a time.
const AT_ONCE: usize = 16;

/// What the providers saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Machines that are there.
    pub machines: HashSet<String>,
    /// Machines in phase Provisioned: they wait for their Nodes.
    pub provisioned: HashSet<String>,
    /// Machines in phase Running.
    pub running: HashSet<String>,
    /// MachineDeployments that are there.
    pub deployments: HashSet<String>,
    /// MachineDeployments whose Machines are all up to date and available.
    pub complete: HashSet<String>,
    /// Clusters that are there.
    pub clusters: HashSet<String>,
}

/// Providers at work; they end when this is dropped.
pub struct Providers {
    seen: watch::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

type Told = Arc<watch::Sender<Seen>>;

impl Providers {
    /// Starts them.
    pub fn start(client: &Client, tenants: &Arc<Tenants>) -> Self {
        let (send, seen) = watch::channel(Seen::default());
        let told = Arc::new(send);
        let mut tasks = JoinSet::new();
        tasks.spawn(configs(client.clone()));
        tasks.spawn(machines(client.clone(), Arc::clone(tenants), Arc::clone(&told)));
        tasks.spawn(deployments(client.clone(), Arc::clone(&told)));
        tasks.spawn(clusters(client.clone(), told));
        Self { seen, _tasks: tasks }
    }

    /// Waits until something is so.
    pub async fn until(&self, patience: Duration, is: impl FnMut(&Seen) -> bool) -> anyhow::Result<()> {
        let mut seen = self.seen.clone();
        let met = tokio::time::timeout(patience, seen.wait_for(is)).await;
        let now = self.seen.borrow();
        anyhow::ensure!(
            met.is_ok(),
            "not within {} s: {} of {} Machines run, {} of {} MachineDeployments are complete, {} Clusters",
            patience.as_secs(),
            now.running.len(),
            now.machines.len(),
            now.complete.len(),
            now.deployments.len(),
            now.clusters.len()
        );
        Ok(())
    }
}

enum Event {
    Is(Box<DynamicObject>),
    Gone(String),
}

fn events(client: &Client, kind: &str) -> BoxStream<'static, Event> {
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource(kind));
    watcher(api, watcher::Config::default())
        .default_backoff()
        .filter_map(|event| {
            std::future::ready(match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    Some(Event::Is(Box::new(object)))
                }
                Ok(watcher::Event::Delete(object)) => Some(Event::Gone(id(&object))),
                _ => None,
            })
        })
        .boxed()
}

async fn each<F: Future<Output = ()>>(
    client: &Client,
    kind: &str,
    mut see: impl FnMut(&Event),
    work: impl Fn(DynamicObject) -> F,
) {
    let work = &work;
    events(client, kind)
        .inspect(|event| see(event))
        .for_each_concurrent(AT_ONCE, |event| async move {
            if let Event::Is(object) = event {
                work(*object).await;
            }
        })
        .await;
}

fn id(object: &DynamicObject) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

fn note(set: &mut HashSet<String>, id: &str, is: bool) -> bool {
    if is { set.insert(id.to_owned()) } else { set.remove(id) }
}

async fn configs(client: Client) {
    each(&client, "TestConfig", |_| {}, |config| {
        let client = client.clone();
        async move {
            let owned = config.owner_references().iter().any(|owner| owner.kind == "Machine");
            if owned && config.data["status"]["dataSecretName"].is_null() && is_alive(&config) {
                let status = json!({"dataSecretName": config.name_any(), "initialization": {"dataSecretCreated": true}});
                patch(&client, "TestConfig", &config, true, json!({ "status": status })).await;
            }
        }
    })
    .await;
}

async fn machines(client: Client, tenants: Arc<Tenants>, told: Told) {
    // What was provisioned: the Machine changes often after that.
    let done = Arc::new(Mutex::new(HashSet::new()));
    let see = |event: &Event| {
        told.send_if_modified(|seen| match event {
            Event::Is(machine) => {
                let (id, phase) = (id(machine), &machine.data["status"]["phase"]);
                note(&mut seen.machines, &id, true)
                    | note(&mut seen.provisioned, &id, phase == "Provisioned")
                    | note(&mut seen.running, &id, phase == "Running")
            }
            Event::Gone(id) => {
                note(&mut seen.machines, id, false)
                    | note(&mut seen.provisioned, id, false)
                    | note(&mut seen.running, id, false)
            }
        });
    };
    each(&client, "Machine", see, |machine| {
        let (client, tenants, done) = (client.clone(), Arc::clone(&tenants), Arc::clone(&done));
        async move {
            let has_data = !machine.data["spec"]["bootstrap"]["dataSecretName"].is_null();
            let first = |id: String| done.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            if has_data && is_alive(&machine) && first(id(&machine)) {
                provision(&client, &tenants, &machine).await;
            }
        }
    })
    .await;
}

async fn provision(client: &Client, tenants: &Tenants, machine: &DynamicObject) {
    let (namespace, name) = (machine.namespace().unwrap_or_default(), machine.name_any());
    let provider_id = format!("test://{namespace}/{name}");
    patch(client, "TestMachine", machine, false, json!({"spec": {"providerID": provider_id}})).await;
    let addresses = json!([{"type": "InternalIP", "address": "10.1.0.1"}]);
    let status = json!({"initialization": {"provisioned": true}, "addresses": addresses});
    patch(client, "TestMachine", machine, true, json!({ "status": status })).await;
    let mut node = build::node(&name, &provider_id);
    node["status"] = build::node_status("True");
    node["metadata"]["uid"] = json!(format!("{namespace}-{name}"));
    tenants.join(&namespace, &name, node);
}

async fn deployments(client: Client, told: Told) {
    let see = |event: &Event| {
        told.send_if_modified(|seen| match event {
            Event::Is(object) => {
                let there = note(&mut seen.deployments, &id(object), true);
                note(&mut seen.complete, &id(object), is_complete(object)) || there
            }
            Event::Gone(id) => note(&mut seen.deployments, id, false) | note(&mut seen.complete, id, false),
        });
    };
    each(&client, "MachineDeployment", see, |_| std::future::ready(())).await;
}

fn is_complete(deployment: &DynamicObject) -> bool {
    let (status, wanted) = (&deployment.data["status"], &deployment.data["spec"]["replicas"]);
    let counts = ["replicas", "upToDateReplicas", "availableReplicas"];
    status["observedGeneration"] == json!(deployment.metadata.generation)
        && counts.iter().all(|count| status[*count] == *wanted)
}

async fn clusters(client: Client, told: Told) {
    let see = |event: &Event| {
        told.send_if_modified(|seen| match event {
            Event::Is(object) => note(&mut seen.clusters, &id(object), true),
            Event::Gone(id) => note(&mut seen.clusters, id, false),
        });
    };
    each(&client, "Cluster", see, |_| std::future::ready(())).await;
}

fn is_alive(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_none()
}

/// Patches the object of this name; one that has gone in between is nobody's loss.
async fn patch(client: &Client, kind: &str, object: &DynamicObject, status: bool, patch: Value) {
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource(kind));
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let _ = if status {
        api.patch_status(&object.name_any(), &params, &patch).await
    } else {
        api.patch(&object.name_any(), &params, &patch).await
    };
}
