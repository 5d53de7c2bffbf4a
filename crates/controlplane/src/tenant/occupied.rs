//! Whether an object of a tenant's name is the tenant's: what a user made, or another controller has, is left alone.

use kube::{Resource, ResourceExt};
use scute_api::kamaji::{NAME_LABEL, TenantControlPlane};
use scute_kit::{Occupied, Why, occupied};

use super::progress::{Stage, Stop};

/// Fails where the object is somebody else's. One without an owner is taken over where it carries our label.
///
/// # Errors
/// Whose it is.
pub fn ours_or_free<K: Resource<DynamicType = ()>>(
    tcp: &TenantControlPlane,
    found: Option<&K>,
    stage: Stage,
) -> Result<(), Stop> {
    match of(tcp, found) {
        Occupied::Foreign => Err(Stop::failed(stage, taken::<K>(tcp, found))),
        _ => not_a_former_owners(tcp, found, stage),
    }
}

/// Fails where another controller has the object: one of a former TenantControlPlane of the same name, mostly.
///
/// # Errors
/// Whose it is.
pub fn not_a_former_owners<K: Resource<DynamicType = ()>>(
    tcp: &TenantControlPlane,
    found: Option<&K>,
    stage: Stage,
) -> Result<(), Stop> {
    let Occupied::Former(owner) = of(tcp, found) else { return Ok(()) };
    let message = format!(
        "{} {} belongs to {} {} (uid {}) and has to be deleted first",
        K::kind(&()),
        found.map(ResourceExt::name_any).unwrap_or_default(),
        owner.kind,
        owner.name,
        owner.uid
    );
    Err(Stop::failed(stage, Why::new("WaitingForFormerOwner", message)))
}

/// Whether the object is there and the tenant's own.
pub fn is_ours<K: Resource<DynamicType = ()>>(tcp: &TenantControlPlane, found: Option<&K>) -> bool {
    of(tcp, found) == Occupied::Own
}

fn of<K: Resource<DynamicType = ()>>(tcp: &TenantControlPlane, found: Option<&K>) -> Occupied {
    let (uid, name) = (tcp.uid().unwrap_or_default(), tcp.name_any());
    occupied(found.map(Resource::meta), &uid, Some((NAME_LABEL, &name)))
}

fn taken<K: Resource<DynamicType = ()>>(tcp: &TenantControlPlane, found: Option<&K>) -> Why {
    let message = format!(
        "{} {} exists and is not this TenantControlPlane's: rename or delete it, or hand it over with label {NAME_LABEL}={}",
        K::kind(&()),
        found.map(ResourceExt::name_any).unwrap_or_default(),
        tcp.name_any()
    );
    Why::new("NameTaken", message)
}
