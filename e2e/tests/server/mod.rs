//! A virtual server that boots the provisioning ramdisk from a CD, then whatever is on its disk.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use scute_agent::protocol::{Algorithm, Checksum, Format, Parameters, RootDeviceHints, Write};
use scute_api::metal3::BareMetalHost;
use scute_image::media::PerHostIso;
use scute_metaldata::{ConfigDrive, Secrets};
use serde_json::json;
use tokio::process::{Child, Command};

const MIB: usize = 1 << 20;

/// What a server is started by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    Uefi,
    Bios,
}

/// Of which parts it is made.
#[derive(Clone, Copy)]
pub struct Hardware {
    pub firmware: Firmware,
    pub memory_mebibytes: u32,
    pub disk_bytes: u64,
    /// A byte of the disk: the first write of its sector fails.
    pub bad_byte: Option<u64>,
    /// Their addresses are 02:00:00:00:00:01 and so on, each on QEMU's user network.
    pub cards: u8,
}

/// What is in it when it is switched on.
pub enum Media<'a> {
    /// An empty disk, and the ramdisk in the CD drive.
    Ramdisk(&'a Path, &'a Parameters),
    /// A disk that another server has had.
    Disk(&'a Path),
}

/// It ends with the test. No device has a place in the order of booting: the firmware's own variables say it.
pub struct Server {
    pub qemu: Child,
    folder: tempfile::TempDir,
}

impl Server {
    pub fn start(hardware: Hardware, media: &Media<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.current_dir(folder.path())
            .args([
                "-accel",
                "tcg",
                "-machine",
                "q35",
                "-cpu",
                "max",
                "-smp",
                "1",
                "-nodefaults",
                "-display",
                "none",
            ])
            .args(["-m", &hardware.memory_mebibytes.to_string()])
            .args([
                "-drive",
                &format!("{},format=raw,if=none,id=disk,discard=unmap", disk(hardware.bad_byte)),
            ])
            .args(["-device", "virtio-blk-pci,drive=disk,serial=serial-of-the-test"])
            // Without a source of randomness TLS waits for the noise of the machine itself.
            .args(["-device", "virtio-rng-pci"])
            .args(["-serial", "file:serial.log"])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for card in 1..=hardware.cards {
            qemu.args(["-netdev", &format!("user,id=net{card}")]);
            // Their places say which names they get.
            let place = 0x10 + card;
            let card =
                format!("virtio-net-pci,netdev=net{card},mac=02:00:00:00:00:{card:02x},addr={place:#x}");
            qemu.args(["-device", &card]);
        }
        let path = |name: &str| folder.path().join(name);
        match media {
            Media::Ramdisk(ramdisk, parameters) => {
                let iso = PerHostIso::new(File::open(ramdisk).unwrap(), &parameters.to_string()).unwrap();
                copy(&iso, &path("host.iso"));
                File::create(path("disk.raw")).unwrap().set_len(hardware.disk_bytes).unwrap();
                qemu.args(["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=cd"]);
                qemu.args(["-drive", "file=host.iso,format=raw,if=none,id=cd,media=cdrom,readonly=on"]);
            }
            Media::Disk(disk) => std::fs::rename(disk, path("disk.raw")).unwrap(),
        }
        if hardware.firmware == Firmware::Uefi {
            std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", path("vars.fd")).unwrap();
            let code = "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd";
            qemu.args(["-drive", code, "-drive", "if=pflash,format=raw,unit=1,file=vars.fd"]);
        }
        Server { qemu: qemu.spawn().unwrap(), folder }
    }

    pub fn serial(&self) -> String {
        let bytes = std::fs::read(self.path("serial.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The most memory that the agent has said to have had, in KiB.
    pub fn peak(&self) -> u64 {
        let serial = self.serial();
        let peaks =
            serial.split("peak_kib=").skip(1).filter_map(|rest| rest.split_whitespace().next()?.parse().ok());
        peaks.max().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- serial console\n{}", self.serial());
        }
    }
}

/// QEMU's options for the file of the disk.
fn disk(bad_byte: Option<u64>) -> String {
    let Some(byte) = bad_byte else { return "file=disk.raw".into() };
    let error = [("event", "none"), ("iotype", "write"), ("errno", "5"), ("once", "on")];
    let mut options = "file.driver=blkdebug,file.image.driver=file,file.image.filename=disk.raw".to_owned();
    for (name, value) in error.into_iter().chain([("sector", (byte / 512).to_string().as_str())]) {
        options.push_str(&format!(",file.inject-error.0.{name}={value}"));
    }
    options
}

fn copy(iso: &PerHostIso, to: &Path) {
    let file = File::create(to).unwrap();
    let (mut buffer, mut at) = (vec![0; MIB], 0);
    loop {
        match iso.read_at(&mut buffer, at).unwrap() {
            0 => return,
            length => file.write_all_at(&buffer[..length], at).unwrap(),
        }
        at += buffer.len() as u64;
    }
}

/// Has an image written that the room serves on this port, reached over QEMU's user network.
pub fn write(port: u16, name: &str, format: Format, image: &[u8], config_drive: Option<&[u8]>) -> Write {
    Write {
        url: format!("http://10.0.2.2:{port}/images/{name}"),
        ca: None,
        format,
        checksum: Some(Checksum { algorithm: Algorithm::Sha256, value: hex::encode(digest(&SHA256, image)) }),
        login: None,
        root: RootDeviceHints::default(),
        config_drive: config_drive.map(|drive| BASE64_STANDARD.encode(drive)),
    }
}

/// The config drive of the room's host.
pub fn config_drive(secrets: &Secrets<'_>) -> Vec<u8> {
    let host = json!({"metadata": {"name": "host-0", "namespace": "site", "uid": super::room::HOST}, "spec": {"online": true}});
    let host: BareMetalHost = serde_json::from_value(host).unwrap();
    let files = ConfigDrive::of(&host, secrets).unwrap().files();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
    scute_image::iso::image("config-2", &files).unwrap()
}

/// A disk that starts the ramdisk's kernel, for no host: its init says at once that it misses parameters, which the one on the
/// CD has. The CD's own EFI file system becomes a partition.
pub fn system(ramdisk: &Path) -> Vec<u8> {
    let iso = std::fs::read(ramdisk).unwrap();
    // The second entry of the boot catalog.
    let entry = 22 * 2048 + 96 + 8;
    let sector = u32::from_le_bytes(iso[entry..entry + 4].try_into().unwrap());
    let system = &iso[sector as usize * 2048..];
    let mut disk = vec![0; MIB];
    disk.extend_from_slice(system);
    disk.resize(disk.len().next_multiple_of(MIB) + MIB, 0);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &disk).unwrap();
    let mut sfdisk = std::process::Command::new("/usr/sbin/sfdisk");
    sfdisk.arg("-q").arg(file.path()).stdin(Stdio::piped());
    let mut child = sfdisk.spawn().unwrap();
    let script = format!("label: gpt\nstart=2048, size={}, type=U\n", system.len().div_ceil(512));
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::read(file.path()).unwrap()
}
