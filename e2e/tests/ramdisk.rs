//! The provisioning ramdisk on a virtual server: UEFI firmware, a CD, an empty disk, and an imitation of the metal room
//! that is reached over QEMU's user network.

#[path = "../../crates/agent/tests/room/mod.rs"]
mod room;
mod server;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use room::{Fault, Room};
use scute_agent::protocol::{Cleaning, Format, Inventory, Parameters, Said, Work};
use scute_e2e::artifacts;
use server::{Firmware, Hardware, Media, Server};
use tokio::time::timeout;

/// An emulated machine on a busy one.
const BOOT: Duration = Duration::from_secs(240);
const DISK: u64 = 5 << 30;
const MIB: usize = 1 << 20;
/// Within the image.
const BAD: u64 = 3 << 20;

fn server(parameters: &Parameters, ramdisk: &Path, firmware: Firmware) -> Server {
    let bad_byte = (firmware == Firmware::Uefi).then_some(BAD);
    let hardware = Hardware { firmware, memory_mebibytes: 1024, disk_bytes: DISK, cards: 1, bad_byte };
    Server::start(hardware, &Media::Ramdisk(ramdisk, parameters))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_inspected_cleaned_written_and_boots_what_was_written() {
    let ramdisk = artifacts().unwrap().bundle().join("ramdisk/ramdisk.iso");
    let room = Room::open();
    let disk = server::system(&ramdisk);
    let file = zstd::encode_all(&disk[..], 1).unwrap();
    let mut server = server(&room.parameters("10.0.2.2"), &ramdisk, Firmware::Uefi);
    let started = Instant::now();
    let said = |what: &str| println!("  {what} after {:.1} s", started.elapsed().as_secs_f64());
    room.give(Work::Inspect { id: "inspect".into() });
    room.until("hello", BOOT, |memory| memory.hellos.first().cloned()).await;
    said("hello");
    let Said::Inspected { inventory } = room.end_of("inspect", BOOT).await else { panic!("not inspected") };
    said("inspected");
    check(&inventory);
    assert!(inventory.uefi);

    room.give(Work::Clean { id: "clean".into(), how: Cleaning::Metadata });
    let Said::Cleaned { wiped } = room.end_of("clean", BOOT).await else { panic!("not cleaned") };
    assert!(wiped.len() == 1 && wiped[0].contains("5120 MiB were discarded"), "{wiped:?}");
    said("cleaned");

    let drive = vec![b'c'; 300_000];
    let port = room.images_address.port();
    let write = server::write(port, "disk.zst", Format::Raw, &file, Some(&drive));
    let half = file.len() / 2;
    room.images.put("disk.zst", file);
    // The first write of one sector fails.
    room.give(Work::Write { id: "refused".into(), write: Box::new(write.clone()) });
    let Said::Failed { why } = room.end_of("refused", BOOT).await else { panic!("the disk does not fail") };
    assert!(why.contains("the disk ") && why.contains("(disk /dev/disk/by-path/pci-0000:"), "{why}");
    said("refused");
    let mut head = vec![1; MIB];
    File::open(server.path("disk.raw")).unwrap().read_exact_at(&mut head, 0).unwrap();
    assert!(head.iter().all(|byte| *byte == 0), "nothing that a firmware would start");

    room.images.fail([Fault::Cut(half)]);
    room.give(Work::Write { id: "write".into(), write: Box::new(write) });
    assert!(matches!(room.end_of("write", BOOT).await, Said::Written { disk } if disk.contains("by-path")));
    said("written");
    let written = File::open(server.path("disk.raw")).unwrap();
    let mut start = vec![0; disk.len()];
    written.read_exact_at(&mut start, 0).unwrap();
    assert!(start[MIB..] == disk[MIB..disk.len()], "the partition");
    let mut end = vec![0; 2 * MIB];
    written.read_exact_at(&mut end, DISK - 2 * MIB as u64).unwrap();
    assert!(end[..drive.len()] == drive && &end[2 * MIB - 512..2 * MIB - 504] == b"EFI PART");

    room.give(Work::Reboot);
    let exit = timeout(BOOT, server.qemu.wait()).await.expect("the system on the disk powers off").unwrap();
    said("the disk's system has ended");
    let serial = server.serial();
    assert!(exit.success() && serial.contains("\"Scute\" from HD(1,GPT,"), "the firmware takes the entry");
    assert!(serial.contains("command line has no scute.service"), "the system on the disk speaks");
    assert!(!serial.contains(room::TOKEN), "the console shows the token");
    println!("  the agent has had {} KiB", server.peak());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_bios_and_a_static_address_is_inspected_and_powered_off() {
    let ramdisk = artifacts().unwrap().bundle().join("ramdisk/ramdisk.iso");
    let room = Room::open();
    let mut parameters = room.parameters("10.0.2.2");
    parameters.addresses = vec!["02:00:00:00:00:01,10.0.2.15/24,10.0.2.2".parse().unwrap()];
    let mut server = server(&parameters, &ramdisk, Firmware::Bios);
    room.give(Work::Inspect { id: "inspect".into() });
    let Said::Inspected { inventory } = room.end_of("inspect", BOOT).await else { panic!("not inspected") };
    check(&inventory);
    assert!(!inventory.uefi);
    room.give(Work::PowerOff);
    assert!(timeout(BOOT, server.qemu.wait()).await.expect("the server powers off").unwrap().success());
    assert!(!server.serial().contains("DHCP"), "nobody was asked for an address");
}

fn check(inventory: &Inventory) {
    assert!(inventory.cpu.count == 1 && inventory.memory_mebibytes == 1024);
    assert_eq!((inventory.manufacturer.as_str(), inventory.numa.len()), ("QEMU", 1));
    let nic = &inventory.nics[0];
    assert_eq!((nic.mac.as_str(), nic.carrier), ("02:00:00:00:00:01", true));
    assert!(nic.addresses.iter().any(|address| address == "10.0.2.15"), "{:?}", nic.addresses);
    let [disk] = &inventory.disks[..] else { panic!("one disk") };
    assert_eq!((disk.serial_number.as_str(), disk.size_bytes), ("serial-of-the-test", DISK));
    assert!(disk.name.starts_with("/dev/disk/by-path/pci-0000:"));
}
