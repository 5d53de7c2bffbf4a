//! The names below /dev/disk/by-path that udev would give a disk: its `path_id`, for the buses that servers have.

use super::nics::pci;
use super::sysfs::Folder;

/// The best name first; nothing on a bus that is not known.
pub fn names(block: &Folder) -> Vec<String> {
    let Some(pci) = pci(block) else { return Vec::new() };
    let address = pci.name();
    let behind = block.path().strip_prefix(pci.path()).map(|path| path.to_string_lossy().into_owned());
    let behind = behind.unwrap_or_default();
    let parts: Vec<&str> = behind.split('/').collect();
    let named = |rest: String| format!("pci-{address}-{rest}");
    if let Some(namespace) = block.number::<u32>("nsid") {
        return vec![named(format!("nvme-{namespace}"))];
    }
    let Some(scsi) = parts.iter().find(|part| is_scsi_address(part)) else {
        // A disk of virtio's own kind is the only one of its device.
        let virtio = parts.first().is_some_and(|part| part.starts_with("virtio"));
        return if virtio {
            vec![format!("pci-{address}"), format!("virtio-pci-{address}")]
        } else {
            Vec::new()
        };
    };
    let (target, lun) = scsi.split_once(':').and_then(|(_, rest)| rest.rsplit_once(':')).unwrap_or_default();
    if let Some(port) = parts.iter().find(|part| part.strip_prefix("ata").is_some_and(is_number)) {
        let number = pci.text(&format!("{port}/ata_port/{port}/port_no"));
        return vec![named(format!("ata-{number}")), named(format!("ata-{number}.0"))];
    }
    if let Some(end) = parts.iter().position(|part| part.starts_with("end_device-")) {
        return sas(&pci, &parts[..=end], lun).into_iter().map(named).collect();
    }
    let plain = format!("scsi-0:{target}:{lun}");
    match parts.iter().rev().find_map(|part| usb_interface(part)) {
        Some(interface) => vec![named(format!("usb-0:{interface}-{plain}"))],
        None => vec![named(plain)],
    }
}

/// A disk at a phy of the controller or of an expander; at a port of several phys only its address counts.
fn sas(pci: &Folder, parts: &[&str], lun: &str) -> Vec<String> {
    let device = |index: usize| {
        let name = parts[index];
        pci.folder(&parts[..=index].join("/")).folder("sas_device").folder(name)
    };
    let end = device(parts.len() - 1);
    let (address, phy) = (end.text("sas_address"), end.text("phy_identifier"));
    let expander =
        parts.iter().rposition(|part| part.starts_with("expander-")).map(|at| device(at).text("sas_address"));
    let by_phy = match expander {
        Some(expander) => format!("sas-exp{expander}-phy{phy}-lun-{lun}"),
        None => format!("sas-phy{phy}-lun-{lun}"),
    };
    let by_address = format!("sas-{address}-lun-{lun}");
    let port = parts
        .len()
        .checked_sub(2)
        .map(|at| pci.folder(&parts[..=at].join("/")).folder("sas_port").folder(parts[at]).text("num_phys"));
    if port.is_some_and(|phys| phys == "1") { vec![by_phy, by_address] } else { vec![by_address] }
}

fn is_scsi_address(part: &str) -> bool {
    part.split(':').count() == 4 && part.split(':').all(is_number)
}

/// `1.2:1.0` of `3-1.2:1.0`.
fn usb_interface<'a>(part: &&'a str) -> Option<&'a str> {
    let (bus, rest) = part.split_once('-')?;
    (is_number(bus) && rest.contains(':')).then_some(rest)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A disk's folder, what is in the folders around it, and what udev calls it.
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

    /// Disks of real servers.
    #[test]
    fn names_are_those_of_udev() {
        let cases: [Case; 7] = [
            ("0000:00:04.0/virtio1/block/vda", &[], &["pci-0000:00:04.0", "virtio-pci-0000:00:04.0"]),
            (
                "0000:00:05.0/virtio2/host0/target0:0:1/0:0:1:0/block/sda",
                &[],
                &["pci-0000:00:05.0-scsi-0:0:1:0"],
            ),
            (
                "0000:00:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1",
                &[("0000:00:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1/nsid", "1\n")],
                &["pci-0000:01:00.0-nvme-1"],
            ),
            (
                "0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sdb",
                &[("0000:00:17.0/ata3/ata_port/ata3/port_no", "2\n")],
                &["pci-0000:00:17.0-ata-2", "pci-0000:00:17.0-ata-2.0"],
            ),
            (
                "0000:3b:00.0/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0/block/sdc",
                &[
                    ("0000:3b:00.0/host0/port-0:0/sas_port/port-0:0/num_phys", "1\n"),
                    (
                        "0000:3b:00.0/host0/port-0:0/end_device-0:0/sas_device/end_device-0:0/sas_address",
                        "0x5000c500a1\n",
                    ),
                    (
                        "0000:3b:00.0/host0/port-0:0/end_device-0:0/sas_device/end_device-0:0/phy_identifier",
                        "4\n",
                    ),
                ],
                &["pci-0000:3b:00.0-sas-phy4-lun-0", "pci-0000:3b:00.0-sas-0x5000c500a1-lun-0"],
            ),
            (
                "0000:3c:00.0/host1/port-1:0/expander-1:0/port-1:0:5/end_device-1:0:5/target1:0:5/1:0:5:0/block/sdd",
                &[
                    (
                        "0000:3c:00.0/host1/port-1:0/expander-1:0/port-1:0:5/sas_port/port-1:0:5/num_phys",
                        "1\n",
                    ),
                    (
                        "0000:3c:00.0/host1/port-1:0/expander-1:0/sas_device/expander-1:0/sas_address",
                        "0x500e\n",
                    ),
                    (
                        "0000:3c:00.0/host1/port-1:0/expander-1:0/port-1:0:5/end_device-1:0:5/sas_device/end_device-1:0:5/sas_address",
                        "0x5000\n",
                    ),
                    (
                        "0000:3c:00.0/host1/port-1:0/expander-1:0/port-1:0:5/end_device-1:0:5/sas_device/end_device-1:0:5/phy_identifier",
                        "7\n",
                    ),
                ],
                &["pci-0000:3c:00.0-sas-exp0x500e-phy7-lun-0", "pci-0000:3c:00.0-sas-0x5000-lun-0"],
            ),
            (
                "0000:00:14.0/usb3/3-1/3-1.2/3-1.2:1.0/host6/target6:0:0/6:0:0:0/block/sde",
                &[],
                &["pci-0000:00:14.0-usb-0:1.2:1.0-scsi-0:0:0:0"],
            ),
        ];
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("devices/pci0000:00");
        for (block, files, wanted) in cases {
            fs::create_dir_all(root.join(block)).unwrap();
            for (file, content) in files {
                fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
                fs::write(root.join(file), content).unwrap();
            }
            assert_eq!(names(&Folder::new(root.join(block))), wanted, "{block}");
        }
        let virtual_one = dir.path().join("devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
        assert_eq!(names(&Folder::new(virtual_one)), [""; 0]);
    }
}
