//! The life of a server.

mod support;

use k8s_openapi::api::core::v1::Secret;
use scute_api::metal3::{BareMetalHost, HardwareData, ProvisioningState as State, SECRET_FINALIZER};
use scute_bmc::{BootDevice, Machine as _, Power};
use serde_json::json;
use support::{Bench, Images, Rig, content, said};

/// Whether a disk has nothing that a firmware or a kernel would find.
fn is_clean(disk: &[u8]) -> bool {
    let ends = 1 << 20;
    disk[..ends].iter().chain(&disk[disk.len() - ends..]).all(|byte| *byte == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_inspected_cleaned_written_started_and_given_back() {
    let (bench, rig, images) = (Bench::new("life").await, Rig::new(1), Images::open().await);
    bench.credentials("server-1", support::PASSWORD).await;
    bench.host("server-1", &rig.address, json!({"bootMACAddress": "52:54:00:5c:01:00"})).await;

    let host = bench.until_state("server-1", State::Available).await;
    assert!(is_clean(&rig.machine.disk()), "an earlier owner's disk");
    let data = bench.api::<HardwareData>().get("server-1").await.unwrap();
    let found = data.spec.hardware.unwrap();
    assert_eq!(found.system_vendor.manufacturer, "Scute");
    assert_eq!(found.storage[0].serial_number, "disk-1");
    assert!(found.nics.iter().any(|nic| nic.pxe), "{:?}", found.nics);
    assert_eq!(host.status.clone().unwrap().hardware, Some(found));
    let secret = bench.api::<Secret>().get("server-1").await.unwrap();
    assert_eq!(secret.metadata.finalizers, Some(vec![SECRET_FINALIZER.to_owned()]));
    assert_eq!(secret.metadata.labels.unwrap()["environment.metal3.io"], "baremetal");

    bench
        .until("server-1", "on, as it shall be online", |host| host.status.as_ref().unwrap().powered_on)
        .await;
    let image = content(5 << 20);
    let (url, checksum) = images.put("node.raw", image.clone());
    let user_data = json!({"metadata": {"name": "join"}, "stringData": {"value": "#cloud-config\n{}\n"}});
    bench.create::<Secret>(user_data).await;
    bench
        .patch(
            "server-1",
            json!({"spec": {
                "image": {"url": url, "checksum": checksum, "format": "raw"},
                "rootDeviceHints": {"serialNumber": "disk-1"},
                "userData": {"name": "join"},
            }}),
        )
        .await;
    let host = bench.until_state("server-1", State::Provisioned).await;
    assert_eq!(host.status.as_ref().unwrap().provisioning.image, host.spec.image);
    assert!(said(&host, "Ready").starts_with("True"), "{host:#?}");
    let disk = rig.machine.disk();
    // The partition table is another: it has one more partition.
    assert!(disk[512..image.len()] == image[512..]);
    let holds = |text: &str| disk.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("#cloud-config\n{}\n") && holds("\"metal3-name\":\"server-1\""), "a config drive");
    let start = rig.machine.starts().pop().unwrap();
    assert_eq!((start.device, rig.machine.power()), (BootDevice::Hdd, Power::On));
    assert_eq!(rig.machine.medium(), None);
    assert!(rig.machine.starts().iter().filter(|start| start.device == BootDevice::Cd).count() == 2);

    bench.delete("server-1").await;
    bench.gone("server-1").await;
    assert!(is_clean(&rig.machine.disk()), "the next owner's disk");
    assert_eq!((rig.machine.power(), rig.machine.medium()), (Power::Off, None));
    scute_testkit::eventually_gone(bench.api::<HardwareData>(), "server-1").await;
    let secret = bench.api::<Secret>().get("server-1").await.unwrap();
    assert_eq!(secret.metadata.finalizers, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_bmc_is_discovered_and_goes_on_when_it_has_one() {
    let (bench, rig) = (Bench::new("discovered").await, Rig::new(2));
    let host = json!({"metadata": {"name": "server-2"}, "spec": {"online": false}});
    bench.create::<BareMetalHost>(host).await;
    let host = bench.until_state("server-2", State::Unmanaged).await;
    assert_eq!(json!(host.status.unwrap().operational_status), json!("discovered"));
    bench.credentials("server-2", support::PASSWORD).await;
    let bmc = json!({"address": rig.address, "credentialsName": "server-2", "disableCertificateVerification": true});
    bench.patch("server-2", json!({"spec": {"bmc": bmc}})).await;
    bench.until_state("server-2", State::Available).await;
    assert_eq!(rig.machine.power(), Power::Off, "it shall not be online");
}
