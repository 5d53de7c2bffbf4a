//! A Node whose server is off, as its tenant sees it: out of service, so that its Pods and volumes go elsewhere at once
//! (<https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown>).

use std::ops::ControlFlow;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams, Patch};
use kube::{Client, ResourceExt};
use scute_contract::summary::listed;
use scute_kit::conditions::whole_seconds;
use scute_kit::tenants::each_page;
use scute_kit::{patch_params, said};
use serde_json::json;

use super::observe::Left;

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
const EFFECT: &str = "NoExecute";
/// How many Pods or volumes a message names.
const NAMED: usize = 3;

/// Whether a Node is out of service.
#[must_use]
pub fn is_out_of_service(node: &Node) -> bool {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(is_the_taint)
}

fn is_the_taint(taint: &Taint) -> bool {
    taint.key == OUT_OF_SERVICE && taint.effect == EFFECT
}

/// Puts a Node out of service, or back into it. One that is gone needs nothing, and of one that somebody else wrote in between
/// a newer copy is on its way.
///
/// # Errors
/// When the tenant refuses for another reason, or does not answer.
pub async fn put_out_of_service(
    client: &Client,
    name: &str,
    out: bool,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let nodes = Api::<Node>::all(client.clone());
    let Some(node) = nodes.get_opt(name).await? else { return Ok(()) };
    if is_out_of_service(&node) == out {
        return Ok(());
    }
    let mut taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    taints.retain(|taint| !is_the_taint(taint));
    if out {
        taints.push(Taint {
            key: OUT_OF_SERVICE.to_owned(),
            value: Some("nodeshutdown".to_owned()),
            effect: EFFECT.to_owned(),
            time_added: Some(Time(whole_seconds(now))),
        });
    }
    let patch =
        json!({ "metadata": { "resourceVersion": node.resource_version() }, "spec": { "taints": taints } });
    match nodes.patch(name, &patch_params(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

/// What keeps a Node that is out of service from being started again: Pods that are on their way out, and volumes.
pub async fn left_on(client: &Client, name: &str) -> Left {
    match leftovers(client, name).await {
        Ok(left) if left.is_empty() => Left::Nothing,
        Ok(left) => Left::Something(left),
        Err(error) => {
            Left::Something(format!("the tenant does not say what is left on Node {name}: {}", said(&error)))
        }
    }
}

async fn leftovers(client: &Client, name: &str) -> Result<String, kube::Error> {
    let mut pods = Vec::new();
    let here = ListParams::default().fields(&format!("spec.nodeName={name}"));
    each_page(&Api::<Pod>::all(client.clone()), here, |page| {
        let leaving = page.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_some());
        pods.extend(leaving.map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())));
        if pods.len() <= NAMED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    if !pods.is_empty() {
        return Ok(format!("{} on Node {name}: not gone yet", listed("Pod", pods.into_iter(), NAMED)));
    }
    let mut volumes = Vec::new();
    // An attachment can be selected by its name only.
    each_page(&Api::<VolumeAttachment>::all(client.clone()), ListParams::default(), |page| {
        let here = page.into_iter().filter(|attachment| attachment.spec.node_name == name);
        volumes.extend(here.map(|attachment| attachment.name_any()));
        if volumes.len() <= NAMED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    if volumes.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("{} on Node {name}: not detached yet", listed("VolumeAttachment", volumes.into_iter(), NAMED)))
}
