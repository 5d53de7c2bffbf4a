//! What a host says of itself, and a disc in its drive.

mod support;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use scute_api::metal3::{BareMetalHost, DataImage, ErrorType, ProvisioningState as State};
use scute_bmc::{BootDevice, BootMode, Fault, Machine as _, Power, Reset, Rule};
use serde_json::{Value, json};
use support::{Bench, Images, Rig, content, error, state};

#[tokio::test(flavor = "multi_thread")]
async fn a_ramdisk_has_the_static_address_that_it_is_given() {
    let (bench, rig) = (Bench::new("address").await, Rig::new(61));
    bench.credentials("a", support::PASSWORD).await;
    let spec = json!({"bootMACAddress": rig.mac, "preprovisioningNetworkDataName": "net"});
    bench.host("a", &rig.address, spec).await;
    let told = |word: &'static str| {
        move |host: &BareMetalHost| error(host).is_some_and(|(_, why)| why.contains(word))
    };
    let host = bench.until("a", "without the Secret", told("is missing")).await;
    let (kind, why) = error(&host).unwrap();
    assert!(kind == ErrorType::Inspection && why.contains("spec.preprovisioningNetworkDataName"), "{why}");
    assert!(rig.machine.starts().is_empty());

    let network = |mask: &str| {
        json!({"links": [{"id": "nic", "type": "phy", "ethernet_mac_address": rig.mac}],
            "networks": [{"id": "n", "type": "ipv4", "link": "nic", "ip_address": "192.0.2.5", "netmask": mask,
                "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}]}],
            "services": [{"type": "dns", "address": "192.0.2.53"}]})
        .to_string()
    };
    let secret =
        |mask: &str| json!({"metadata": {"name": "net"}, "stringData": {"networkData": network(mask)}});
    bench.create::<Secret>(secret("255.0.255.0")).await;
    bench.until("a", "refused", told("networks[0].netmask")).await;
    let secrets: Api<Secret> = bench.api();
    let patch = kube::api::Patch::Merge(secret("255.255.255.0"));
    secrets.patch("net", &Default::default(), &patch).await.unwrap();
    let host = bench.until_state("a", State::Available).await;
    assert_eq!(error(&host), None);
    let addresses: Vec<_> =
        rig.machine.parameters().unwrap().addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, [format!("{},192.0.2.5/24,192.0.2.1,192.0.2.53", rig.mac)]);
}

fn with_image(rig: &Rig, url: &str, checksum: &str, more: &Value) -> Value {
    let mut spec = json!({"bootMACAddress": rig.mac, "rootDeviceHints": {"serialNumber": "disk-1"},
        "image": {"url": url, "checksum": checksum, "format": "raw"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_host_is_always_started_by_bios() {
    let (bench, rig, images) = (Bench::new("legacy").await, Rig::new(62), Images::open().await);
    let (url, checksum) = images.put("node.raw", content(3 << 20));
    bench.credentials("a", support::PASSWORD).await;
    bench.host("a", &rig.address, with_image(&rig, &url, &checksum, &json!({"bootMode": "legacy"}))).await;
    let host = bench.until_state("a", State::Provisioned).await;
    assert_eq!(json!(host.status.unwrap().provisioning.boot_mode), json!("legacy"));
    let ours = |start: &&scute_bmc::memory::Start| start.medium.is_some() || start.device == BootDevice::Cd;
    let starts = rig.machine.starts();
    assert!(starts.iter().filter(ours).all(|start| start.mode == BootMode::Legacy), "{starts:?}");
    let last = starts.last().unwrap();
    assert_eq!((last.device, last.mode), (BootDevice::Hdd, BootMode::Legacy));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_disable_power_off_is_only_ever_restarted() {
    let (bench, rig, images) = (Bench::new("never-off").await, Rig::new(63), Images::open().await);
    let (url, checksum) = images.put("node.raw", content(3 << 20));
    bench.credentials("a", support::PASSWORD).await;
    let never = json!({"disablePowerOff": true});
    bench.host("a", &rig.address, with_image(&rig, &url, &checksum, &never)).await;
    bench.until_state("a", State::Provisioned).await;
    let starts = rig.machine.starts().len();
    let reboot = json!({"metadata": {"annotations": {"reboot.metal3.io": r#"{"mode":"hard"}"#}}});
    bench.patch("a", reboot).await;
    bench.until("a", "restarted", |host| host.annotation("reboot.metal3.io").is_none()).await;
    assert!(rig.machine.starts().len() > starts);
    bench.patch("a", json!({"spec": {"image": null}})).await;
    bench.until_state("a", State::Available).await;
    bench.delete("a").await;
    bench.gone("a").await;
    let off = [Reset::ForceOff, Reset::GracefulShutdown];
    let resets = rig.machine.resets();
    assert!(resets.iter().all(|reset| !off.contains(reset)), "{resets:?}");
    assert_eq!((rig.machine.power(), rig.machine.medium()), (Power::On, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disc_is_changed_when_a_running_host_is_powered_off_and_on() {
    let (bench, rig) = (Bench::new("disc").await, Rig::new(64));
    bench.credentials("a", support::PASSWORD).await;
    let mut spec = support::bare(&rig.mac);
    spec["externallyProvisioned"] = json!(true);
    bench.host("a", &rig.address, spec).await;
    let on = |host: &BareMetalHost| host.status.as_ref().is_some_and(|status| status.powered_on);
    bench.until("a", "on", on).await;
    let url = "http://192.0.2.9/tools.iso";
    bench.create::<DataImage>(json!({"metadata": {"name": "a"}, "spec": {"url": url}})).await;
    let disc = |what: &'static str, is: fn(&DataImage) -> bool| {
        scute_testkit::eventually(bench.api::<DataImage>(), "a", what, is)
    };
    disc("kept", |image| !image.metadata.finalizers.as_deref().unwrap_or_default().is_empty()).await;
    assert_eq!(rig.machine.medium(), None, "not while it runs");

    rig.fault(Rule::always("InsertMedia", Fault::http(400)));
    reboot_until_off(&bench).await;
    let image = disc("refused", |image| {
        image.status.as_ref().is_some_and(|status| status.error.as_ref().is_some_and(|error| error.count > 0))
    })
    .await;
    assert_eq!(image.status.unwrap().attached_image, None);
    rig.bmc.clear_faults();
    let attached = |image: &DataImage| {
        image.status.as_ref().is_some_and(|status| status.attached_image.is_some() && status.error.is_none())
    };
    disc("in the drive", attached).await;
    assert_eq!(rig.machine.medium().as_deref(), Some(url));

    bench.api::<DataImage>().delete("a", &DeleteParams::default()).await.unwrap();
    reboot_until_off(&bench).await;
    scute_testkit::eventually_gone(bench.api::<DataImage>(), "a").await;
    assert_eq!(rig.machine.medium(), None);
    bench.until("a", "on again", on).await;
}

/// Asks for a restart, and waits for its first half.
async fn reboot_until_off(bench: &Bench) {
    let asked = json!({"metadata": {"annotations": {"reboot.metal3.io": r#"{"mode":"hard"}"#}}});
    bench.patch("a", asked).await;
    let off = |host: &BareMetalHost| host.status.as_ref().is_some_and(|status| !status.powered_on);
    let host = bench.until("a", "off", off).await;
    assert_eq!(state(&host), State::ExternallyProvisioned);
}
