//! What a host needs is away for a while, or is not what it was.

mod support;

use scute_api::metal3::{BareMetalHost, ErrorType, ProvisioningState as State};
use scute_bmc::{BootDevice, Fault, Rule};
use serde_json::{Value, json};
use support::{Bench, DISK, Images, Rig, content, error, said, state};

const INSERT: &str = "InsertMedia";
const EJECT: &str = "EjectMedia";

/// What becomes of a host whose BMC is away in a state, and comes back with a storm of 503.
async fn survives(bench: &Bench, rig: &Rig, within: State, kind: ErrorType) {
    let is = |host: &BareMetalHost| state(host) == within && error(host).is_some();
    bench.until("a", &format!("held up in {within:?}"), is).await;
    rig.cut_off();
    let away = |host: &BareMetalHost| {
        state(host) == within
            && error(host).is_some_and(|(told, why)| told == kind && why.contains("does not answer"))
    };
    bench.until("a", &format!("without its BMC in {within:?}"), away).await;
    rig.bmc.clear_faults();
    rig.fault(Rule::times(3, "", Fault::http(503)));
    rig.come_back();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_every_state_the_bmc_may_be_away_and_come_back_with_a_storm() {
    let (bench, rig, images) = (Bench::new("away").await, Rig::new(31), Images::open().await);
    let refuse = |what: &str| rig.fault(Rule::always(what, Fault::http(503)));
    rig.cut_off();
    bench.credentials("a", support::PASSWORD).await;
    bench.host("a", &rig.address, json!({"bootMACAddress": rig.mac})).await;
    survives(&bench, &rig, State::Registering, ErrorType::Registration).await;
    refuse(INSERT);
    survives(&bench, &rig, State::Inspecting, ErrorType::Registration).await;
    refuse(EJECT);
    survives(&bench, &rig, State::Preparing, ErrorType::Registration).await;
    bench.until_state("a", State::Available).await;
    refuse("");
    survives(&bench, &rig, State::Available, ErrorType::Registration).await;
    bench.until("a", "well", |host| error(host).is_none()).await;

    refuse(INSERT);
    let (url, checksum) = images.put("node.raw", content(3 << 20));
    let image = json!({"url": url, "checksum": checksum, "format": "raw"});
    let spec = json!({"image": image, "rootDeviceHints": {"serialNumber": "disk-1"}});
    bench.patch("a", json!({"spec": spec})).await;
    survives(&bench, &rig, State::Provisioning, ErrorType::Registration).await;
    let host = bench.until_state("a", State::Provisioned).await;
    assert_eq!(host.status.unwrap().provisioning_fail_count, 0, "the image is not to blame");
    refuse("");
    survives(&bench, &rig, State::Provisioned, ErrorType::ProvisionedRegistration).await;
    bench.until("a", "well", |host| error(host).is_none()).await;

    refuse(INSERT);
    bench.patch("a", json!({"spec": {"image": null}})).await;
    survives(&bench, &rig, State::Deprovisioning, ErrorType::Registration).await;
    let host = bench.until_state("a", State::Available).await;
    assert_eq!(error(&host), None);
}

fn provisioned_from(url: &str, checksum: &str) -> Value {
    let image = json!({"url": url, "checksum": checksum, "format": "raw"});
    json!({"spec": {"image": image, "rootDeviceHints": {"serialNumber": "disk-1"}}})
}

/// Waits for the third megabyte of the image.
async fn half_is_on_the_disk(rig: &Rig, image: &[u8]) {
    scute_testkit::until("half of it is on the disk", || async {
        let disk = rig.machine.disk();
        (disk[2 << 20..3 << 20] == image[2 << 20..3 << 20]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_server_that_goes_away_is_told_and_half_an_image_never_boots() {
    let (bench, rig, images) = (Bench::new("half").await, Rig::new(32), Images::open().await);
    bench.available(&rig, "a").await;
    let image = content(8 << 20);
    let (url, checksum) = images.put("node.raw", image.clone());
    let half = images.stall("node.raw", 4 << 20);
    let before = rig.machine.starts().len();
    bench.patch("a", provisioned_from(&url, &checksum)).await;
    half_is_on_the_disk(&rig, &image).await;
    images.remove("node.raw");
    half.cut();
    let host = bench.until("a", "told", |host| error(host).is_some()).await;
    let (kind, why) = error(&host).unwrap();
    assert!(kind == ErrorType::Provisioning && why.contains(&url) && why.contains("404"), "{why}");
    assert!(rig.machine.disk()[..512].iter().all(|byte| *byte == 0), "nothing that a firmware would start");

    images.put("node.raw", image.clone());
    let host = bench.until_state("a", State::Provisioned).await;
    assert_eq!((error(&host), host.status.unwrap().provisioning_fail_count), (None, 0));
    assert!(rig.machine.disk()[512..image.len()] == image[512..]);
    let starts = rig.machine.starts().split_off(before);
    let disk = starts.iter().position(|start| start.device == BootDevice::Hdd);
    assert_eq!(disk, Some(starts.len() - 1), "from the disk only at the end: {starts:?}");
}

/// The conditions of a host that say this.
fn conditions(host: &BareMetalHost, words: &str) -> usize {
    let all = host.status.iter().flat_map(|status| &status.conditions);
    all.filter(|condition| condition.message.contains(words)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_in_the_middle_of_a_write_is_cleaned_up_and_half_an_image_never_boots() {
    let (bench, rig, images) = (Bench::new("cut").await, Rig::new(90), Images::open().await);
    bench.available(&rig, "a").await;
    let image = content(8 << 20);
    let (url, checksum) = images.put("node.raw", image.clone());
    let _half = images.stall("node.raw", 4 << 20);
    let before = rig.machine.starts().len();
    let mut spec = provisioned_from(&url, &checksum);
    spec["spec"]["automatedCleaningMode"] = json!("metadata");
    bench.patch("a", spec).await;
    half_is_on_the_disk(&rig, &image).await;
    tokio::task::block_in_place(|| rig.machine.lose_power());
    assert!(rig.machine.disk()[..512].iter().all(|byte| *byte == 0), "nothing that a firmware would start");
    images.put("node.raw", image.clone());
    let failed = |host: &BareMetalHost| error(host).is_some_and(|(kind, _)| kind == ErrorType::Provisioning);
    bench.until("a", "told", failed).await;

    let host = bench.until_state("a", State::Provisioned).await;
    assert_eq!((error(&host), host.status.unwrap().provisioning_fail_count), (None, 0));
    assert!(rig.machine.disk()[512..image.len()] == image[512..]);
    let starts = rig.machine.starts().split_off(before);
    let (disk, agents) = starts.split_last().unwrap();
    assert!(disk.device == BootDevice::Hdd, "{starts:?}");
    assert!(agents.iter().all(|start| start.device == BootDevice::Cd), "no half image: {starts:?}");
    assert!(agents.len() >= 3, "written, cleaned, written: {starts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_told_by_its_name_and_place() {
    let (bench, rig, images) = (Bench::new("disk").await, Rig::new(91), Images::open().await);
    bench.available(&rig, "a").await;
    let image = content(12 << 20);
    let (url, checksum) = images.put("node.raw", image.clone());
    let failing = rig.machine.disk_that_fails(8 << 20);
    bench.patch("a", provisioned_from(&url, &checksum)).await;
    let told = "the disk refuses to be written at byte";
    let host = bench.until("a", "told", |host| error(host).is_some() && conditions(host, told) > 0).await;
    let (kind, why) = error(&host).unwrap();
    assert!(kind == ErrorType::Provisioning && why.contains("(disk /dev/vda)"), "{why}");
    assert!(conditions(&host, "(disk /dev/vda)") > 0, "{:?}", host.status);

    // A new one in its place.
    drop(failing);
    bench.until_state("a", State::Provisioned).await;
    assert!(rig.machine.disk()[512..image.len()] == image[512..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_that_fit_no_disk_are_told_with_the_disks_and_better_ones_are_tried_at_once() {
    let (bench, rig, images) = (Bench::new("hints").await, Rig::new(33), Images::open().await);
    bench.available(&rig, "a").await;
    let (url, checksum) = images.put("node.raw", content(3 << 20));
    let mut spec = provisioned_from(&url, &checksum);
    spec["spec"]["rootDeviceHints"]["serialNumber"] = json!("disk-7");
    bench.patch("a", spec).await;
    let given_up = |host: &BareMetalHost| said(host, "AvailableForProvisioning").contains("tried 5 times");
    let host = bench.until("a", "given up", given_up).await;
    let (kind, why) = error(&host).unwrap();
    assert!(
        kind == ErrorType::Provisioning && why.contains("rootDeviceHints") && why.contains("disk-1"),
        "{why}"
    );
    bench.patch("a", json!({"spec": {"rootDeviceHints": {"serialNumber": "disk-1"}}})).await;
    let host = bench.until_state("a", State::Provisioned).await;
    assert_eq!((error(&host), host.status.unwrap().provisioning_fail_count), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hosts_with_one_bmc_the_second_waits_for_the_first() {
    let (bench, rig) = (Bench::new("rivals").await, Rig::new(34));
    bench.available(&rig, "one").await;
    // Creation times are whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    bench.credentials("two", support::PASSWORD).await;
    let mut spec = support::bare("52:54:00:00:00:34");
    spec["inspectionMode"] = json!("agent");
    bench.host("two", &rig.address.replace("redfish-virtualmedia", "redfish"), spec).await;
    let host = bench.until("two", "in conflict", |host| error(host).is_some()).await;
    let (kind, why) = error(&host).unwrap();
    assert!(kind == ErrorType::Registration && why.contains("conflicts with existing node one"), "{why}");
    assert!(why.contains("spec.bmc.address"), "{why}");
    bench.delete("one").await;
    bench.gone("one").await;
    let registered = |host: &BareMetalHost| said(host, "Manageable").starts_with("True");
    bench.until("two", "registered, as the other is gone", registered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_as_another_is_not_touched() {
    let (bench, rig, images) = (Bench::new("serial").await, Rig::new(35), Images::open().await);
    bench.credentials("a", support::PASSWORD).await;
    bench.host("a", &rig.address, json!({"bootMACAddress": rig.mac})).await;
    let host = bench.until_state("a", State::Available).await;
    assert_eq!(host.status.unwrap().hardware.unwrap().system_vendor.serial_number, "server-1");

    // The same interface in another server.
    rig.machine.file("sys/class/dmi/id/product_serial", b"server-2\n");
    rig.machine.file("dev/vda", &vec![0xee; DISK]);
    let (url, checksum) = images.put("node.raw", content(3 << 20));
    bench.patch("a", provisioned_from(&url, &checksum)).await;
    let host = bench.until("a", "recognised", |host| error(host).is_some()).await;
    let (_, why) = error(&host).unwrap();
    assert!(why.contains("server-2") && why.contains("server-1"), "{why}");
    bench.delete("a").await;
    bench.gone("a").await;
    assert!(rig.machine.disk().iter().all(|byte| *byte == 0xee), "neither written nor cleaned");
    let events = bench.events("a").await;
    assert!(events.iter().any(|(reason, _)| reason == "CleaningSkipped"), "{events:?}");
}
