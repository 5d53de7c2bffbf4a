//! A [`MachineConfig`] to QEMU's arguments: pure.
//!
//! Devices and block nodes are passed as JSON, so that no file name or serial number can add an option.

mod blocks;
mod devices;
#[cfg(test)]
mod tests;

use std::os::fd::RawFd;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::{Accelerator, Firmware, MachineConfig, Smbios};

pub use blocks::{bad_of, drive_of, failing, file_of, node_of, of_medium, over};
pub use devices::{device_of, nic_of};

/// Size of the translator's buffer. QEMU's own default is a quarter of its guess of the host's memory.
pub const TCG_BUFFER_MIB: u64 = 512;

const MIB: u64 = 1024 * 1024;

/// Descriptors that QEMU inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// Connected socket for QMP.
    pub qmp: RawFd,
    /// Connected socket for the first serial port.
    pub serial: RawFd,
    /// Queues of each NIC's tap, in the order of [`MachineConfig::nics`].
    pub taps: Vec<Vec<RawFd>>,
}

/// All arguments after the program's name. The vCPUs wait for `cont`.
pub fn render(config: &MachineConfig, fds: &Inherited) -> Vec<String> {
    let mut argv = Argv::default();
    base(config, &mut argv);
    when_the_guest_fails(&mut argv);
    smbios(&config.smbios, &mut argv);
    channels(fds, &mut argv);
    firmware(config, &mut argv);
    if let Some(kernel) = &config.kernel {
        argv.option("-kernel", path(&kernel.image));
        if let Some(initrd) = &kernel.initrd {
            argv.option("-initrd", path(initrd));
        }
        if !kernel.args.is_empty() {
            argv.option("-append", &kernel.args);
        }
    }
    devices::all(config, fds, &mut argv);
    argv.0
}

#[derive(Default)]
struct Argv(Vec<String>);

impl Argv {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.0.extend([name.to_owned(), value.into()]);
    }

    fn json(&mut self, name: &str, value: Value) {
        self.option(name, value.to_string());
    }

    fn device(&mut self, value: Value) {
        self.json("-device", value);
    }
}

fn base(config: &MachineConfig, argv: &mut Argv) {
    argv.option("-name", format!("guest={}", commas(&config.name)));
    argv.flag("-nodefaults");
    argv.flag("-no-user-config");
    argv.flag("-S");
    argv.option("-display", "none");
    argv.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    // graphics=off makes SeaBIOS write to the serial port: "No bootable device" then reaches the Pod's log.
    argv.option("-machine", "q35,graphics=off,vmport=off,usb=off,memory-backend=ram");
    match config.accelerator {
        Accelerator::Kvm => {
            argv.option("-accel", "kvm");
            argv.option("-cpu", "host");
        }
        Accelerator::Tcg => {
            argv.option("-accel", format!("tcg,thread=multi,tb-size={TCG_BUFFER_MIB}"));
            // Five-level page tables cost the translator one more look-up per miss, and no guest is that large.
            argv.option("-cpu", "max,la57=off");
        }
    }
    let cpu = &config.cpu;
    argv.option(
        "-smp",
        format!("cpus={},sockets={},cores={},threads={}", cpu.vcpus(), cpu.sockets, cpu.cores, cpu.threads),
    );
    let memory = (config.memory_bytes / MIB).max(1);
    argv.option("-m", format!("size={memory}M"));
    argv.json("-object", json!({"qom-type": "memory-backend-ram", "id": "ram", "size": memory * MIB}));
    argv.option("-rtc", "base=utc");
    argv.option("-boot", "strict=on");
    // Nothing resumes a guest that suspends itself.
    argv.option("-global", "ICH9-LPC.disable_s3=1");
    argv.option("-global", "ICH9-LPC.disable_s4=1");
}

/// A guest whose kernel panics can say so and is switched off; one that starts the chipset's watchdog (iTCO) and then
/// hangs is reset.
fn when_the_guest_fails(argv: &mut Argv) {
    argv.device(json!({"driver": "pvpanic"}));
    argv.option("-global", "ICH9-LPC.noreboot=off");
    argv.option("-action", "panic=shutdown,watchdog=reset");
}

fn smbios(smbios: &Smbios, argv: &mut Argv) {
    if let Some(uuid) = &smbios.uuid {
        argv.option("-uuid", uuid);
    }
    let Smbios { manufacturer, product, uuid, serial } = smbios;
    let named = [("manufacturer", manufacturer), ("product", product), ("uuid", uuid), ("serial", serial)];
    let mut text = "type=1".to_owned();
    for (name, value) in named {
        if let Some(value) = value {
            text += &format!(",{name}={}", commas(value));
        }
    }
    argv.option("-smbios", text);
}

fn channels(fds: &Inherited, argv: &mut Argv) {
    argv.option("-chardev", format!("socket,id=qmp,fd={}", fds.qmp));
    argv.option("-mon", "chardev=qmp,mode=control");
    argv.option("-chardev", format!("socket,id=serial0,fd={}", fds.serial));
    argv.option("-serial", "chardev:serial0");
}

fn firmware(config: &MachineConfig, argv: &mut Argv) {
    let Firmware::Efi { code, vars } = &config.firmware else { return };
    for (unit, file, readonly) in [(0, code, true), (1, vars, false)] {
        let node = format!("flash{unit}");
        argv.json("-blockdev", blocks::flash(&node, file, readonly));
        argv.option("-machine", format!("pflash{unit}={node}"));
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// QEMU's key=value options end at a comma unless it is doubled.
fn commas(text: &str) -> String {
    text.replace(',', ",,")
}
