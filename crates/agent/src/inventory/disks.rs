//! Disks, named as udev names them: upstream's hints are written with udev's names in mind.

use super::by_path;
use super::sysfs::Folder;
use crate::protocol::Disk;

/// Major numbers of what is no disk of the host: RAM disks, loops, CDs, device mapper aside by name.
const NO_DISK: [&str; 9] = ["dm-", "drbd", "fd", "loop", "md", "nbd", "ram", "sr", "zram"];
const SECTOR: u64 = 512;

pub fn read(sys: &Folder) -> Vec<Disk> {
    sys.folders("block").into_iter().filter_map(|block| disk(&block.real())).collect()
}

fn disk(block: &Folder) -> Option<Disk> {
    let name = block.name();
    let other = NO_DISK.iter().any(|prefix| name.starts_with(prefix));
    let size_bytes = block.number::<u64>("size")? * SECTOR;
    // Empty card readers and empty virtual floppies of BMCs have no size; what is read-only cannot be written.
    if other || size_bytes == 0 || block.text("ro") == "1" || block.text("hidden") == "1" {
        return None;
    }
    let device = block.folder("device");
    let rotational = block.text("queue/rotational") == "1";
    let wwid =
        [block.text("wwid"), device.text("wwid")].into_iter().find(|id| !id.is_empty()).unwrap_or_default();
    let hctl = device.real().name();
    let hctl = if hctl.matches(':').count() == 3 { hctl } else { String::new() };
    let wwn = wwn(&wwid);
    let mut names: Vec<String> =
        by_path::names(block).iter().map(|path| format!("/dev/disk/by-path/{path}")).collect();
    names.push(format!("/dev/{name}"));
    Some(Disk {
        name: names.remove(0),
        alternate_names: names,
        rotational,
        kind: if name.starts_with("nvme") {
            "NVME"
        } else if rotational {
            "HDD"
        } else {
            "SSD"
        }
        .to_owned(),
        size_bytes,
        vendor: vendor(&device),
        model: device.text("model"),
        serial_number: serial(block, &device),
        wwn_vendor_extension: wwn.get(18..).map(|rest| format!("0x{rest}")).unwrap_or_default(),
        wwn_with_extension: wwn.clone(),
        wwn: wwn.get(..18).unwrap_or(&wwn).to_owned(),
        hctl,
    })
}

/// virtio gives a number only.
fn vendor(device: &Folder) -> String {
    let vendor = device.text("vendor");
    // What libata says of every disk.
    if vendor == "ATA" { String::new() } else { vendor }
}

fn serial(block: &Folder, device: &Folder) -> String {
    let serials = [block.text("serial"), device.text("serial")];
    if let Some(serial) = serials.into_iter().find(|serial| !serial.is_empty()) {
        return serial;
    }
    // SCSI's page of vital product data: four bytes, then the serial number.
    let page = device.bytes("vpd_pg80");
    String::from_utf8_lossy(page.get(4..).unwrap_or_default())
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .to_owned()
}

/// `naa.5000c500a1b2c3d4` as `0x5000c500a1b2c3d4`; NVMe's `eui.` keeps its name, as udev has it.
fn wwn(wwid: &str) -> String {
    match wwid.split_once('.') {
        Some(("naa", digits)) => format!("0x{digits}"),
        Some(("eui" | "nvme", _)) => wwid.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_udev() {
        assert_eq!(wwn("naa.5000c500a1b2c3d4"), "0x5000c500a1b2c3d4");
        assert_eq!(wwn("eui.0025385b71b00a1c"), "eui.0025385b71b00a1c");
        assert_eq!(wwn("t10.ATA     QEMU"), "");
    }

    #[test]
    fn a_disk_is_read_with_its_identity_and_no_cd_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        let device = "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
        file(&format!("{device}/block/sda/size"), b"2097152\n");
        file(&format!("{device}/block/sda/queue/rotational"), b"1\n");
        file(&format!("{device}/model"), b"ST900MM0168     \n");
        file(&format!("{device}/vendor"), b"ATA     \n");
        file(&format!("{device}/wwid"), b"naa.6000c500a1b2c3d40102030405060708\n");
        file(&format!("{device}/vpd_pg80"), b"\0\x80\0\x08 S40000 \0");
        file("devices/pci0000:00/0000:00:17.0/ata1/ata_port/ata1/port_no", b"1\n");
        file("block/sr0/size", b"100\n");
        file("block/sdb/size", b"0\n");
        let link =
            |target: &str, name: &str| std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        link("../../../0:0:0:0", &format!("{device}/block/sda/device"));
        link(&format!("../{device}/block/sda"), "block/sda");
        let disks = read(&Folder::new(dir.path().to_owned()));
        let wanted = Disk {
            name: "/dev/disk/by-path/pci-0000:00:17.0-ata-1".into(),
            alternate_names: vec!["/dev/disk/by-path/pci-0000:00:17.0-ata-1.0".into(), "/dev/sda".into()],
            rotational: true,
            kind: "HDD".into(),
            size_bytes: 1 << 30,
            model: "ST900MM0168".into(),
            serial_number: "S40000".into(),
            wwn: "0x6000c500a1b2c3d4".into(),
            wwn_vendor_extension: "0x0102030405060708".into(),
            wwn_with_extension: "0x6000c500a1b2c3d40102030405060708".into(),
            hctl: "0:0:0:0".into(),
            ..Disk::default()
        };
        assert_eq!(disks, [wanted]);
    }
}
