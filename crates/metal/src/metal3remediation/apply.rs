//! Carries out what was planned for a Metal3Remediation.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::cluster::Machine;
use scute_api::infrastructure::{METAL3_REMEDIATION_FINALIZER, Metal3Remediation};
use scute_api::metal3::UNHEALTHY_ANNOTATION;
use scute_contract::spoken::{OWNER_REMEDIATED, Words, say};
use scute_kit::conditions::{Draft, Status};
use scute_kit::tenants::{TenantError, Tenants};
use scute_kit::{Error, Hub, Key, finalizer, said};
use serde_json::{Value, json};

use super::observe::{Observed, hold, tenant};
use super::plan::{Action, BOOT_ANNOTATION};
use super::tenant::put_out_of_service;

/// Value of [`UNHEALTHY_ANNOTATION`], as upstream has it.
const UNHEALTHY: &str = "capm3/UnhealthyNode";

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server did not take a write.
    #[error(transparent)]
    Write(#[from] Error),
    /// The tenant cannot be reached.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The tenant did not take a write.
    #[error("taints of Node {node}: {}", said(source))]
    Node {
        /// Name of the Node.
        node: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

/// The only place that writes, but for the status.
pub async fn apply(
    hub: &Arc<Hub>,
    tenants: &Tenants,
    object: &Arc<Metal3Remediation>,
    seen: &Observed,
    actions: &[Action],
) -> Result<(), ApplyError> {
    for action in actions {
        match action {
            Action::Claim => drop(finalizer::ensure(hub, object, METAL3_REMEDIATION_FINALIZER).await?),
            Action::Remember(boot) => {
                let boot = Some(boot).filter(|boot| !boot.is_empty());
                annotate(hub, object.as_ref(), BOOT_ANNOTATION, json!(boot)).await?;
            }
            Action::PowerOff(host) => {
                annotate(hub, host.as_ref(), &hold(object), json!(r#"{"mode":"hard"}"#)).await?;
            }
            Action::PowerOn(host) => annotate(hub, host.as_ref(), &hold(object), Value::Null).await?,
            Action::TakeOut(node) => service(hub, tenants, seen, node, true).await?,
            Action::PutBack(node) => service(hub, tenants, seen, node, false).await?,
            Action::HandOver(machine, message) => hand_over(hub, machine, message).await?,
            Action::Condemn(host) => {
                annotate(hub, host.as_ref(), UNHEALTHY_ANNOTATION, json!(UNHEALTHY)).await?;
            }
            Action::RemoveFinalizer => {
                finalizer::remove(hub, object, METAL3_REMEDIATION_FINALIZER).await?;
            }
        }
    }
    Ok(())
}

/// One annotation of one object; of one that is gone, none.
async fn annotate<K>(hub: &Hub, object: &K, name: &str, value: Value) -> Result<(), Error>
where
    K: scute_kit::Kind + serde::Serialize + kube::Resource<DynamicType = ()>,
{
    let patch = json!({ "metadata": { "annotations": { name: value }, "uid": object.uid() } });
    match hub.patch::<K>(&Key::of(object), &patch).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

async fn service(
    hub: &Hub,
    tenants: &Tenants,
    seen: &Observed,
    node: &str,
    out: bool,
) -> Result<(), ApplyError> {
    let Some(tenant) = tenant(seen) else { return Ok(()) };
    let client = tenants.client(&tenant).await?;
    let failed = |error| ApplyError::Node { node: node.to_owned(), source: Box::new(error) };
    put_out_of_service(&client, node, out, hub.now()).await.map_err(failed)
}

/// Whoever owns the Machine replaces one with this condition.
async fn hand_over(hub: &Hub, machine: &Machine, message: &str) -> Result<(), Error> {
    let given_up = Draft::new(OWNER_REMEDIATED, Status::False, "WaitingForRemediation", message);
    say(hub, machine, Words { said: vec![given_up], unsaid: Vec::new() }).await
}
