//! Carries out what was planned for a KubevirtMachine.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, ResourceExt};
use scute_api::infrastructure::{KUBEVIRT_MACHINE_FINALIZER, KubevirtMachine};
use scute_api::kubevirt::VirtualMachine;
use scute_api::meta::{BLOCK_MOVE_ANNOTATION, CONTROL_PLANE_LABEL};
use scute_kit::tenants::{NodeError, TenantKey, Tenants};
use scute_kit::{Error, EventType, Hub, Key, Kind, finalizer};
use serde_json::json;

use super::observe::{SSH_USER_ANNOTATION, secrets_of};
use super::plan::{Action, Observed, Plan};
use super::render::{belongs_to, labels, provider_id, user_data_secret, virtual_machine};
use super::report::Done;
use super::ssh;
use super::userdata::{UserDataError, user_data};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server did not take a write.
    #[error(transparent)]
    Write(#[from] Error),
    /// A Secret that was there is gone, or lacks a key.
    #[error("Secret {secret} has no key {key:?}")]
    NoSecret {
        /// Name of the Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// The bootstrap data is of no use.
    #[error("Secret {secret}: {source}")]
    UserData {
        /// Name of the Secret.
        secret: String,
        /// What is wrong with it.
        #[source]
        source: UserDataError,
    },
    /// A VirtualMachine of this name belongs to somebody else.
    #[error("VirtualMachine {0} exists and belongs to somebody else")]
    Taken(String),
    /// The Node could not be written.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// The only place that writes, but for the status.
pub async fn apply(
    hub: &Arc<Hub>,
    tenants: &Tenants,
    object: &Arc<KubevirtMachine>,
    seen: &Observed,
    plan: &Plan,
) -> (Done, Result<(), ApplyError>) {
    let mut done = Done::default();
    for action in &plan.actions {
        if let Err(error) = act(hub, tenants, object, seen, plan, action, &mut done).await {
            return (done, Err(error));
        }
    }
    (done, Ok(()))
}

async fn act(
    hub: &Arc<Hub>,
    tenants: &Tenants,
    object: &Arc<KubevirtMachine>,
    seen: &Observed,
    plan: &Plan,
    action: &Action,
    done: &mut Done,
) -> Result<(), ApplyError> {
    let key = Key::of(object.as_ref());
    match action {
        Action::Claim => claim(hub, object).await?,
        Action::CreateVm { bootstrap, ssh_keys } => {
            create_vm(hub, object, seen, bootstrap, ssh_keys.as_deref()).await?;
        }
        Action::CheckBootstrap { address, ssh_keys } => {
            done.bootstrap = Some(check_bootstrap(hub, &key.namespace, *address, ssh_keys).await?);
        }
        Action::MarkNode => {
            mark_node(tenants, object, seen).await?;
            done.marked_node = true;
        }
        Action::DeleteVmi => delete(hub, seen.vmi.as_deref()).await?,
        Action::ReplaceMachine => replace_machine(hub, object, seen, plan).await?,
        Action::DeleteVm => delete(hub, seen.vm.as_deref()).await?,
        Action::DeleteSecrets => {
            for secret in secrets_of(hub, object) {
                hub.delete(secret.as_ref()).await?;
            }
        }
        Action::RemoveFinalizer => finalizer::remove(hub, object, KUBEVIRT_MACHINE_FINALIZER).await?,
    }
    Ok(())
}

async fn delete<K>(hub: &Arc<Hub>, seen: Option<&K>) -> Result<(), Error>
where
    K: Kind + Resource<DynamicType = ()>,
{
    match seen {
        Some(object) => hub.delete(object).await,
        None => Ok(()),
    }
}

/// Finalizer and providerID in one write: the id follows from the name.
async fn claim(hub: &Arc<Hub>, object: &KubevirtMachine) -> Result<(), ApplyError> {
    let mut patch = json!({
        "metadata": {
            "resourceVersion": object.resource_version(),
            "annotations": {BLOCK_MOVE_ANNOTATION: ""},
        },
        "spec": {"providerID": provider_id(object)},
    });
    if let Some(finalizers) = finalizer::with(object, KUBEVIRT_MACHINE_FINALIZER) {
        patch["metadata"]["finalizers"] = json!(finalizers);
    }
    hub.patch::<KubevirtMachine>(&Key::of(object), &patch).await?;
    Ok(())
}

/// The Secret first: a VM that names a Secret which never comes would wait for it silently.
async fn create_vm(
    hub: &Arc<Hub>,
    object: &KubevirtMachine,
    seen: &Observed,
    bootstrap: &str,
    ssh_keys: Option<&str>,
) -> Result<(), ApplyError> {
    let namespace = object.namespace().unwrap_or_default();
    let public = match ssh_keys {
        Some(name) => Some(read_text(hub, &namespace, name, "pub").await?),
        None => None,
    };
    let data = read(hub, &namespace, bootstrap, "value").await?;
    let user_data = user_data(&data, public.as_deref())
        .map_err(|source| ApplyError::UserData { secret: bootstrap.to_owned(), source })?;
    let cluster = seen.cluster.as_ref().map(|cluster| cluster.name_any()).unwrap_or_default();
    let control_plane =
        seen.machine.as_ref().is_some_and(|machine| machine.labels().contains_key(CONTROL_PLANE_LABEL));
    let labels = labels(object, &cluster, control_plane);
    let mut secret = user_data_secret(object, bootstrap, labels.clone(), user_data.bytes);
    if user_data.has_user {
        secret.annotations_mut().insert(SSH_USER_ANNOTATION.to_owned(), super::userdata::USER.to_owned());
    }
    match hub.create(&secret).await {
        // Made before an interruption, or for another KubevirtMachine of the same Machine.
        Err(error) if error.is_conflict() => {
            hub.apply("scute-kubevirtmachine", &secret).await?;
        }
        made => {
            made?;
        }
    }
    match hub.create(&virtual_machine(object, bootstrap, &labels, seen.cluster.as_deref())).await {
        Err(error) if error.is_conflict() => {
            let known = hub.get::<VirtualMachine>(&Key::of(object)).await?;
            match known {
                Some(vm) if !belongs_to(object, vm.labels()) => Err(ApplyError::Taken(vm.name_any())),
                _ => Ok(()),
            }
        }
        made => made.map(|_| ()).map_err(ApplyError::from),
    }
}

async fn read(hub: &Arc<Hub>, namespace: &str, name: &str, key: &'static str) -> Result<Vec<u8>, ApplyError> {
    let secret = hub.get::<Secret>(&Key::new(namespace, name)).await?;
    secret
        .and_then(|secret| secret.data?.remove(key))
        .map(|bytes| bytes.0)
        .ok_or_else(|| ApplyError::NoSecret { secret: name.to_owned(), key })
}

async fn read_text(
    hub: &Arc<Hub>,
    namespace: &str,
    name: &str,
    key: &'static str,
) -> Result<String, ApplyError> {
    let bytes = read(hub, namespace, name, key).await?;
    String::from_utf8(bytes).map_err(|_| ApplyError::NoSecret { secret: name.to_owned(), key })
}

/// What the guest said; that it cannot be asked yet is no failure of ours.
async fn check_bootstrap(
    hub: &Arc<Hub>,
    namespace: &str,
    address: IpAddr,
    ssh_keys: &str,
) -> Result<Result<bool, String>, ApplyError> {
    let private = read_text(hub, namespace, ssh_keys, "key").await?;
    Ok(ssh::has_joined(address, &private).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    }))
}

async fn mark_node(tenants: &Tenants, object: &KubevirtMachine, seen: &Observed) -> Result<(), ApplyError> {
    let cluster = seen.cluster.as_ref().map(|cluster| cluster.name_any()).unwrap_or_default();
    let tenant = TenantKey::capi(&object.namespace().unwrap_or_default(), &cluster);
    Ok(tenants.set_provider_id(&tenant, &object.name_any(), &provider_id(object)).await?)
}

/// The deletion of a Machine drains its Node, and its MachineSet makes another at once.
async fn replace_machine(
    hub: &Arc<Hub>,
    object: &Arc<KubevirtMachine>,
    seen: &Observed,
    plan: &Plan,
) -> Result<(), ApplyError> {
    let Some(machine) = &seen.machine else { return Ok(()) };
    if let Some(why) = &plan.failure {
        hub.event(object.as_ref(), EventType::Warning, &why.reason, &why.message).await;
    }
    hub.delete(machine.as_ref()).await?;
    Ok(())
}
