//! What to do about the claims of an IPPool. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use scute_api::ipam::{
    IP_ADDRESS_FINALIZER, IP_CLAIM_FINALIZER, IP_POOL_FINALIZER, IPAddress, IPClaim, IPClaimStatus, IPPool,
    Pool,
};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_contract::owners::{owner, owner_of_kind};
use scute_kit::finalizer;

use super::ledger::Ledger;

/// What the controller has seen.
pub struct Observed {
    /// The pool.
    pub pool: Arc<IPPool>,
    /// The claims that ask for an address of it.
    pub claims: Vec<Arc<IPClaim>>,
    /// The addresses of the namespace, of whatever pool.
    pub addresses: Vec<Arc<IPAddress>>,
    /// Whose addresses its ranges are too.
    pub clash: Option<String>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Take an address back, when its claim is gone.
    Release(Arc<IPAddress>),
    /// Give an address to a claim.
    Give(Arc<IPClaim>, Box<IPAddress>),
    /// Say what became of a claim.
    Tell(Arc<IPClaim>, IPClaimStatus),
    /// Let a claim go that has no address any more.
    Forget(Arc<IPClaim>),
    /// Let the pool go.
    RemoveFinalizer,
}

/// Decides. The actions are independent of each other.
#[must_use]
pub fn plan(seen: &Observed) -> Vec<Action> {
    let mut plan = Vec::new();
    let holders = holders(seen);
    for address in own_addresses(seen) {
        let held = holders.get(&address.spec.claim.name.clone().unwrap_or_default());
        let held = held.is_some_and(|held| Arc::ptr_eq(held, address));
        // One that somebody made by hand is his own.
        if !held && finalizer::has(address.as_ref(), IP_ADDRESS_FINALIZER) {
            plan.push(Action::Release(Arc::clone(address)));
        }
    }
    claims(seen, &holders, &mut plan);
    let unused = seen.claims.is_empty() && own_addresses(seen).next().is_none();
    let leaves = seen.pool.metadata.deletion_timestamp.is_some();
    if unused && leaves && finalizer::has(seen.pool.as_ref(), IP_POOL_FINALIZER) {
        plan.push(Action::RemoveFinalizer);
    }
    plan
}

/// What is given out, by the name of the claim.
#[must_use]
pub fn indexes(seen: &Observed) -> BTreeMap<String, String> {
    holders(seen).into_iter().map(|(claim, address)| (claim, address.spec.address.clone())).collect()
}

fn own_addresses(seen: &Observed) -> impl Iterator<Item = &Arc<IPAddress>> {
    seen.addresses.iter().filter(|address| address.spec.pool.name == seen.pool.metadata.name)
}

/// The address that each living claim has. Of several, it is the one that the claim has been told.
fn holders(seen: &Observed) -> BTreeMap<String, Arc<IPAddress>> {
    let claims: BTreeMap<_, _> =
        seen.claims.iter().filter(|claim| !leaves(claim)).map(|claim| (claim.name_any(), claim)).collect();
    let mut holders = BTreeMap::new();
    for address in own_addresses(seen) {
        let name = address.spec.claim.name.clone().unwrap_or_default();
        let Some(claim) = claims.get(&name).filter(|claim| is_for(address, claim)) else { continue };
        let told = claim.status.as_ref().and_then(|status| status.address.as_ref()?.name.as_ref());
        if told == address.metadata.name.as_ref() || !holders.contains_key(&name) {
            holders.insert(name, Arc::clone(address));
        }
    }
    holders
}

/// Finalizers by which the API server deletes dependents first; they say nothing of the address.
const BY_THE_API_SERVER: [&str; 2] = ["foregroundDeletion", "orphan"];

/// Whether the claim is on its way out, and nobody keeps it: a server may still have the address of one that has a finalizer
/// of somebody else.
pub fn leaves(claim: &IPClaim) -> bool {
    let ours = |finalizer: &String| {
        finalizer == IP_CLAIM_FINALIZER || BY_THE_API_SERVER.contains(&finalizer.as_str())
    };
    claim.metadata.deletion_timestamp.is_some() && claim.finalizers().iter().all(ours)
}

/// Whether the address is for this very claim, and not for one of its name that was before it.
pub fn is_for(address: &IPAddress, claim: &IPClaim) -> bool {
    let uid = owner_of_kind::<IPClaim>(&address.metadata).map(|owner| &owner.uid);
    address.spec.claim.name == claim.metadata.name
        && uid.is_none_or(|uid| Some(uid) == claim.metadata.uid.as_ref())
}

fn claims(seen: &Observed, holders: &BTreeMap<String, Arc<IPAddress>>, plan: &mut Vec<Action>) {
    let taken: BTreeSet<IpAddr> =
        seen.addresses.iter().filter_map(|address| address.spec.address.parse().ok()).collect();
    let mut ledger = Ledger::new(&seen.pool, taken);
    let mut claims: Vec<_> = seen.claims.iter().collect();
    // Who came first gets the address that is free.
    claims.sort_by_key(|claim| {
        (claim.metadata.creation_timestamp.as_ref().map(|made| made.0), claim.name_any())
    });
    for claim in claims {
        if leaves(claim) {
            let has_one = seen.addresses.iter().any(|address| is_for(address, claim));
            if !has_one && finalizer::has(claim.as_ref(), IP_CLAIM_FINALIZER) {
                plan.push(Action::Forget(Arc::clone(claim)));
            }
            continue;
        }
        if let Some(address) = holders.get(&claim.name_any()) {
            tell(claim, has(address), plan);
            continue;
        }
        match refusal(seen).map_or_else(|| ledger.give(claim), Err) {
            Ok((address, entry)) => {
                let address = Box::new(ip_address(&seen.pool, claim, address, entry));
                plan.push(Action::Give(Arc::clone(claim), address));
            }
            Err(why) => tell(claim, IPClaimStatus { address: None, error_message: Some(why) }, plan),
        }
    }
}

/// Why the pool gives nothing out.
fn refusal(seen: &Observed) -> Option<String> {
    let name = seen.pool.name_any();
    match &seen.clash {
        _ if seen.pool.metadata.deletion_timestamp.is_some() => {
            Some(format!("IPPool {name} is being deleted"))
        }
        Some(clash) => Some(format!("IPPool {name} gives no address out: {clash}")),
        None => None,
    }
}

fn tell(claim: &Arc<IPClaim>, status: IPClaimStatus, plan: &mut Vec<Action>) {
    if claim.status.as_ref() != Some(&status) {
        plan.push(Action::Tell(Arc::clone(claim), status));
    }
}

/// What a claim is told that has an address.
pub fn has(address: &IPAddress) -> IPClaimStatus {
    let reference = ObjectReference {
        name: address.metadata.name.clone(),
        namespace: address.metadata.namespace.clone(),
        ..ObjectReference::default()
    };
    IPClaimStatus { address: Some(reference), error_message: None }
}

/// The IPAddress, by whose name the API server sees to it that nobody else has it.
fn ip_address(pool: &IPPool, claim: &IPClaim, address: IpAddr, entry: &Pool) -> IPAddress {
    let reference = |name: &Option<String>| ObjectReference {
        name: name.clone(),
        namespace: pool.metadata.namespace.clone(),
        ..ObjectReference::default()
    };
    let spec = &pool.spec;
    let mut made = IPAddress::default();
    made.metadata.name = Some(address_name(&spec.name_prefix, address));
    made.metadata.namespace = pool.metadata.namespace.clone();
    made.metadata.finalizers = Some(vec![IP_ADDRESS_FINALIZER.to_owned()]);
    made.metadata.owner_references = Some(vec![owner(pool, false), owner(claim, true)]);
    let cluster = claim.labels().get(CLUSTER_NAME_LABEL).or(spec.cluster_name.as_ref());
    made.metadata.labels = cluster.map(|cluster| [(CLUSTER_NAME_LABEL.to_owned(), cluster.clone())].into());
    made.spec.address = address.to_string();
    made.spec.claim = reference(&claim.metadata.name);
    made.spec.pool = reference(&pool.metadata.name);
    made.spec.prefix = entry.prefix.or(spec.prefix);
    made.spec.gateway = entry.gateway.clone().or_else(|| spec.gateway.clone());
    let servers = if entry.dns_servers.is_empty() { &spec.dns_servers } else { &entry.dns_servers };
    made.spec.dns_servers.clone_from(servers);
    made
}

/// `PREFIX-10-0-0-5`. A name must not end with a dash, as that of `fd00::` would.
fn address_name(prefix: &str, address: IpAddr) -> String {
    let name = format!("{prefix}-{}", address.to_string().replace(['.', ':'], "-"));
    if name.ends_with('-') { name + "0" } else { name }
}
