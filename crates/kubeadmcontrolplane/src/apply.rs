//! The writes of a control plane's reconcile.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt};
use scute_api::bootstrap::KubeadmConfig;
use scute_api::cluster::{CERTIFICATES_EXPIRY_ANNOTATION, Machine};
use scute_api::controlplane::{
    KUBEADM_CONTROL_PLANE_FINALIZER, KubeadmControlPlane, PRE_TERMINATE_KCP_CLEANUP_ANNOTATION,
    REMEDIATION_IN_PROGRESS_ANNOTATION,
};
use scute_api::meta::CLUSTER_SECRET_TYPE;
use scute_contract::certificates::{Purpose, make_missing};
use scute_contract::cloned;
use scute_contract::owners::{adopt, is_controlled_by, owner, with_owner};
use scute_etcd::Members;
use scute_kit::tenants::TenantKey;
use scute_kit::{Error, EventType, Key, Why, finalizer};
use serde_json::{Value, json};

use crate::clone::{self, New};
use crate::context::Context;
use crate::controller::MADE_JUST_NOW;
use crate::machines::node;
use crate::observe::{Observed, key_pairs};
use crate::plan::{Action, Plan};
use crate::{inside, kubeconfig, outdated};

/// Field manager of what control planes make.
const MANAGER: &str = "scute-kubeadmcontrolplane";

/// Writes what the plan says, in its order; the first failure ends the run, as what follows may need what failed.
///
/// # Errors
/// What stopped it.
pub async fn apply(seen: &Observed, plan: &Plan, context: &Context) -> Result<(), Why> {
    for action in &plan.actions {
        one(seen, action, context).await?;
    }
    Ok(())
}

fn failed(error: &Error) -> Why {
    Why::of("InternalError", error)
}

async fn one(seen: &Observed, action: &Action, context: &Context) -> Result<(), Why> {
    let (hub, kcp) = (&context.hub, &seen.kcp);
    let done = match action {
        Action::AddFinalizer => finalizer::ensure(hub, kcp, KUBEADM_CONTROL_PLANE_FINALIZER).await.map(drop),
        Action::AdoptTemplate => match (seen.infrastructure.template.object(), &seen.cluster) {
            (Some(template), Some(cluster)) => {
                adopt(hub, template, &owner(cluster.as_ref(), false), &cluster.name_any()).await
            }
            _ => Ok(()),
        },
        Action::MakeCertificates => return make_certificates(seen, context).await,
        Action::AdoptCertificates => adopt_certificates(seen, context).await,
        Action::KeepKubeconfig => return kubeconfig::keep(seen, context).await,
        Action::SyncMachine(name) => sync_machine(seen, name, context).await,
        Action::SyncConfig(name) => sync_config(seen, name, context).await,
        Action::SyncInfrastructure(name) => sync_infrastructure(seen, name, context).await,
        Action::MoveLeader { from, to } => return move_leader(seen, from, to, context).await,
        Action::RemoveMembers { through, members } => {
            return remove_members(seen, through, members, context).await;
        }
        Action::ReleaseHook(name) => {
            let annotations = json!({ PRE_TERMINATE_KCP_CLEANUP_ANNOTATION: Value::Null });
            annotate::<Machine>(context, &Key::new(seen.key().namespace, name), annotations).await
        }
        Action::PrepareVersion => return inside::prepare_version(seen, context).await,
        Action::KeepAddons => return inside::keep_addons(seen, context).await,
        Action::NoteCertificates => note_certificates(seen, context).await,
        Action::MakeAgain { name, config, infrastructure } => {
            return make_again(seen, name, *config, *infrastructure, context).await;
        }
        Action::Create(new) => return create(seen, new, context).await,
        Action::Record(record) => {
            let text = record.as_ref().map(|record| record.text());
            let annotations = json!({ REMEDIATION_IN_PROGRESS_ANNOTATION: text });
            annotate::<KubeadmControlPlane>(context, &seen.key(), annotations).await
        }
        Action::Delete(name) => match seen.machine(name) {
            Some(machine) => {
                let done = hub.delete(machine.as_ref()).await;
                if done.is_ok() {
                    let note = format!("Deleted Machine {name}");
                    hub.event(kcp.as_ref(), EventType::Normal, "SuccessfulDelete", &note).await;
                }
                done
            }
            None => Ok(()),
        },
        Action::DeleteHalf(name) => delete_half(seen, name, context).await,
        Action::RemoveFinalizer => {
            context.forget(&seen.key());
            finalizer::remove(hub, kcp, KUBEADM_CONTROL_PLANE_FINALIZER).await
        }
    };
    done.map_err(|error| failed(&error))
}

/// Annotations of an object; of one that is gone none.
async fn annotate<K>(context: &Context, key: &Key, annotations: Value) -> Result<(), Error>
where
    K: scute_kit::Kind + serde::Serialize + Resource<DynamicType = ()>,
{
    let patch = json!({ "metadata": { "annotations": annotations } });
    ignore_gone(context.hub.patch::<K>(key, &patch).await.map(drop))
}

/// Notes when the certificates on a host end: of its API server's, the first that matters. One that cannot be asked now is
/// asked the next time.
async fn note_certificates(seen: &Observed, context: &Context) -> Result<(), Error> {
    let tenant = TenantKey::capi(&seen.key().namespace, &seen.cluster_name());
    let Ok(client) = context.tenants.client(&tenant).await else { return Ok(()) };
    let Some(authority) = seen.certificates.pairs.get(&Purpose::ClusterCa) else { return Ok(()) };
    for machine in &seen.machines {
        let (Some(node), Some(config)) = (node(machine), seen.configs.get(&machine.name_any())) else {
            continue;
        };
        if outdated::certificates_end(machine, Some(config.as_ref())).is_some() {
            continue;
        }
        match context.etcd.certificates_end(client.clone(), node, authority.certificate.clone()).await {
            Ok(end) => {
                let annotations = json!({ CERTIFICATES_EXPIRY_ANNOTATION: end.to_string() });
                annotate::<KubeadmConfig>(context, &Key::of(config.as_ref()), annotations).await?;
            }
            Err(why) => tracing::debug!(%node, why, "the certificate of the API server was not seen"),
        }
    }
    Ok(())
}

/// An object that was deleted in between answers an apply with its uid by a conflict, and a newer copy of one that was not
/// is on its way.
fn ignore_gone(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
        other => other,
    }
}

async fn make_certificates(seen: &Observed, context: &Context) -> Result<(), Why> {
    let (key, cluster) = (seen.key(), seen.cluster_name());
    let owner = owner(seen.kcp.as_ref(), true);
    let wanted = key_pairs(&seen.kcp);
    let made = make_missing(&context.hub, &key.namespace, &cluster, &wanted, &seen.certificates, &owner);
    match made.await {
        // The next run reads what was made now.
        Ok(_) => Err(Why::new(MADE_JUST_NOW, "the certificates were made just now")),
        Err(scute_contract::certificates::MakeError::Write(error)) => Err(failed(&error)),
        Err(error) => Err(Why::new("CertificatesNotMade", error.to_string())),
    }
}

/// Secrets of Cluster API's own type belong to the control plane; others stay their user's.
async fn adopt_certificates(seen: &Observed, context: &Context) -> Result<(), Error> {
    for purpose in &seen.strays {
        adopt_secret(seen, &purpose.secret_name(&seen.cluster_name()), context).await?;
    }
    Ok(())
}

/// Takes a Secret that has lost its owner, if it is of Cluster API's own type.
pub async fn adopt_secret(seen: &Observed, name: &str, context: &Context) -> Result<(), Error> {
    let (kcp, want) = (seen.key(), owner(seen.kcp.as_ref(), true));
    let key = Key::new(kcp.namespace.clone(), name);
    let Some(secret) = context.hub.get::<Secret>(&key).await? else { return Ok(()) };
    let version = secret.resource_version();
    if secret.type_.as_deref() != Some(CLUSTER_SECRET_TYPE) {
        context.keep_users(&kcp, key.name, version.unwrap_or_default());
        return Ok(());
    }
    let references = with_owner(secret.owner_references(), &want);
    let patch = json!({ "metadata": { "resourceVersion": version, "ownerReferences": references } });
    ignore_gone(context.hub.patch::<Secret>(&key, &patch).await.map(drop))
}

async fn sync_machine(seen: &Observed, name: &str, context: &Context) -> Result<(), Error> {
    let Some(existing) = seen.machine(name) else { return Ok(()) };
    let owner = owner(seen.kcp.as_ref(), true);
    let mut want = clone::machine_in_place(&seen.kcp, &seen.cluster_name(), existing, owner);
    // An apply makes what is not there: with its uid, a Machine that is gone stays gone.
    want.metadata.uid = existing.metadata.uid.clone();
    ignore_gone(context.hub.apply(MANAGER, &want).await.map(drop))
}

async fn sync_config(seen: &Observed, name: &str, context: &Context) -> Result<(), Error> {
    let Some(existing) = seen.configs.get(name) else { return Ok(()) };
    let annotations = clone::annotations(&seen.kcp);
    let patch = json!({ "metadata": {
        "uid": existing.uid(),
        "labels": clone::labels(&seen.kcp, &seen.cluster_name()),
        "annotations": annotations,
    }});
    ignore_gone(context.hub.patch::<KubeadmConfig>(&Key::of(existing.as_ref()), &patch).await.map(drop))
}

async fn sync_infrastructure(seen: &Observed, name: &str, context: &Context) -> Result<(), Error> {
    let source = &seen.infrastructure;
    let (Some(resource), Some(existing)) = (&source.resource, source.objects.get(name)) else {
        return Ok(());
    };
    let template = source.template.object().map(|template| template.object.as_ref());
    let pairs = clone::pairs(template, &seen.kcp, &seen.cluster_name());
    let want = cloned::object_in_place(existing, resource, pairs);
    ignore_gone(context.hub.apply_dynamic(resource, MANAGER, &want).await.map(drop))
}

/// Makes objects of a Machine again.
async fn make_again(
    seen: &Observed,
    name: &str,
    config: Option<bool>,
    infrastructure: bool,
    context: &Context,
) -> Result<(), Why> {
    let Some(machine) = seen.machine(name) else { return Ok(()) };
    let owner = || owner(machine.as_ref(), true);
    if let Some(begins) = config {
        make_config(seen, name, begins, owner(), context).await?;
    }
    match infrastructure {
        true => make_infrastructure(seen, name, owner(), context).await,
        false => Ok(()),
    }
}

async fn make_config(
    seen: &Observed,
    name: &str,
    begins: bool,
    owner: OwnerReference,
    context: &Context,
) -> Result<(), Why> {
    let config = clone::config(&seen.kcp, &seen.cluster_name(), name, begins, owner);
    match context.hub.create(&config).await {
        Ok(_) => Ok(()),
        Err(error) => Err(not_made(seen, context, &format!("KubeadmConfig {name}"), &error).await),
    }
}

async fn make_infrastructure(
    seen: &Observed,
    name: &str,
    owner: OwnerReference,
    context: &Context,
) -> Result<(), Why> {
    let source = &seen.infrastructure;
    let (Some(template), Some(resource)) = (source.template.object(), &source.resource) else {
        return Ok(());
    };
    let key = Key::new(seen.key().namespace, name);
    let pairs = clone::pairs(Some(&template.object), &seen.kcp, &seen.cluster_name());
    let object: DynamicObject = cloned::object(&template.object, resource, &key, pairs, owner);
    match context.hub.apply_dynamic(resource, MANAGER, &object).await {
        Ok(_) => Ok(()),
        Err(error) => Err(not_made(seen, context, &format!("{} {name}", resource.kind), &error).await),
    }
}

/// Makes what is missing under a name: the objects first, so that a Machine never waits for them in vain. What was made
/// before a failure is found again by its owner reference, and used.
async fn create(seen: &Observed, new: &New, context: &Context) -> Result<(), Why> {
    let (kcp, cluster) = (&seen.kcp, seen.cluster_name());
    let owner = || owner(kcp.as_ref(), true);
    if !seen.configs.contains_key(&new.name) {
        make_config(seen, &new.name, new.begins, owner(), context).await?;
    }
    if !seen.infrastructure.objects.contains_key(&new.name) {
        make_infrastructure(seen, &new.name, owner(), context).await?;
    }
    let machine = clone::machine(kcp, &cluster, new, owner());
    match context.hub.apply(MANAGER, &machine).await {
        Ok(_) => {
            let note = format!("Created Machine {}", new.name);
            context.hub.event(kcp.as_ref(), EventType::Normal, "SuccessfulCreate", &note).await;
            Ok(())
        }
        Err(error) => Err(not_made(seen, context, &format!("Machine {}", new.name), &error).await),
    }
}

/// Why something could not be made; told, unless it passes by itself.
async fn not_made(seen: &Observed, context: &Context, what: &str, error: &Error) -> Why {
    let mut why = Why::of("FailedCreate", error);
    why.message = format!("{what} could not be made: {error}");
    if !why.passes() {
        context.hub.event(seen.kcp.as_ref(), EventType::Warning, &why.reason, &why.message).await;
    }
    why
}

async fn delete_half(seen: &Observed, name: &str, context: &Context) -> Result<(), Error> {
    let uid = seen.kcp.metadata.uid.as_deref();
    if let Some(config) = seen.configs.get(name).filter(|config| is_controlled_by(&config.metadata, uid)) {
        context.hub.delete(config.as_ref()).await?;
    }
    let source = &seen.infrastructure;
    if let (Some(resource), Some(object)) = (&source.resource, source.objects.get(name))
        && is_controlled_by(&object.metadata, uid)
    {
        context.hub.delete_dynamic(resource, object).await?;
    }
    Ok(())
}

async fn member(seen: &Observed, node: &str, context: &Context) -> Result<Arc<dyn Members>, Why> {
    let unreached = |message: String| Why::new("EtcdNotReached", format!("etcd on Node {node}: {message}"));
    let tenant = TenantKey::capi(&seen.key().namespace, &seen.cluster_name());
    let client = context.tenants.client(&tenant).await.map_err(|error| unreached(error.to_string()))?;
    let authority = seen.certificates.pairs.get(&Purpose::EtcdCa);
    let authority = authority.ok_or_else(|| unreached("there is no authority of etcd".to_owned()))?;
    let certificate = context.etcd_client(&seen.key(), authority).map_err(unreached)?;
    let member = context.etcd.member(client, node, certificate).await;
    member.map_err(|error| unreached(error.to_string()))
}

/// Leadership is asked of the one that has it; whoever does not lead needs not be asked.
async fn move_leader(seen: &Observed, from: &str, to: &str, context: &Context) -> Result<(), Why> {
    let views = seen.tenant.inside().map(|inside| &inside.etcd);
    let Some((_, view)) = views.and_then(crate::members::best) else { return Ok(()) };
    let (Some(leader), Some(next)) = (view.leader(), view.named(to)) else { return Ok(()) };
    if leader.name != from || next.learner {
        return Ok(());
    }
    let done = member(seen, from, context).await?.move_leader(next.id).await;
    done.map_err(|error| Why::new("EtcdLeaderNotMoved", error.to_string()))
}

async fn remove_members(
    seen: &Observed,
    through: &str,
    members: &[(u64, String)],
    context: &Context,
) -> Result<(), Why> {
    let etcd = member(seen, through, context).await?;
    for (id, name) in members {
        let done = etcd.remove(*id).await;
        done.map_err(|error| {
            Why::new(
                "EtcdMemberNotRemoved",
                format!("member {name} ({id:x}) could not be taken out: {error}"),
            )
        })?;
        let note = format!("etcd member {name} ({id:x}) was taken out");
        context.hub.event(seen.kcp.as_ref(), EventType::Normal, "EtcdMemberRemoved", &note).await;
    }
    Ok(())
}
