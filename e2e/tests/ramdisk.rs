//! The provisioning ramdisk on a virtual server: UEFI firmware, a CD, an empty disk, and an imitation of the metal room
//! that is reached over QEMU's user network.

#[path = "../../crates/agent/tests/room/mod.rs"]
mod room;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use room::Room;
use scute_agent::protocol::{Said, Work};
use scute_e2e::artifacts;
use scute_image::media::PerHostIso;

/// An emulated machine on a busy one.
const BOOT: Duration = Duration::from_secs(240);
const DISK: u64 = 1 << 30;

/// A virtual server; ends with the test.
struct Server {
    qemu: Child,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(room: &Room) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = File::open(artifacts().unwrap().bundle().join("ramdisk/ramdisk.iso")).unwrap();
        let iso = PerHostIso::new(base, &room.parameters("10.0.2.2").to_string()).unwrap();
        copy(&iso, &folder.path().join("host.iso"));
        File::create(folder.path().join("disk.raw")).unwrap().set_len(DISK).unwrap();
        std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", folder.path().join("vars.fd")).unwrap();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.current_dir(folder.path())
            .args([
                "-accel",
                "tcg",
                "-machine",
                "q35",
                "-m",
                "1024",
                "-smp",
                "1",
                "-nodefaults",
                "-display",
                "none",
            ])
            .args(["-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"])
            .args(["-drive", "if=pflash,format=raw,unit=1,file=vars.fd"])
            .args(["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=cd,bootindex=2"])
            .args(["-drive", "file=host.iso,format=raw,if=none,id=cd,media=cdrom,readonly=on"])
            .args(["-drive", "file=disk.raw,format=raw,if=none,id=disk"])
            .args(["-device", "virtio-blk-pci,drive=disk,serial=serial-of-the-test,bootindex=1"])
            .args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,mac=02:00:00:00:00:01"])
            .args(["-serial", "file:serial.log"])
            .stdin(Stdio::null());
        Server { qemu: qemu.spawn().unwrap(), folder }
    }

    fn serial(&self) -> String {
        let bytes = std::fs::read(self.path("serial.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if std::thread::panicking() {
            eprintln!("--- serial console\n{}", self.serial());
        }
    }
}

fn copy(iso: &PerHostIso, to: &Path) {
    let file = File::create(to).unwrap();
    let (mut buffer, mut at) = (vec![0; 1 << 20], 0);
    loop {
        match iso.read_at(&mut buffer, at).unwrap() {
            0 => return,
            length => file.write_all_at(&buffer[..length], at).unwrap(),
        }
        at += buffer.len() as u64;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_inspected() {
    let room = Room::open();
    let server = Server::start(&room);
    let started = std::time::Instant::now();
    room.give(Work::Inspect { id: "look".into() });
    let hello = room.until("hello", BOOT, |memory| memory.hellos.first().cloned()).await;
    println!("  hello after {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(hello.macs, ["02:00:00:00:00:01"]);
    let Said::Inspected { inventory } = room.end_of("look", BOOT).await else { panic!("not inspected") };
    println!("  inspected after {:.1} s", started.elapsed().as_secs_f64());
    assert!(inventory.uefi && inventory.cpu.count == 1 && inventory.memory_mebibytes == 1024);
    let nic = &inventory.nics[0];
    assert_eq!((nic.mac.as_str(), nic.carrier), ("02:00:00:00:00:01", true));
    assert!(nic.addresses.iter().any(|address| address == "10.0.2.15"), "{:?}", nic.addresses);
    let [disk] = &inventory.disks[..] else { panic!("one disk") };
    assert_eq!((disk.serial_number.as_str(), disk.size_bytes), ("serial-of-the-test", DISK));
    assert!(disk.name.starts_with("/dev/disk/by-path/pci-0000:"));
    assert!(!server.serial().contains(room::TOKEN), "the console shows the token");
}
