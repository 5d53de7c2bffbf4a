//! What a guest may write to the disk of its Node, and what the scheduler keeps free for it.
//!
//! Disks are files of a Pod's emptyDir that grow as the guest writes: an emptyDisk to its capacity, the overlay of a
//! containerDisk to the size of the disk in the image, which only the launcher can read. It refuses disks that together are
//! larger than the limit, so that no guest can come to the emptyDir's, where a kubelet would evict it.

use scute_api::kubevirt::{Quantity, QuantityError, VirtualMachineInstanceSpec};

use super::guest::writable_disks;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Upstream's images of Nodes have disks of this size.
const IMAGE_LIMIT: u64 = 20 * GIB;
/// What a guest with a system of its own is expected to write. Who needs more kept free asks for it.
const IMAGE_REQUEST: u64 = 2 * GIB;
/// Console log (kubelets keep 50 MiB of it), seeds, EFI variables.
const AROUND: u64 = 96 * MIB;

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// What the scheduler keeps free.
    pub request: u64,
    /// How large the disks that the guest can write to may be together.
    pub limit: u64,
    /// What is needed beside the content of these disks: tables of qcow2 are less than a thousandth.
    pub around: u64,
}

/// The storage of a VM.
pub fn storage(spec: &VirtualMachineInstanceSpec) -> Result<Storage, QuantityError> {
    let (mut request, mut limit) = (0_u64, 0_u64);
    for volume in writable_disks(spec) {
        let (asked, most) = match &volume.empty_disk {
            Some(disk) => (disk.capacity.units()?, disk.capacity.units()?),
            None => (IMAGE_REQUEST, IMAGE_LIMIT),
        };
        request = request.saturating_add(asked);
        limit = limit.saturating_add(most);
    }
    let (requests, limits) = named(spec);
    let read = |amount: Option<&Quantity>| amount.map(Quantity::units).transpose();
    let (asked, most) = (read(requests)?, read(limits)?);
    let request = asked.or(most).unwrap_or(request);
    let limit = most.unwrap_or(limit.max(request));
    Ok(Storage { request, limit, around: AROUND + limit / 1024 })
}

/// The user's request and limit.
#[must_use]
pub fn named(spec: &VirtualMachineInstanceSpec) -> (Option<&Quantity>, Option<&Quantity>) {
    let Some(resources) = &spec.domain.resources else { return (None, None) };
    let [request, limit] = [&resources.requests, &resources.limits]
        .map(|list| list.as_ref().and_then(|list| list.ephemeral_storage.as_ref()));
    (request, limit)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(resources: Value) -> Storage {
        let spec = json!({
            "domain": {
                "memory": {"guest": "1Gi"}, "resources": resources,
                "devices": {"disks": [{"name": "tools", "cdrom": {"bus": "sata"}},
                    {"name": "fixed", "disk": {"readonly": true}}]},
            },
            "volumes": [
                {"name": "root", "containerDisk": {"image": "i"}},
                {"name": "data", "emptyDisk": {"capacity": "5Gi"}},
                {"name": "tools", "containerDisk": {"image": "i"}},
                {"name": "fixed", "containerDisk": {"image": "i"}},
                {"name": "seed", "cloudInitNoCloud": {"userData": "x"}},
            ],
        });
        storage(&serde_json::from_value(spec).unwrap()).unwrap()
    }

    #[test]
    fn disks_that_a_guest_writes_to_count() {
        let of = |resources: Value| (of(resources.clone()).request / GIB, of(resources).limit / GIB);
        assert_eq!(of(json!({})), (7, 25));
        assert_eq!(of(json!({"requests": {"ephemeral-storage": "10Gi"}})), (10, 25));
        assert_eq!(of(json!({"requests": {"ephemeral-storage": "40Gi"}})), (40, 40));
        assert_eq!(of(json!({"limits": {"ephemeral-storage": "15Gi"}})), (15, 15));
        let both = json!({"requests": {"ephemeral-storage": "6Gi"}, "limits": {"ephemeral-storage": "15Gi"}});
        assert_eq!(of(both), (6, 15));
    }

    #[test]
    fn a_full_disk_and_its_tables_are_below_the_limit_of_the_volume() {
        let Storage { limit, around, .. } = of(json!({}));
        // A cluster of 64 KiB has eight bytes in a table of the second level and two in one of references.
        assert!(limit / 65536 * 10 + 52 * MIB < around);
    }
}
