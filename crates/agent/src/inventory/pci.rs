//! GPUs and other accelerators.

use super::sysfs::Folder;
use crate::protocol::PciDevice;

/// Makers of the little graphics in BMCs and of virtual ones: nobody computes with these.
const NO_GPU: [&str; 7] = ["1013", "102b", "1234", "15ad", "1a03", "1af4", "1b36"];

pub fn accelerators(sys: &Folder) -> Vec<PciDevice> {
    sys.folders("bus/pci/devices").into_iter().filter_map(|device| accelerator(&device)).collect()
}

fn accelerator(device: &Folder) -> Option<PciDevice> {
    let class = device.text("class");
    let (vendor, model) = (id(device, "vendor"), id(device, "device"));
    let wanted = class.starts_with("0x03") || class.starts_with("0x12");
    (wanted && !NO_GPU.contains(&vendor.as_str())).then(|| PciDevice {
        address: device.name(),
        vendor,
        device: model,
        numa_node: device.number("numa_node").unwrap_or(-1),
    })
}

fn id(device: &Folder, name: &str) -> String {
    device.text(name).trim_start_matches("0x").to_owned()
}
