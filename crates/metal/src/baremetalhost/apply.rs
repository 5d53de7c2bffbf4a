//! Does what was decided.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Secret, SecretReference};
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use scute_agent::protocol::{Cleaning, Work};
use scute_api::metal3::{
    BareMetalHost, HARDWARE_DATA_FINALIZER, HOST_FINALIZER, HardwareData, HardwareDataSpec, HardwareDetails,
    ProvisioningState,
};
use scute_kit::{EventType, Field, Key, Watch, finalizer};
use scute_redfish::{Error as BmcError, Trust};
use serde_json::json;

use super::boot::Boot;
use super::context::Context;
use super::credentials;
use super::material::{self, Found};
use super::order::Order;
use super::seen::Job;
use super::turn::Effect;
use crate::dataimage;
use crate::service::desk::DeskError;

/// Who writes what was found in a host.
const MANAGER: &str = "scute-metal";
/// How long an order may take when the host is being deleted: see `Patience::deletion`.
const IN_DELETION: Duration = Duration::from_secs(18);

/// Does one thing.
///
/// # Errors
/// When it could not be done; then nothing after it is.
pub async fn apply(
    context: &Context,
    host: &Arc<BareMetalHost>,
    state: ProvisioningState,
    effect: Effect,
    found: &Found,
) -> Result<(), DeskError> {
    let uid = host.uid().unwrap_or_default();
    match effect {
        Effect::Call(order) => call(context, host, order).await?,
        Effect::Probe { must_fail } => {
            let Ok((origin, _)) = credentials::origin(host) else { return Ok(()) };
            let connector = Arc::clone(&context.connector);
            let answers = move || connector.answers(origin.clone());
            context.probes.begin(&Key::of(host.as_ref()), context.patience.probe, must_fail, answers);
        }
        Effect::Summon { attempt, addresses } => {
            let addresses = addresses.iter().map(ToString::to_string).collect();
            let boot = Boot { purpose: state, attempt, addresses, ..Boot::default() };
            context.desk.begin(&uid, boot).await?;
        }
        Effect::Started => {
            let now = context.hub.now();
            context.desk.note(&uid, |boot| boot.started = Some(now)).await?;
        }
        Effect::Done => context.desk.note(&uid, |boot| boot.done = true).await?,
        Effect::Dismiss => context.desk.dismiss(&uid).await?,
        Effect::Offer(job) => offer(context, host, job, found),
        Effect::KeepHardware(details) => keep_hardware(context, host, *details).await?,
        Effect::RemoveAnnotation(name) => {
            let patch = json!({"metadata": {
                "annotations": {name: null},
                "uid": host.metadata.uid,
                // What somebody else has written since then may be another wish.
                "resourceVersion": host.metadata.resource_version,
            }});
            context.hub.patch::<BareMetalHost>(&Key::of(host.as_ref()), &patch).await?;
        }
        Effect::Disc(disc, failed) => {
            dataimage::tell(&context.hub, host, &disc, failed.as_deref()).await?;
        }
        Effect::Warn(reason, note) => {
            context.hub.event(host.as_ref(), EventType::Warning, reason, &note).await;
        }
        Effect::Release => release(context, host).await?,
    }
    Ok(())
}

/// Has an order carried out outside of this run.
async fn call(context: &Context, host: &Arc<BareMetalHost>, order: Order) -> Result<(), DeskError> {
    let limit = match host.metadata.deletion_timestamp {
        Some(_) => order.limit().min(IN_DELETION),
        None => order.limit(),
    };
    let opened = match credentials::access(context, host).await? {
        Ok(access) => context.connector.open(&access).map(|bmc| (access, bmc)),
        Err(why) => Err(BmcError::NoSystem(why)),
    };
    let (hub, host, told) = (context.hub.clone(), Arc::clone(host), order.clone());
    let key = Key::of(host.as_ref());
    context.calls.start(&key.clone(), order, limit, async move {
        let (access, bmc) = opened?;
        let state = told.carry_out(bmc.as_ref(), host.spec.disable_power_off).await?;
        if let (Trust::Any, Some(print)) = (&access.trust, bmc.fingerprint())
            && let Err(error) = credentials::pin(&hub, &host, &access.origin, &print).await
        {
            tracing::warn!(host = %key, %error, "the certificate is pinned after the next order");
        }
        Ok(state)
    });
    Ok(())
}

fn offer(context: &Context, host: &BareMetalHost, job: Job, found: &Found) {
    let uid = host.uid().unwrap_or_default();
    match job {
        Job::Inspect => context.desk.offer(&uid, job, |id| Work::Inspect { id }),
        Job::Clean => context.desk.offer(&uid, job, |id| Work::Clean { id, how: Cleaning::Metadata }),
        // What it needs was found to be ready.
        Job::Write => match material::work(host, found) {
            Ok(write) => context.desk.offer(&uid, job, |id| Work::Write { id, write: Box::new(write) }),
            Err(why) => tracing::warn!(host = %Key::of(host), why, "no image is offered"),
        },
    }
}

/// Keeps what was found in a HardwareData of the host's name.
pub async fn keep_hardware(
    context: &Context,
    host: &BareMetalHost,
    details: HardwareDetails,
) -> Result<(), DeskError> {
    let data = HardwareData {
        metadata: ObjectMeta {
            name: host.metadata.name.clone(),
            namespace: host.metadata.namespace.clone(),
            owner_references: host.controller_owner_ref(&()).map(|owner| vec![owner]),
            finalizers: Some(vec![HARDWARE_DATA_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: HardwareDataSpec { hardware: Some(details) },
    };
    context.hub.apply(MANAGER, &data).await?;
    Ok(())
}

/// Everything that belongs to the host goes, and its finalizer last.
async fn release(context: &Context, host: &Arc<BareMetalHost>) -> Result<(), DeskError> {
    let (key, uid) = (Key::of(host.as_ref()), host.uid().unwrap_or_default());
    context.calls.forget(&key);
    context.probes.forget(&key);
    context.desk.dismiss(&uid).await?;
    if let Some(data) = context.hub.get::<HardwareData>(&key).await? {
        let data = Arc::new(data);
        context.hub.delete(data.as_ref()).await?;
        finalizer::remove(&context.hub, &data, HARDWARE_DATA_FINALIZER).await?;
    }
    credentials::release(&context.hub, host).await?;
    finalizer::remove(&context.hub, host, HOST_FINALIZER).await?;
    context.desk.forget(&uid);
    context.forget(&uid);
    Ok(())
}

/// Secrets that a host names.
pub const CREDENTIALS: Field<BareMetalHost> = Field {
    name: "spec.bmc.credentialsName",
    of: |host| host.spec.bmc.as_ref().map(|bmc| bmc.credentials_name.as_str().into()),
};
const USER_DATA: Field<BareMetalHost> =
    Field { name: "spec.userData", of: |host| named(host.spec.user_data.as_ref()) };
const META_DATA: Field<BareMetalHost> =
    Field { name: "spec.metaData", of: |host| named(host.spec.meta_data.as_ref()) };
const NETWORK_DATA: Field<BareMetalHost> =
    Field { name: "spec.networkData", of: |host| named(host.spec.network_data.as_ref()) };
const RAMDISK_NETWORK: Field<BareMetalHost> = Field {
    name: "spec.preprovisioningNetworkDataName",
    of: |host| host.spec.preprovisioning_network_data_name.as_deref().map(Into::into),
};

const REGISTRY: Field<BareMetalHost> = Field {
    name: "spec.image.ociAuthSecretName",
    of: |host| host.spec.image.as_ref()?.oci_auth_secret_name.as_deref().map(Into::into),
};

fn named(reference: Option<&SecretReference>) -> Option<Cow<'_, str>> {
    reference?.name.as_deref().map(Into::into)
}

/// Hosts that a Secret is of use to.
pub fn users(hosts: &Watch<BareMetalHost>, secret: &SecretMeta) -> Vec<Key> {
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
    let fields = [&CREDENTIALS, &USER_DATA, &META_DATA, &NETWORK_DATA, &RAMDISK_NETWORK, &REGISTRY];
    let all = fields.into_iter().flat_map(|field| hosts.list_by(field, &namespace, &name));
    all.map(|host| Key::of(host.as_ref())).collect()
}

/// A Secret of which only the metadata are known.
pub type SecretMeta = kube::api::PartialObjectMeta<Secret>;
