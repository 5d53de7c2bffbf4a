//! What a VM costs: the guest's memory and what runs around it.
//!
//! | part | memory |
//! |---|---|
//! | launcher | 12 MiB |
//! | QEMU without guest memory | 60 MiB |
//! | each vCPU (stack, device queues) | 8 MiB |
//! | page tables of the guest's memory | 1/512 of it |
//! | TCG translation buffer, without KVM | 512 MiB |

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use scute_api::kubevirt::{CpuMemory, Domain, QuantityError, VirtualMachineInstanceSpec};
use scute_qemu::Accelerator;

use super::storage::storage;

const MIB: u64 = 1 << 20;
const LAUNCHER: u64 = 12 * MIB;
const QEMU: u64 = 60 * MIB;
const PER_VCPU: u64 = 8 * MIB;
const STORAGE: &str = "ephemeral-storage";
/// vCPUs on each core, unless the user asks for CPU.
const CPU_OVERCOMMIT: u32 = 10;

/// Memory of the guest in bytes: `memory.guest`, else the request, else the limit.
pub fn guest_memory(domain: &Domain) -> Result<u64, QuantityError> {
    let resources = domain.resources.clone().unwrap_or_default();
    domain
        .memory
        .as_ref()
        .and_then(|memory| memory.guest.clone())
        .or_else(|| resources.requests.and_then(|list| list.memory))
        .or_else(|| resources.limits.and_then(|list| list.memory))
        .ok_or_else(|| QuantityError(String::new()))?
        .units()
}

/// Memory in bytes that a VM needs beyond its guest's.
#[must_use]
pub fn overhead(guest: u64, vcpus: u32, accelerator: Accelerator) -> u64 {
    let translation = match accelerator {
        Accelerator::Kvm => 0,
        Accelerator::Tcg => scute_qemu::TCG_BUFFER_BYTES,
    };
    LAUNCHER + QEMU + PER_VCPU * u64::from(vcpus) + guest.div_ceil(512) + translation
}

/// Requests and limits of the container that runs the VM. There are limits only where the user set some.
pub fn requirements(
    spec: &VirtualMachineInstanceSpec,
    accelerator: Accelerator,
) -> Result<ResourceRequirements, QuantityError> {
    let domain = &spec.domain;
    let guest = guest_memory(domain)?;
    let vcpus = domain.vcpus();
    let around = overhead(guest, vcpus, accelerator);
    let asked = domain.resources.clone().unwrap_or_default();
    let (requests, limits) = (asked.requests.unwrap_or_default(), asked.limits.unwrap_or_default());

    let base = match &requests.memory {
        Some(memory) => memory.units()?,
        None => guest,
    };
    let free_ride = asked.overcommit_guest_overhead == Some(true);
    let memory = if free_ride { base } else { base.saturating_add(around) };
    let cpu = requests
        .cpu
        .or_else(|| limits.cpu.clone())
        .map_or_else(|| format!("{}m", vcpus * 1000 / CPU_OVERCOMMIT), |cpu| cpu.0);
    let storage = storage(spec)?;
    let disk = storage.request.saturating_add(storage.around);
    Ok(ResourceRequirements {
        requests: Some(BTreeMap::from([
            ("cpu".to_owned(), ApiQuantity(cpu)),
            ("memory".to_owned(), ApiQuantity(memory.to_string())),
            (STORAGE.to_owned(), ApiQuantity(disk.to_string())),
        ])),
        limits: limits_of(limits, around, storage.around)?,
        ..ResourceRequirements::default()
    })
}

fn limits_of(
    limits: CpuMemory,
    around: u64,
    around_disks: u64,
) -> Result<Option<BTreeMap<String, ApiQuantity>>, QuantityError> {
    let mut list = BTreeMap::new();
    if let Some(cpu) = limits.cpu {
        list.insert("cpu".to_owned(), ApiQuantity(cpu.0));
    }
    if let Some(memory) = limits.memory {
        let memory = memory.units()?.saturating_add(around);
        list.insert("memory".to_owned(), ApiQuantity(memory.to_string()));
    }
    if let Some(disk) = limits.ephemeral_storage {
        let disk = disk.units()?.saturating_add(around_disks);
        list.insert(STORAGE.to_owned(), ApiQuantity(disk.to_string()));
    }
    Ok((!list.is_empty()).then_some(list))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(domain: serde_json::Value) -> VirtualMachineInstanceSpec {
        let volumes = json!([{"name": "root", "containerDisk": {"image": "i"}}]);
        serde_json::from_value(json!({"domain": domain, "volumes": volumes})).unwrap()
    }

    #[test]
    fn the_overhead_is_the_sum_of_the_table() {
        let mib = |guest: u64, vcpus, accelerator| overhead(guest * MIB, vcpus, accelerator) / MIB;
        assert_eq!(mib(4096, 2, Accelerator::Kvm), 12 + 60 + 16 + 8);
        assert_eq!(mib(4096, 2, Accelerator::Tcg), 12 + 60 + 16 + 8 + 512);
    }

    #[test]
    fn requests_follow_the_guest_and_limits_follow_the_user() {
        let plain =
            requirements(&spec(json!({"cpu": {"cores": 2}, "memory": {"guest": "4Gi"}})), Accelerator::Kvm)
                .unwrap();
        assert_eq!(
            serde_json::to_value(plain).unwrap(),
            json!({"requests": {"cpu": "200m", "memory": (4192 * MIB).to_string(),
                "ephemeral-storage": ((2048 + 96 + 20) * MIB).to_string()}})
        );
        let full = spec(json!({
            "memory": {"guest": "1Gi"},
            "resources": {
                "requests": {"memory": "512Mi"},
                "limits": {"cpu": 2, "memory": "1Gi", "ephemeral-storage": "8Gi"},
                "overcommitGuestOverhead": true,
            },
        }));
        let around = overhead(1 << 30, 1, Accelerator::Kvm);
        let disk = ((8192 + 96 + 8) * MIB).to_string();
        assert_eq!(
            serde_json::to_value(requirements(&full, Accelerator::Kvm).unwrap()).unwrap(),
            json!({
                "requests": {"cpu": "2", "memory": (512 * MIB).to_string(), "ephemeral-storage": disk},
                "limits": {"cpu": "2", "memory": ((1 << 30) + around).to_string(), "ephemeral-storage": disk},
            })
        );
    }
}
