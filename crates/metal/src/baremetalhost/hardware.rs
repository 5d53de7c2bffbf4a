//! What an agent found, as the API has it: pure.

use scute_agent::protocol::{self, Inventory};
use scute_api::metal3::{Bios, Cpu, DiskType, Firmware, HardwareDetails, Nic, Storage, SystemVendor};

/// What was found; `boot_mac` is the interface that the user calls the one to boot from.
pub fn details(found: &Inventory, boot_mac: Option<&str>) -> HardwareDetails {
    HardwareDetails {
        system_vendor: SystemVendor {
            manufacturer: found.manufacturer.clone(),
            product_name: found.product.clone(),
            serial_number: found.serial.clone(),
        },
        firmware: Firmware {
            bios: Bios {
                date: found.firmware.date.clone(),
                vendor: found.firmware.vendor.clone(),
                version: found.firmware.version.clone(),
            },
        },
        ram_mebibytes: signed(found.memory_mebibytes),
        nics: found.nics.iter().flat_map(|nic| nics(nic, boot_mac)).collect(),
        storage: found.disks.iter().map(storage).collect(),
        cpu: Cpu {
            arch: found.cpu.arch.clone(),
            model: found.cpu.model.clone(),
            clock_megahertz: (found.cpu.megahertz > 0).then(|| f64::from(found.cpu.megahertz)),
            flags: found.cpu.flags.clone(),
            count: i64::from(found.cpu.count),
        },
        hostname: found.hostname.clone(),
    }
}

/// One entry for each address, as upstream has it, or one without.
fn nics(found: &protocol::Nic, boot_mac: Option<&str>) -> Vec<Nic> {
    let with = |ip: &str| Nic {
        name: found.name.clone(),
        model: found.model.clone(),
        mac: found.mac.clone(),
        ip: ip.to_owned(),
        speed_gbps: i64::from(found.speed_gbps),
        pxe: boot_mac.is_some_and(|mac| mac.eq_ignore_ascii_case(&found.mac)),
        pci_address: found.pci_address.clone(),
        ..Nic::default()
    };
    match found.addresses.as_slice() {
        [] => vec![with("")],
        all => all.iter().map(|ip| with(ip)).collect(),
    }
}

fn storage(found: &protocol::Disk) -> Storage {
    Storage {
        name: found.name.clone(),
        alternate_names: found.alternate_names.clone(),
        rotational: found.rotational,
        type_: match found.kind.as_str() {
            "HDD" => Some(DiskType::Hdd),
            "SSD" => Some(DiskType::Ssd),
            "NVME" => Some(DiskType::Nvme),
            _ => None,
        },
        size_bytes: signed(found.size_bytes),
        vendor: found.vendor.clone(),
        model: found.model.clone(),
        serial_number: found.serial_number.clone(),
        wwn: found.wwn.clone(),
        wwn_vendor_extension: found.wwn_vendor_extension.clone(),
        wwn_with_extension: found.wwn_with_extension.clone(),
        hctl: found.hctl.clone(),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_an_entry_for_each_address_and_the_boot_interface_is_marked() {
        let nic = |mac: &str, addresses: &[&str]| protocol::Nic {
            mac: mac.into(),
            addresses: addresses.iter().map(|ip| (*ip).to_owned()).collect(),
            ..protocol::Nic::default()
        };
        let found = Inventory {
            nics: vec![nic("02:00:00:00:00:0a", &["10.0.0.1", "fd00::1"]), nic("02:00:00:00:00:0b", &[])],
            memory_mebibytes: u64::MAX,
            ..Inventory::default()
        };
        let details = details(&found, Some("02:00:00:00:00:0B"));
        let nics: Vec<_> = details.nics.iter().map(|nic| (nic.ip.as_str(), nic.pxe)).collect();
        assert_eq!(nics, [("10.0.0.1", false), ("fd00::1", false), ("", true)]);
        assert_eq!(details.ram_mebibytes, i64::MAX);
        assert_eq!(details.cpu.clock_megahertz, None, "unknown is not 0");
    }
}
