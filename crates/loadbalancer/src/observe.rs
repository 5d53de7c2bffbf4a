//! What is known about addresses: this Service's, and everybody else's.

use super::{CLASS, report::CONDITION, validate::wished_addresses};
use k8s_openapi::{
    api::core::v1::Service, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use scute_kit::{Hub, Key};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// The definition by which MetalLB is recognised.
pub const METALLB: &str = "ipaddresspools.metallb.io";

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether the Service wants an address of ours.
    pub ours: bool,
    /// The address that it has.
    pub current: Option<Ipv4Addr>,
    /// Whether it is no LoadBalancer any more and still has our condition.
    pub leftover: bool,
    /// Addresses that other Services have.
    pub others: BTreeMap<Ipv4Addr, Holder>,
    /// Addresses that other Services ask for and may not have yet.
    pub wished: BTreeSet<Ipv4Addr>,
}

/// Who has an address, as far as the Service's user may know: namespaces are strangers to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The Service of this name, in the same namespace.
    Neighbour(String),
    /// A Service of another namespace.
    Stranger,
}

/// Reads the copies of the watches. `None` while MetalLB is in charge.
pub fn observe(hub: &Hub, service: &Service) -> Option<Observed> {
    let metallb = hub.watch_meta::<CustomResourceDefinition>().get(&Key::new("", METALLB));
    if metallb.is_some_and(|crd| crd.metadata.deletion_timestamp.is_none()) {
        return None;
    }
    let all = hub.watch::<Service>().list();
    Some(of(service, all.iter().map(AsRef::as_ref)))
}

/// Sorts what all Services have and ask for.
pub fn of<'a>(service: &Service, all: impl Iterator<Item = &'a Service>) -> Observed {
    let own = Key::of(service);
    let conditions =
        service.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let marked = conditions.iter().any(|condition| condition.type_ == CONDITION);
    let mut seen = Observed {
        ours: is_ours(service),
        current: ingress(service).first().copied(),
        leftover: marked && !is_load_balancer(service),
        ..Observed::default()
    };
    for other in all.filter(|other| Key::of(*other) != own && is_load_balancer(other)) {
        let key = Key::of(other);
        let holder = match key.namespace == own.namespace {
            true => Holder::Neighbour(key.name),
            false => Holder::Stranger,
        };
        seen.others.extend(ingress(other).into_iter().map(|ip| (ip, holder.clone())));
        if is_ours(other) {
            seen.wished.extend(wished_addresses(other).unwrap_or_default());
        }
    }
    seen
}

/// Whether a Service has the type, of whatever class.
pub fn is_load_balancer(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
}

/// Whether a Service is ours and has no address.
pub fn waits(service: &Service) -> bool {
    is_ours(service) && ingress(service).is_empty()
}

fn is_ours(service: &Service) -> bool {
    let class = service.spec.as_ref().and_then(|spec| spec.load_balancer_class.as_deref());
    is_load_balancer(service) && class.is_none_or(|class| class == CLASS)
}

/// The addresses in a Service's status.
pub fn ingress(service: &Service) -> Vec<Ipv4Addr> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    ingress.iter().filter_map(|entry| entry.ip.as_deref()?.parse().ok()).collect()
}
