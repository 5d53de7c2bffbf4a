//! The image that VMs run in: QEMU with exactly its libraries, firmware, and Scute as PID 1.

use anyhow::Result;

use super::{Inputs, Made, debian, pack, scute};
use crate::oci::{Config, Image};
use crate::workspace::SCUTE;

/// QEMU loads its translator as a plug-in.
const PROGRAMS: &[&str] =
    &["/usr/bin/qemu-system-x86_64", "/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so"];

/// BIOS and UEFI, option ROMs of the devices that a VM may have, and the loaders of a direct boot.
const FIRMWARE: &[&str] = &[
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
    "/usr/lib/ipxe/qemu/efi-virtio.rom",
    "/usr/share/qemu/kvmvapic.bin",
    "/usr/share/qemu/linuxboot.bin",
    "/usr/share/qemu/linuxboot_dma.bin",
    "/usr/share/qemu/multiboot_dma.bin",
    "/usr/share/qemu/pvh.bin",
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/seabios/vgabios-bochs-display.bin",
    "/usr/share/seabios/vgabios-stdvga.bin",
    "/usr/share/seabios/vgabios-virtio.bin",
];

/// The image. It runs as qemu's user: a VM needs no root.
pub fn make(inputs: &Inputs) -> Result<Made> {
    let base = debian::base()?;
    let qemu = debian::programs(PROGRAMS)?.merge(debian::files(FIRMWARE)?);
    let binary = scute::layer(inputs)?;
    let image = Image {
        name: format!("scute.dev/launcher:{SCUTE}"),
        layers: vec![&base, &qemu, &binary],
        config: Config {
            entrypoint: vec!["/usr/local/bin/scute".into(), "launcher".into()],
            user: "107:107".into(),
        },
    };
    pack(&inputs.cache, "launcher", SCUTE, &[image])
}
