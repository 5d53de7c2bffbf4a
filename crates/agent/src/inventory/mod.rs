//! What is in the host, read from /sys and /proc.

mod by_path;
mod cpu;
mod disks;
mod firmware;
mod memory;
mod nics;
mod pci;
mod sysfs;

use std::path::{Path, PathBuf};

use crate::protocol::{Disk, Inventory};
use sysfs::Folder;

/// The machine that the agent looks at: this one, or a copy of the folders of another.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    hostname: String,
}

impl Machine {
    /// This one, with the name that DHCP gave it.
    pub fn here(hostname: &str) -> Self {
        Machine { root: "/".into(), hostname: hostname.to_owned() }
    }

    /// One whose `sys`, `proc` and `dev` are copied below a folder.
    pub fn copied(root: &Path) -> Self {
        Machine { root: root.to_owned(), hostname: String::new() }
    }

    /// Whether it is this one: its clock may be set, its kernel asked.
    pub fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The file of a disk.
    pub fn device(&self, disk: &Disk) -> PathBuf {
        let mut names = std::iter::once(&disk.name).chain(&disk.alternate_names);
        let name = names.find_map(|name| name.strip_prefix("/dev/").filter(|name| !name.contains('/')));
        self.root.join("dev").join(name.unwrap_or_default())
    }

    /// Where the firmware's variables are.
    pub fn efi_variables(&self) -> PathBuf {
        self.root.join("sys/firmware/efi/efivars")
    }

    /// Everything.
    pub fn inventory(&self) -> Inventory {
        let (sys, proc) = (self.sys(), Folder::new(self.root.join("proc")));
        let dmi = sys.folder("class/dmi/id");
        Inventory {
            manufacturer: dmi.text("sys_vendor"),
            product: dmi.text("product_name"),
            serial: self.serial(),
            uuid: self.system_uuid(),
            firmware: firmware::read(&dmi),
            uefi: self.uefi(),
            cpu: cpu::read(&sys, &proc),
            memory_mebibytes: memory::built_in(&sys, &proc),
            nics: nics::read(&sys, self.is_here()),
            disks: self.disks(),
            numa: memory::nodes(&sys),
            gpus: pci::accelerators(&sys),
            hostname: self.hostname.clone(),
        }
    }

    /// The disks an image may go to.
    pub fn disks(&self) -> Vec<Disk> {
        disks::read(&self.sys())
    }

    /// Lower case; empty when the firmware gives none.
    pub fn system_uuid(&self) -> String {
        self.sys().text("class/dmi/id/product_uuid").to_lowercase()
    }

    /// Of the whole server; empty when the firmware gives none.
    pub fn serial(&self) -> String {
        self.sys().text("class/dmi/id/product_serial")
    }

    /// Of all ports.
    pub fn macs(&self) -> Vec<String> {
        nics::read(&self.sys(), false).into_iter().map(|nic| nic.mac).collect()
    }

    /// Whether the firmware that started it is UEFI.
    pub fn uefi(&self) -> bool {
        self.root.join("sys/firmware/efi").exists()
    }

    fn sys(&self) -> Folder {
        Folder::new(self.root.join("sys"))
    }
}
