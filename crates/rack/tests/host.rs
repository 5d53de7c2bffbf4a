//! Hosts from outside: what their BMCs say, and what comes out of their serial ports.

mod common;

use axum::http::StatusCode;
use common::{Images, Rig, bootable};
use scute_qemu::bootsector::{self, Guest};
use scute_rack::{Firmware, Shape};
use serde_json::json;

const FROM_CD: &str = "this is the CD";
const FROM_DISK: &str = "this is the disk";

fn certificate(rig: &Rig) -> String {
    rig.rack.host("a").unwrap().server.certificate_pem.clone()
}

fn small(firmware: Firmware) -> Shape {
    Shape { firmware, memory_mib: 256, disks_mib: vec![16], ..Shape::default() }
}

/// A host with BIOS, whose disk boots a guest.
async fn bios(guest: Guest) -> Rig {
    let rig = Rig::new(&[small(Firmware::Bios)]).await;
    let disk = common::path(&rig, "a/disk-0.raw");
    let mut bytes = std::fs::read(&disk).unwrap();
    let guest = bootsector::disk(guest, FROM_DISK);
    bytes[..guest.len()].copy_from_slice(&guest);
    std::fs::write(disk, bytes).unwrap();
    rig
}

async fn cd(guest: Guest) -> Images {
    Images::serve(bootable(&bootsector::disk(guest, FROM_CD))).await
}

#[tokio::test]
async fn uefi_boots_what_the_override_says_and_once_is_once() {
    let rig = Rig::new(&[small(Firmware::Uefi)]).await;
    let host = rig.host("a");
    let images = cd(Guest::Hangs).await;
    let mut console = host.console();
    assert_eq!(host.get("Systems/1").await["PowerState"], "Off");
    host.reset("On").await;
    assert_eq!(host.get("Systems/1").await["PowerState"], "On");
    // An empty disk.
    let said = console.hear("BdsDxe: failed to load").await;
    assert!(!said.contains("CD-ROM"), "{said}");
    host.insert(&images.url).await;
    host.boot("Cd", "Once").await;
    assert_eq!(host.get("Systems/1").await["Boot"]["BootSourceOverrideEnabled"], "Once");
    host.reset("ForceRestart").await;
    assert_eq!(host.get("Systems/1").await["Boot"]["BootSourceOverrideEnabled"], "Disabled", "used up");
    console.hear("QEMU CD-ROM").await;
    assert!(images.asked().iter().all(|range| range.starts_with("bytes=")), "{:?}", images.asked());
    host.reset("ForceRestart").await;
    console.hear("Misc Device").await;
    host.eject().await;
    assert_eq!(host.get("Systems/1/VirtualMedia/1").await["Inserted"], false);
    host.reset("ForceOff").await;
    assert_eq!(host.get("Systems/1").await["PowerState"], "Off");
    assert!(host.serial_log().contains("QEMU CD-ROM"));
}

#[tokio::test]
async fn a_cd_is_booted_from_where_it_is_and_the_guest_s_own_reset_finds_the_disk() {
    let rig = bios(Guest::Hangs).await;
    let host = rig.host("a");
    let images = cd(Guest::Resets).await;
    let mut console = host.console();
    host.insert(&images.url).await;
    host.boot("Cd", "Once").await;
    host.reset("On").await;
    console.hear(FROM_CD).await;
    console.hear(FROM_DISK).await;
    let ranges = images.asked();
    assert!(!ranges.is_empty() && ranges.iter().all(|range| range.starts_with("bytes=")), "{ranges:?}");
    host.reset("ForceRestart").await;
    let said = console.hear(FROM_DISK).await;
    assert!(!said.contains(FROM_CD), "{said}");
}

#[tokio::test]
async fn continuous_stays_until_it_is_taken_back() {
    let rig = bios(Guest::Hangs).await;
    let host = rig.host("a");
    let images = cd(Guest::Resets).await;
    let mut console = host.console();
    host.insert(&images.url).await;
    host.boot("Cd", "Continuous").await;
    host.reset("On").await;
    for _ in 0..2 {
        let said = console.hear(FROM_CD).await;
        assert!(!said.contains(FROM_DISK), "{said}");
    }
    host.boot("None", "Disabled").await;
    console.hear(FROM_DISK).await;
}

#[tokio::test]
async fn a_graceful_request_reaches_the_guest_and_its_own_end_is_seen() {
    let rig = bios(Guest::WaitsForButton).await;
    let host = rig.host("a");
    let mut console = host.console();
    host.reset("On").await;
    console.hear(FROM_DISK).await;
    host.reset("GracefulRestart").await;
    console.hear(FROM_DISK).await;
    host.reset("GracefulShutdown").await;
    host.until("power off", |status| status.power == scute_bmc::Power::Off).await;
    assert_eq!(host.get("Systems/1").await["PowerState"], "Off");
}

#[tokio::test]
async fn an_image_that_cannot_be_read_is_refused_and_keeps_no_host_from_its_disk() {
    let rig = bios(Guest::Hangs).await;
    let host = rig.host("a");
    let mut console = host.console();
    let dead = common::nobody().await;
    let insert = "Systems/1/VirtualMedia/1/Actions/VirtualMedia.InsertMedia";
    let (status, _) = host.ask("POST", insert, json!({"Image": "nfs://192.0.2.1/a.iso"})).await;
    assert!(status.is_client_error() || status.is_server_error(), "{status}");
    // Off, nothing looks at it.
    host.insert(&dead).await;
    host.boot("Cd", "Once").await;
    host.reset("On").await;
    console.hear(FROM_DISK).await;
    host.eject().await;
    let (status, answer) = host.ask("POST", insert, json!({"Image": dead})).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer}");
    assert_eq!(host.get("Systems/1/VirtualMedia/1").await["Inserted"], false);
}

#[tokio::test]
async fn hosts_survive_a_restart_of_the_rack() {
    let rig = bios(Guest::Hangs).await;
    let images = cd(Guest::Hangs).await;
    let host = rig.host("a");
    let mut console = host.console();
    host.reset("On").await;
    console.hear(FROM_DISK).await;
    host.insert(&images.url).await;
    host.boot("Cd", "Continuous").await;
    let (before, known_by) = (host.get("Systems/1").await, certificate(&rig));
    drop(host);
    let rig = rig.restarted().await;
    let host = rig.host("a");
    let mut console = host.console();
    console.hear(FROM_CD).await;
    let after = host.get("Systems/1").await;
    for known in ["UUID", "SerialNumber", "PowerState", "Boot"] {
        assert_eq!(after[known], before[known], "{known}");
    }
    assert_eq!(host.get("Systems/1/VirtualMedia/1").await["Image"], images.url);
    assert_eq!(certificate(&rig), known_by);
}
