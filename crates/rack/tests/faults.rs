//! Faults of power, disks and passwords on a host that runs.

mod common;

use axum::http::StatusCode;
use common::{Client, Rig};
use scute_bmc::Power;
use scute_qemu::bootsector::{self, Guest};
use scute_rack::fault::{At, Fault};
use scute_rack::{Firmware, Shape};
use serde_json::Value;

const SYSTEM: &str = "Systems/1";
/// In the second sector.
const WRITTEN: At = At { disk: 0, offset: 700 };

/// A host whose guest writes the second sector of its disk and powers off.
async fn writes() -> Rig {
    let shape =
        Shape { firmware: Firmware::Bios, memory_mib: 256, disks_mib: vec![1, 1], ..Shape::default() };
    let rig = Rig::new(&[shape]).await;
    std::fs::write(common::path(&rig, "a/disk-0.raw"), bootsector::disk(Guest::WritesDisk, "up")).unwrap();
    rig
}

/// Starts the host and waits until it is off again; whether the second sector was written.
async fn runs(rig: &Rig, host: &Client) -> bool {
    let mut console = host.console();
    host.reset("On").await;
    console.hear("up").await;
    host.until("power off", |status| status.power == Power::Off).await;
    let disk = std::fs::read(common::path(rig, "a/disk-0.raw")).unwrap();
    disk[512..1024] == disk[..512]
}

#[tokio::test]
async fn the_power_goes_before_a_byte_is_written_and_once() {
    let rig = writes().await;
    let host = rig.host("a");
    host.fault(Fault::PowerCut(WRITTEN)).await.unwrap();
    assert!(!runs(&rig, &host).await, "the power was there for the write");
    assert_eq!(host.get(SYSTEM).await["PowerState"], "Off");
    assert!(runs(&rig, &host).await, "the power went twice");
}

#[tokio::test]
async fn a_sector_fails_until_it_is_healed() {
    let rig = writes().await;
    let host = rig.host("a");
    host.fault(Fault::DiskError(WRITTEN)).await.unwrap();
    for _ in 0..2 {
        assert!(!runs(&rig, &host).await, "the sector was written");
    }
    // The other disk is another disk.
    host.fault(host.cleared()).await.unwrap();
    host.fault(Fault::DiskError(At { disk: 1, ..WRITTEN })).await.unwrap();
    assert!(runs(&rig, &host).await, "the sector fails still");
    let refused = host.fault(Fault::DiskError(At { disk: 2, offset: 0 })).await.unwrap_err();
    assert_eq!(refused, "there is no disk 2");
    let refused = host.fault(Fault::PowerCut(At { disk: 1, offset: 1 << 20 })).await.unwrap_err();
    assert_eq!(refused, "byte 1048576: disk 1 has 1048576");
}

/// A host that runs and writes nothing meets the same faults.
#[tokio::test]
async fn a_disk_fails_and_heals_while_the_host_runs() {
    let rig = writes().await;
    std::fs::write(common::path(&rig, "a/disk-0.raw"), bootsector::disk(Guest::Hangs, "up")).unwrap();
    let host = rig.host("a");
    let mut console = host.console();
    host.reset("On").await;
    console.hear("up").await;
    // The boot sector cannot be read any more.
    host.fault(Fault::DiskError(At { disk: 0, offset: 0 })).await.unwrap();
    host.reset("ForceRestart").await;
    console.hear("No bootable device").await;
    host.fault(host.cleared()).await.unwrap();
    host.reset("ForceRestart").await;
    console.hear("up").await;
}

#[tokio::test]
async fn power_is_slow_until_it_is_cleared() {
    let rig = writes().await;
    let host = rig.host("a");
    host.fault(Fault::SlowPower { seconds: 1 }).await.unwrap();
    let asked = tokio::time::Instant::now();
    host.reset("On").await;
    assert_eq!(host.get(SYSTEM).await["PowerState"], "Off");
    host.until("power", |status| status.power == Power::On).await;
    assert!(asked.elapsed().as_secs() >= 1);
    host.fault(host.cleared()).await.unwrap();
    host.reset("ForceOff").await;
    assert_eq!(host.get(SYSTEM).await["PowerState"], "Off");
}

#[tokio::test]
async fn wrong_passwords_lock_the_right_one_out_until_it_is_cleared() {
    let rig = writes().await;
    let host = rig.host("a");
    host.fault(Fault::LockOut { after: 2, seconds: 3600 }).await.unwrap();
    let guess = host.with_password("guess");
    for _ in 0..2 {
        assert_eq!(guess.ask("GET", SYSTEM, Value::Null).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(host.ask("GET", SYSTEM, Value::Null).await.0, StatusCode::UNAUTHORIZED);
    host.fault(host.cleared()).await.unwrap();
    assert_eq!(host.ask("GET", SYSTEM, Value::Null).await.0, StatusCode::OK);
}
