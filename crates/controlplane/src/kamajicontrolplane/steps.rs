//! The steps of a run, each with what it reads and writes.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::controlplane::{KAMAJI_CONTROL_PLANE_FINALIZER, KamajiControlPlane};
use scute_api::kamaji::TenantControlPlane;
use scute_api::meta::{ApiEndpoint, BLOCK_MOVE_ANNOTATION};
use scute_kit::{Error, Key, Occupied, Why, finalizer, occupied};
use serde_json::json;

use super::report::{Progress, Stage, Stop, serves, tenant_says};
use super::{MANAGER, Shared, infra, mapping, secrets, words};
use crate::context::Context;
use crate::tenant::validate::{invalid, validate};

/// Goes as far as possible.
///
/// # Errors
/// What stopped it.
pub async fn advance(
    kcp: &Arc<KamajiControlPlane>,
    cluster: &Cluster,
    shared: &Shared,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let context = &shared.context;
    let stage = Stage::Created;
    let (pods, services) = (&context.config.management_pod_cidrs, &context.config.management_service_cidrs);
    mapping::check_ranges(cluster, pods, services).map_err(|bad| {
        Stop::wait(stage, Why::new("RangeOverlap", format!("Cluster {}: {bad}", cluster.name_any())))
    })?;
    let kcp = hold(kcp, context).await.map_err(failed(stage))?;
    let tcp = create(&kcp, cluster, context).await?;
    progress.tenant = Some(Arc::clone(&tcp));
    let endpoint = address(&tcp)?;
    publish(&kcp, &endpoint, context).await?;
    infra::tell(&Key::of(kcp.as_ref()), cluster, &endpoint, shared).await?;
    if !serves(&tcp) && !was_initialized(&kcp) {
        let (reason, message) = tenant_says(Some(&tcp));
        return Err(Stop::wait(Stage::Initialized, Why::new(reason, message)));
    }
    secrets::keep(&kcp, cluster, &tcp, context).await
}

/// The finalizer, and that `clusterctl move` waits: it would make an empty tenant elsewhere and remove this one's data.
async fn hold(kcp: &Arc<KamajiControlPlane>, context: &Context) -> Result<Arc<KamajiControlPlane>, Error> {
    let kcp = finalizer::ensure(&context.hub, kcp, KAMAJI_CONTROL_PLANE_FINALIZER).await?;
    if kcp.annotations().contains_key(BLOCK_MOVE_ANNOTATION) {
        return Ok(kcp);
    }
    let patch = json!({ "metadata": { "annotations": { BLOCK_MOVE_ANNOTATION: "" }, "uid": kcp.uid() } });
    context.hub.patch(&Key::of(kcp.as_ref()), &patch).await
}

fn was_initialized(kcp: &KamajiControlPlane) -> bool {
    kcp.status.as_ref().is_some_and(|status| status.initialized)
}

async fn create(
    kcp: &KamajiControlPlane,
    cluster: &Cluster,
    context: &Context,
) -> Result<Arc<TenantControlPlane>, Stop> {
    let existing = context.hub.watch::<TenantControlPlane>().get(&Key::of(kcp));
    if let Some(tcp) = &existing {
        let uid = kcp.uid().unwrap_or_default();
        if let Occupied::Former(owner) = occupied(Some(&tcp.metadata), &uid, None) {
            let message = format!(
                "TenantControlPlane {} belongs to {} {} (uid {}) and has to be deleted first",
                tcp.name_any(),
                owner.kind,
                owner.name,
                owner.uid
            );
            return Err(Stop::failed(Stage::Created, Why::new("NameTaken", message)));
        }
    }
    let want = mapping::tenant(kcp, cluster, existing.as_deref());
    validate(&want, &context.config.default_datastore).map_err(|bad| {
        let why = invalid(&bad);
        Stop::wait(Stage::Created, Why::new(why.reason, words::translated(&why.message)))
    })?;
    context.hub.apply(MANAGER, &want).await.map_err(|error| match error.code() {
        // What a webhook looked at, a DataStore for one, is not watched from here.
        Some(400 | 403 | 422) if !error.passes() => {
            let why = Why::new("Refused", words::translated(&error.to_string()));
            Stop::wait_for(REFUSED_AGAIN, Stage::Created, why)
        }
        _ => failed(Stage::Created)(error),
    })
}

/// When a TenantControlPlane that was refused is tried again.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// Where the API server answers, as the TenantControlPlane found out.
fn address(tcp: &TenantControlPlane) -> Result<ApiEndpoint, Stop> {
    let text = tcp.status.as_ref().and_then(|status| status.control_plane_endpoint.as_deref());
    let split = text.and_then(|text| text.rsplit_once(':'));
    let endpoint = split.and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(ApiEndpoint { host, port: port.parse().ok()? })
    });
    endpoint.ok_or_else(|| {
        let (reason, message) = tenant_says(Some(tcp));
        Stop::wait(Stage::Address, Why::new(reason, message))
    })
}

async fn publish(kcp: &KamajiControlPlane, endpoint: &ApiEndpoint, context: &Context) -> Result<(), Stop> {
    if kcp.spec.control_plane_endpoint.as_ref() == Some(endpoint) {
        return Ok(());
    }
    let patch = json!({ "spec": { "controlPlaneEndpoint": endpoint } });
    context
        .hub
        .patch::<KamajiControlPlane>(&Key::of(kcp), &patch)
        .await
        .map(|_| ())
        .map_err(failed(Stage::Endpoint))
}

/// A write that failed.
pub fn failed(stage: Stage) -> impl Fn(Error) -> Stop {
    move |error| {
        let refused = matches!(error.code(), Some(400 | 403 | 422));
        let reason = if refused { "Refused" } else { "WriteFailed" };
        Stop::failed(stage, Why::of(reason, &error))
    }
}
