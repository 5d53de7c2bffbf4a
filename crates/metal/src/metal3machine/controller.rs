//! The loop of Metal3Machines: observe, plan, apply, report.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use scute_api::cluster::{Cluster, Machine, MachineDeployment};
use scute_api::infrastructure::{
    HOST_ANNOTATION, Metal3Cluster, Metal3Data, Metal3DataClaim, Metal3Machine, Metal3MachineTemplate,
    NODE_UUID_LABEL,
};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_api::metal3::BareMetalHost;
use scute_contract::paused::{pause, paused};
use scute_kit::tenants::{TenantKey, Tenants};
use scute_kit::{Controller, EventType, Field, Hub, Key, Next, Watch, Why, when_changed};
use serde_json::json;

use super::apply::{ApplyError, apply};
use super::observe::{observe, template_of};
use super::plan::{Action, Plan, Stage, plan};
use super::report;

/// BareMetalHosts by UID, as Nodes carry it.
const UID: Field<BareMetalHost> =
    Field { name: "metadata.uid", of: |host| host.metadata.uid.as_deref().map(Into::into) };

/// What every reconcile needs.
struct Context {
    hub: Arc<Hub>,
    tenants: Arc<Tenants>,
}

/// Runs the controller.
pub async fn run(hub: Arc<Hub>, tenants: Arc<Tenants>) {
    let (machines, hosts) = (hub.watch::<Metal3Machine>(), hub.watch::<BareMetalHost>());
    let by_tenant = machines.clone();
    let woken = tenants.woken(move |tenant, node| match node {
        Some(node) => of_node(&hosts, tenant, node),
        None => of_tenant(&by_tenant, tenant),
    });
    let (by_cluster, by_host, by_infra) = (machines.clone(), machines.clone(), machines.clone());
    let by_template = machines.clone();
    let controller = Controller::<Metal3Machine>::new("metal3machine", &hub)
        .watches::<Machine>(|machine| {
            let reference = &machine.spec.infrastructure_ref;
            let ours = reference.kind == "Metal3Machine";
            let key = Key::new(machine.namespace().unwrap_or_default(), reference.name.clone());
            ours.then_some(key).into_iter().collect()
        })
        .watches::<Cluster>(move |cluster| {
            let name = cluster.name_any();
            let of_it = |machine: &Metal3Machine| {
                machine.labels().get(CLUSTER_NAME_LABEL).is_none_or(|label| *label == name)
            };
            those(&by_cluster, &cluster.namespace().unwrap_or_default(), of_it)
        })
        .watches::<Metal3Cluster>(move |infra| {
            those(&by_infra, &infra.namespace().unwrap_or_default(), |_| true)
        })
        .watches::<BareMetalHost>(move |host| of_host(&by_host, host))
        .watches::<Metal3MachineTemplate>(when_changed(
            |template: &Metal3MachineTemplate| {
                json!([template.spec.node_reuse, template.spec.template.spec.automated_cleaning_mode])
                    .to_string()
            },
            move |template| {
                let key = Some(Key::of(template));
                those(&by_template, &template.namespace().unwrap_or_default(), |machine| {
                    template_of(machine) == key
                })
            },
        ))
        .owns::<Metal3DataClaim>()
        .watches::<Metal3Data>(|data| {
            let claim = data.spec.claim.as_ref().and_then(|claim| claim.name.clone());
            claim.map(|name| Key::new(data.namespace().unwrap_or_default(), name)).into_iter().collect()
        })
        .on(woken)
        .concurrency(32);
    hub.watch::<MachineDeployment>().ready().await;
    controller.run(Arc::new(Context { hub, tenants }), reconcile).await;
}

fn those(
    machines: &Watch<Metal3Machine>,
    namespace: &str,
    which: impl Fn(&Metal3Machine) -> bool,
) -> Vec<Key> {
    let all = machines.list_in(namespace);
    all.iter().filter(|machine| which(machine)).map(|machine| Key::of(machine.as_ref())).collect()
}

/// The machine that has the host; one that nobody has concerns every machine that waits for one.
fn of_host(machines: &Watch<Metal3Machine>, host: &BareMetalHost) -> Vec<Key> {
    let namespace = host.namespace().unwrap_or_default();
    let key = Key::of(host).to_string();
    let noted = |machine: &Metal3Machine| machine.annotations().get(HOST_ANNOTATION) == Some(&key);
    let waits = |machine: &Metal3Machine| !machine.annotations().contains_key(HOST_ANNOTATION);
    match &host.spec.consumer_ref {
        Some(consumer) => {
            let name = consumer.name.clone().unwrap_or_default();
            those(machines, &namespace, |machine| machine.name_any() == name || noted(machine))
        }
        None => those(machines, &namespace, |machine| waits(machine) || noted(machine)),
    }
}

/// All machines of a tenant.
fn of_tenant(machines: &Watch<Metal3Machine>, tenant: &TenantKey) -> Vec<Key> {
    let its = |cluster: &String| TenantKey::capi(&tenant.namespace, cluster) == *tenant;
    those(machines, &tenant.namespace, |machine| machine.labels().get(CLUSTER_NAME_LABEL).is_some_and(its))
}

/// The machines that a Node may be: by its providerID, its host's UID, or its name.
fn of_node(hosts: &Watch<BareMetalHost>, tenant: &TenantKey, node: &Node) -> Vec<Key> {
    let namespace = &tenant.namespace;
    let id = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).unwrap_or_default();
    let by_id =
        id.strip_prefix("metal3://").and_then(|id| id.rsplit_once('/')).map(|(_, name)| name.to_owned());
    let consumer =
        |host: Arc<BareMetalHost>| host.spec.consumer_ref.as_ref().and_then(|consumer| consumer.name.clone());
    let uid = node.labels().get(NODE_UUID_LABEL);
    let by_uid = uid.into_iter().flat_map(|uid| hosts.list_by(&UID, namespace, uid)).filter_map(consumer);
    let name = node.name_any();
    let by_host = hosts.get(&Key::new(namespace.clone(), name.clone())).and_then(consumer);
    by_id
        .into_iter()
        .chain(by_uid)
        .chain(by_host)
        .chain([name])
        .map(|name| Key::new(namespace.clone(), name))
        .collect()
}

/// Brings one Metal3Machine to a server that is a Node.
async fn reconcile(object: Arc<Metal3Machine>, context: Arc<Context>) -> Next {
    let Context { hub, tenants } = context.as_ref();
    let seen = match observe(hub, tenants, &object).await {
        Ok(seen) => seen,
        Err(error) => return Next::Failed(Why::of("ObserveFailed", &error)),
    };
    if let Some(why) = paused(seen.cluster.as_deref(), object.as_ref()) {
        return pause(hub, object.as_ref(), why).await;
    }
    let mut plan = plan(&object, &seen);
    let applied = apply(hub, tenants, &object, &seen, &plan).await;
    if applied.is_ok() && plan.actions.contains(&Action::RemoveFinalizer) {
        return Next::Settled;
    }
    if let Err(ApplyError::Write(error)) = &applied
        && error.passes()
    {
        return Next::Failed(Why::of("WaitingForHost", error));
    }
    let failed = applied.err().map(|error| Why::new(reason(&plan), error.to_string()));
    if let Some(why) = &failed {
        hub.event(object.as_ref(), EventType::Warning, &why.reason, &why.message).await;
        plan.stage = stopped(plan.stage, why.clone());
    }
    let status = report::status(&object, &seen, &plan, hub.now());
    let next = match (failed, plan.stage) {
        (Some(why), _) => Next::Failed(why),
        (
            None,
            Stage::Unassociated(why)
            | Stage::WaitingForData(why)
            | Stage::Provisioning(why)
            | Stage::Running(Some(why))
            | Stage::Deleting(why),
        ) => Next::OnChange(why),
        (None, Stage::Running(None)) => Next::Settled,
    };
    hub.report(object.as_ref(), json!(status), next).await
}

fn reason(plan: &Plan) -> &'static str {
    match &plan.stage {
        Stage::Unassociated(_) => "AssociateBareMetalHostFailed",
        Stage::WaitingForData(_) => "Metal3DataFailed",
        Stage::Provisioning(_) => "BareMetalHostError",
        Stage::Running(_) => "SettingProviderIDOnNodeFailed",
        Stage::Deleting(_) => "DeletionFailed",
    }
}

/// The stage, and that it was not passed.
fn stopped(stage: Stage, why: Why) -> Stage {
    match stage {
        Stage::Unassociated(_) => Stage::Unassociated(why),
        Stage::WaitingForData(_) => Stage::WaitingForData(why),
        Stage::Provisioning(_) => Stage::Provisioning(why),
        Stage::Running(_) => Stage::Running(Some(why)),
        Stage::Deleting(_) => Stage::Deleting(why),
    }
}
