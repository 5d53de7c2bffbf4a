//! The status of a Metal3Machine, computed as a whole. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use scute_api::infrastructure::{
    Initialization, MachineAddress, Metal3Machine, Metal3MachineStatus, Metal3ObjectRef,
};
use scute_api::metal3::BareMetalHost;
use scute_contract::paused;
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Status};

use super::observe::Observed;
use super::plan::{Plan, Stage};

/// The status after `plan` was carried out.
#[must_use]
pub fn status(object: &Metal3Machine, seen: &Observed, plan: &Plan, now: Timestamp) -> Metal3MachineStatus {
    let before = object.status.clone().unwrap_or_default();
    let was = before.initialization.as_ref().and_then(|is| is.provisioned) == Some(true);
    let provisioned = was || matches!(plan.stage, Stage::Running(_));
    let rendered = seen
        .data
        .as_ref()
        .map(|data| Metal3ObjectRef { name: Some(data.name_any()), namespace: data.namespace() });
    let secrets = plan.secrets.clone();
    let kept = |now: Option<_>, before| if secrets.is_some() { now } else { before };
    let of = |pick: fn(super::render::Secrets) -> Option<_>| plan.secrets.clone().and_then(pick);
    Metal3MachineStatus {
        initialization: Some(Initialization { provisioned: Some(provisioned) }),
        addresses: match &seen.host {
            Some(host) if provisioned => addresses(host),
            _ => before.addresses,
        },
        user_data: kept(of(|secrets| secrets.user_data), before.user_data),
        meta_data: kept(of(|secrets| secrets.meta_data), before.meta_data),
        network_data: kept(of(|secrets| secrets.network_data), before.network_data),
        rendered_data: rendered.or(before.rendered_data),
        conditions: conditions(object, &before.conditions, plan, now),
        last_updated: before.last_updated,
        deprecated: before.deprecated,
    }
}

/// What the inspection of the host found.
fn addresses(host: &BareMetalHost) -> Vec<MachineAddress> {
    let hardware = host.status.as_ref().and_then(|status| status.hardware.clone()).unwrap_or_default();
    let address =
        |type_: &str, address: &str| MachineAddress { type_: type_.to_owned(), address: address.to_owned() };
    let nics = hardware.nics.iter().filter(|nic| !nic.ip.is_empty());
    let mut list: Vec<_> = nics.map(|nic| address("InternalIP", &nic.ip)).collect();
    if !hardware.hostname.is_empty() {
        list.push(address("Hostname", &hardware.hostname));
        list.push(address("InternalDNS", &hardware.hostname));
    }
    list
}

const HOST: &str = "AssociateBareMetalHost";
const METADATA: &str = "AssociateMetal3MachineMetaData";
const DATA: &str = "Metal3DataReady";
const NODE: &str = "KubernetesNodeReady";
const READY: &str = "Ready";

fn conditions(object: &Metal3Machine, before: &[Condition], plan: &Plan, now: Timestamp) -> Vec<Condition> {
    let data = [METADATA, DATA].into_iter().filter(|_| object.spec.data_template.is_some());
    let (passed, failed, why): (Vec<&str>, Vec<&str>, Option<&Why>) = match &plan.stage {
        Stage::Unassociated(why) => (vec![], vec![HOST], Some(why)),
        Stage::WaitingForData(why) => (vec![HOST], data.collect(), Some(why)),
        Stage::Provisioning(why) => ([HOST].into_iter().chain(data).collect(), vec![], Some(why)),
        Stage::Running(None) => ([HOST].into_iter().chain(data).chain([NODE]).collect(), vec![], None),
        Stage::Running(Some(why)) => ([HOST].into_iter().chain(data).collect(), vec![NODE], Some(why)),
        Stage::Deleting(why) => (vec![], vec![HOST], Some(why)),
    };
    let list = paused::put(Conditions::new(before, object.metadata.generation, now), None);
    let list = passed.into_iter().fold(list, |list, type_| list.put(type_, Status::True, type_, ""));
    let Some(why) = why else { return list.put(READY, Status::True, READY, "").finish() };
    let failed = failed.into_iter().chain([READY]);
    failed.fold(list, |list, type_| list.put(type_, Status::False, &why.reason, why.message.clone())).finish()
}
