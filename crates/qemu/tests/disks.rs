//! Disks as QEMU and its tools see them: overlays, images that must be refused, the accelerator probe.

mod common;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use scute_image::qcow2::{Format, InspectError, create_overlay, inspect};
use scute_qemu::bootsector::{self, DISK_BYTES, Guest};
use scute_qemu::{Accelerator, Bus, Event, ExitCause, Firmware, MachineConfig, Medium, Qemu, Vmm, probe};

fn qemu() -> Qemu {
    Qemu::new("qemu-system-x86_64")
}

fn qemu_img(args: &[&str]) -> String {
    let output = Command::new("qemu-img").args(args).output().expect("qemu-img is installed");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs the machine until it has powered itself off.
async fn run(config: &MachineConfig) {
    let mut machine = qemu().start(config).await.unwrap();
    let end = async {
        let mut by_guest = false;
        loop {
            match machine.events.next().await {
                Event::Shutdown { guest, .. } => by_guest = guest,
                Event::Exited(exit) => return (by_guest, exit.cause),
                _ => {}
            }
        }
    };
    let end = tokio::time::timeout(Duration::from_secs(60), end).await.expect("the guest powers off");
    assert_eq!(end, (true, ExitCause::Code(0)));
}

/// The guest boots from the base through the overlay, and writes: the base must not change, the overlay must.
async fn writes_stay_in_the_overlay(base: &Path, format: Format, bus: Bus) {
    let before = std::fs::read(base).unwrap();
    let top = base.with_file_name("top.qcow2");
    let found = inspect(&mut File::open(base).unwrap()).unwrap();
    assert_eq!((found.format, found.size_bytes), (format, DISK_BYTES as u64));
    create_overlay(&top, found.size_bytes, base, format).unwrap();
    qemu_img(&["check", text(&top)]);
    let info = qemu_img(&["info", "--output=json", text(&top)]);
    assert!(info.contains(text(base)), "{info}");

    let image = Medium::Overlay { top: top.clone(), base: base.into(), base_format: format };
    run(&common::machine(vec![common::drive("root", image, bus)])).await;
    assert!(before == std::fs::read(base).unwrap(), "the base is untouched");
    let flat = base.with_file_name("flat.raw");
    qemu_img(&["convert", "-O", "raw", text(&top), text(&flat)]);
    let flat = std::fs::read(&flat).unwrap();
    assert!(flat[512..1024] == flat[..512], "the guest copied its boot sector to the second sector");
    assert!(inspect(&mut File::open(&top).unwrap()).is_err(), "an overlay is no base");
}

#[tokio::test]
async fn raw_base_behind_virtio() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    std::fs::write(&base, bootsector::disk(Guest::WritesDisk, "")).unwrap();
    writes_stay_in_the_overlay(&base, Format::Raw, Bus::Virtio).await;
}

#[tokio::test]
async fn qcow2_bases_behind_sata_and_scsi() {
    for (bus, compat) in [(Bus::Sata, "compat=0.10"), (Bus::Scsi, "compat=1.1")] {
        let dir = tempfile::tempdir().unwrap();
        let (raw, base) = (dir.path().join("raw"), dir.path().join("a, b=c.qcow2"));
        std::fs::write(&raw, bootsector::disk(Guest::WritesDisk, "")).unwrap();
        qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "-o", compat, text(&raw), text(&base)]);
        writes_stay_in_the_overlay(&base, Format::Qcow2, bus).await;
    }
}

#[test]
fn images_that_reach_for_other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("secret"), [1; 4096]).unwrap();
    let secret = at("secret");
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", text(&secret), "-F", "raw", text(&at("backed"))]);
    let error = inspect(&mut File::open(at("backed")).unwrap()).unwrap_err();
    assert!(matches!(&error, InspectError::BackingFile(name) if name == text(&secret)), "{error}");
    let option = format!("data_file={},data_file_raw=on", text(&at("data")));
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &option, text(&at("external")), "1M"]);
    assert!(matches!(inspect(&mut File::open(at("external")).unwrap()), Err(InspectError::DataFile)));
    let json = r#"json:{"driver":"file","filename":"/etc/shadow"}"#;
    qemu_img(&["create", "-q", "-u", "-f", "qcow2", "-b", json, "-F", "raw", text(&at("json")), "1M"]);
    assert!(matches!(inspect(&mut File::open(at("json")).unwrap()), Err(InspectError::BackingFile(_))));
}

/// The second line of defence: even if a base with a backing file came through, QEMU would not open the file.
#[tokio::test]
async fn qemu_does_not_follow_a_base() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("hidden"), bootsector::disk(Guest::PowersOff, "leaked")).unwrap();
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", text(&at("hidden")), "-F", "raw", text(&at("base"))]);
    create_overlay(&at("top"), DISK_BYTES as u64, &at("base"), Format::Qcow2).unwrap();
    let image = Medium::Overlay { top: at("top"), base: at("base"), base_format: Format::Qcow2 };
    let config = common::machine(vec![common::drive("root", image, Bus::Virtio)]);
    let mut machine = qemu().start(&config).await.unwrap();
    let serial = &mut machine.serial;
    let mut heard = String::new();
    let mut chunk = [0; 256];
    // SeaBIOS says on the serial port that it found nothing to boot.
    while !heard.contains("No bootable device") {
        let read = tokio::io::AsyncReadExt::read(serial, &mut chunk);
        let read =
            tokio::time::timeout(Duration::from_secs(60), read).await.expect("SeaBIOS gives up").unwrap();
        heard.push_str(&String::from_utf8_lossy(&chunk[..read]));
        assert!(read > 0 && !heard.contains("leaked"), "{heard}");
    }
}

#[test]
fn large_overlays_have_room_for_their_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (top, base) = (dir.path().join("top"), dir.path().join("base"));
    File::create(&base).unwrap().set_len(8 << 40).unwrap();
    create_overlay(&top, 8 << 40, &base, Format::Raw).unwrap();
    qemu_img(&["check", text(&top)]);
    assert!(create_overlay(&top, u64::MAX, &base, Format::Raw).is_err());
}

/// Whatever this machine has, the answer is one that works, with a reason if it is the slow one.
#[tokio::test]
async fn the_probe_finds_an_accelerator() {
    let found = probe(&qemu()).await;
    match found.accelerator {
        Accelerator::Kvm => assert_eq!(found.reason, ""),
        Accelerator::Tcg => assert!(!found.reason.is_empty()),
    }
    eprintln!("{found:?}");
    let missing = probe(&Qemu::new("/nonexistent/qemu")).await;
    assert_eq!(missing.accelerator, Accelerator::Tcg);
}

/// OVMF looks for a boot loader, finds none on an empty disk, and remembers that in its own variables.
#[tokio::test]
async fn efi_firmware_runs_on_its_own_variables() {
    let dir = tempfile::tempdir().unwrap();
    let vars = dir.path().join("vars.fd");
    std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).unwrap();
    let blank = std::fs::read(&vars).unwrap();
    let disk = dir.path().join("disk");
    File::create(&disk).unwrap().set_len(DISK_BYTES as u64).unwrap();
    let mut config = common::machine(vec![common::drive("root", Medium::raw(disk), Bus::Virtio)]);
    config.firmware = Firmware::Efi { code: "/usr/share/OVMF/OVMF_CODE_4M.fd".into(), vars: vars.clone() };
    let mut machine = qemu().start(&config).await.unwrap();
    let serial = &mut machine.serial;
    let mut heard = String::new();
    let mut chunk = [0; 256];
    while !heard.contains("BdsDxe") {
        let read = tokio::io::AsyncReadExt::read(serial, &mut chunk);
        let read = tokio::time::timeout(Duration::from_secs(60), read).await.expect("OVMF speaks").unwrap();
        assert!(read > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    assert!(blank != std::fs::read(&vars).unwrap(), "variables are written to the machine's own file");
}

/// A file system of a few pages, unmounted when it is dropped.
struct SmallFs(std::path::PathBuf);

impl SmallFs {
    fn mount(at: std::path::PathBuf) -> SmallFs {
        std::fs::create_dir(&at).unwrap();
        mount("tmpfs", &at, "tmpfs", MountFlags::empty(), Some(c"size=256k")).unwrap();
        SmallFs(at)
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A full file system pauses the machine instead of failing the guest's writes, and the drive is named, however long
/// its name is.
#[tokio::test]
async fn a_full_file_system_pauses_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let small = SmallFs::mount(dir.path().join("small"));
    let (base, top) = (dir.path().join("base"), small.0.join("top"));
    std::fs::write(&base, bootsector::disk(Guest::WritesDisk, "")).unwrap();
    create_overlay(&top, DISK_BYTES as u64, &base, Format::Raw).unwrap();
    let full = File::create(small.0.join("rest")).unwrap().write_all(&[1; 256 << 10]);
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let name = "a-volume-name-may-have-sixty-three-characters-like-this-one-has";
    let image = Medium::Overlay { top, base, base_format: Format::Raw };
    let mut machine =
        qemu().start(&common::machine(vec![common::drive(name, image, Bus::Virtio)])).await.unwrap();
    let failed = async {
        loop {
            match machine.events.next().await {
                Event::DriveFailed { drive, reason, full, paused } => return (drive, reason, full && paused),
                Event::Exited(exit) => panic!("{exit}"),
                _ => {}
            }
        }
    };
    let failed = tokio::time::timeout(Duration::from_secs(60), failed).await;
    let (drive, reason, paused) = failed.expect("the write fails");
    assert_eq!((drive.as_str(), paused), (name, true));
    assert!(reason.contains("No space left"), "{reason}");
}
