//! Disks, named as udev names them: upstream's hints are written with udev's names in mind.

use super::nics::pci;
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
        by_path(block).iter().map(|path| format!("/dev/disk/by-path/{path}")).collect();
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

/// What udev calls `ID_PATH`, and its older forms.
fn by_path(block: &Folder) -> Vec<String> {
    let real = block.path().to_string_lossy().into_owned();
    let Some(pci) = pci(block).map(|pci| pci.name()) else { return Vec::new() };
    let behind =
        real.rsplit_once(&format!("/{pci}/")).map(|(_, behind)| behind.to_owned()).unwrap_or_default();
    let parts: Vec<&str> = behind.split('/').collect();
    let scsi = parts.iter().find(|part| part.matches(':').count() == 3 && !part.contains("target"));
    if let Some(namespace) = block.number::<u32>("nsid") {
        return vec![format!("pci-{pci}-nvme-{namespace}")];
    }
    let Some(scsi) = scsi else {
        // A disk of virtio's own kind is the only one of its device.
        return if behind.starts_with("virtio") {
            vec![format!("pci-{pci}"), format!("virtio-pci-{pci}")]
        } else {
            Vec::new()
        };
    };
    let numbers: Vec<&str> = scsi.split(':').collect();
    let [_, channel, target, lun] = numbers[..] else { return Vec::new() };
    if let Some(port) = parts.iter().find_map(|part| part.strip_prefix("ata")) {
        // udev counts the ports of a controller from one: as the kernel's numbers are global, the lowest is its first.
        return ata(block, &pci, port);
    }
    if let Some(usb) =
        parts.iter().rev().find(|part| part.contains('-') && part.contains(':') && !part.contains("host"))
    {
        return vec![format!(
            "pci-{pci}-usb-0:{}-scsi-0:{channel}:{target}:{lun}",
            usb.split_once('-').map_or(*usb, |(_, rest)| rest)
        )];
    }
    let sas = Folder::new(block.real_of("device").path().parent().unwrap_or(block.path()).to_owned());
    let address = sas.folder("..").folder("..").text("sas_address");
    if !address.is_empty() {
        return vec![format!("pci-{pci}-sas-{address}-lun-{lun}")];
    }
    vec![format!("pci-{pci}-scsi-0:{channel}:{target}:{lun}")]
}

fn ata(block: &Folder, pci: &str, port: &str) -> Vec<String> {
    let ports = super::nics::pci(block).map(|folder| folder.folders("")).unwrap_or_default();
    let mut numbers: Vec<u32> =
        ports.iter().filter_map(|folder| folder.name().strip_prefix("ata")?.parse().ok()).collect();
    numbers.sort_unstable();
    let own = port.parse::<u32>().ok().and_then(|own| numbers.iter().position(|number| *number == own));
    let number = own.map_or_else(|| port.to_owned(), |index| (index + 1).to_string());
    vec![format!("pci-{pci}-ata-{number}"), format!("pci-{pci}-ata-{number}.0")]
}
