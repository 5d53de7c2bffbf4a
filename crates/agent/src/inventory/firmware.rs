//! The firmware, by SMBIOS.

use super::sysfs::Folder;
use crate::protocol::Firmware;

pub fn read(dmi: &Folder) -> Firmware {
    Firmware {
        vendor: dmi.text("bios_vendor"),
        version: dmi.text("bios_version"),
        date: dmi.text("bios_date"),
    }
}
