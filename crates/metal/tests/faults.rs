//! What goes wrong on the way, and what is asked for by annotations.

mod support;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use scute_api::metal3::{
    BareMetalHost, ErrorType, OperationalStatus, ProvisioningState as State, STATUS_ANNOTATION, read_status,
};
use scute_bmc::{BootDevice, Fault, Machine as _, Power, Rule};
use serde_json::{Value, json};
use support::{Bench, Images, Rig, bare, content, error, said};

fn count(host: &BareMetalHost) -> i64 {
    host.status.as_ref().map(|status| status.error_count).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_missing_or_wrong_are_told_and_mended() {
    let (bench, rig) = (Bench::new("credentials").await, Rig::new(11));
    bench.host("a", &rig.address, bare(&rig.mac)).await;
    let host = bench.until("a", "without a Secret", |host| error(host).is_some()).await;
    let (kind, why) = error(&host).unwrap();
    assert!(kind == ErrorType::Registration && why.contains("is missing"), "{why}");
    assert!(rig.bmc.take_requests().is_empty(), "nothing to ask the BMC with");

    bench.credentials("a", "guessed").await;
    let host =
        bench.until("a", "refused", |host| error(host).is_some_and(|(_, why)| why.contains("refuses"))).await;
    let (_, why) = error(&host).unwrap();
    assert!(!why.contains("guessed"), "{why}");
    let secrets: Api<Secret> = bench.api();
    let patch = json!({"stringData": {"password": support::PASSWORD}});
    secrets.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let host = bench.until_state("a", State::Available).await;
    assert_eq!((error(&host), count(&host)), (None, 0));
    let status = host.status.unwrap();
    assert_eq!(status.good_credentials, status.tried_credentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_told_with_its_digest() {
    let (bench, rig) = (Bench::new("tls").await, Rig::new(12));
    bench.credentials("a", support::PASSWORD).await;
    let mut more = bare(&rig.mac);
    more["bmc"] = json!({"address": rig.address, "credentialsName": "a"});
    bench.host("a", &rig.address, more).await;
    let host = bench.until("a", "not trusted", |host| error(host).is_some()).await;
    let (kind, why) = error(&host).unwrap();
    assert!(kind == ErrorType::Registration && why.contains("SHA-256") && why.contains("ca.crt"), "{why}");
    bench.patch("a", json!({"spec": {"bmc": {"disableCertificateVerification": true}}})).await;
    bench.until_state("a", State::Available).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_pinned_at_first_use() {
    let (bench, rig) = (Bench::new("pinned").await, Rig::new(23));
    bench.available(&rig, "a").await;
    let pinned = |host: &BareMetalHost| host.annotations().get("scute.dev/bmc-certificate").cloned();
    let host = bench.until("a", "pinned", |host| pinned(host).is_some()).await;
    let pin = pinned(&host).unwrap();
    let (place, print) = pin.split_once(' ').unwrap();
    assert!(rig.address.contains(place) && print.len() == 64, "{pin}");

    let annotate = |value: Value| json!({"metadata": {"annotations": {"scute.dev/bmc-certificate": value}}});
    let other = pin.replace(print, &"0".repeat(64));
    bench.patch("a", annotate(json!(other))).await;
    bench.patch("a", json!({"spec": {"online": true}})).await;
    let host = bench.until("a", "not trusted", |host| error(host).is_some()).await;
    let (kind, why) = error(&host).unwrap();
    assert!(
        kind == ErrorType::Registration && why.contains(print) && why.contains("bmc-certificate"),
        "{why}"
    );
    bench.patch("a", annotate(Value::Null)).await;
    let host =
        bench.until("a", "trusted again", |host| error(host).is_none() && pinned(host).is_some()).await;
    assert_eq!(pinned(&host), Some(pin));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_with_the_same_interface_waits_for_the_first() {
    let (bench, one, two) = (Bench::new("mac").await, Rig::new(13), Rig::new(14));
    bench.available(&one, "one").await;
    // Creation times are whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    bench.credentials("two", support::PASSWORD).await;
    let more = bare(&one.mac.to_uppercase());
    bench.host("two", &two.address, more).await;
    let host = bench.until("two", "in conflict", |host| error(host).is_some()).await;
    assert!(error(&host).unwrap().1.contains("conflicts with existing node"), "{:?}", error(&host));
    bench.delete("one").await;
    bench.until_state("two", State::Available).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_than_the_host_is_not_touched() {
    let (bench, rig) = (Bench::new("stranger").await, Rig::new(15));
    bench.credentials("a", support::PASSWORD).await;
    bench.host("a", &rig.address, json!({"bootMACAddress": "52:54:00:00:00:99"})).await;
    let host = bench.until("a", "recognised", |host| error(host).is_some()).await;
    let (kind, why) = error(&host).unwrap();
    assert!(kind == ErrorType::Inspection && why.contains("52:54:00:00:00:99"), "{why}");
    assert!(why.contains("52:54:00:5c:0f:00"), "{why}");
    assert!(rig.machine.disk().iter().all(|byte| *byte == 0xee));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_bmc_holds_a_deletion_up_for_a_minute_at_most_and_nobody_else() {
    let (bench, dead, live) = (Bench::new("dead").await, Rig::new(16), Rig::new(17));
    bench.available(&dead, "dead").await;
    // It takes connections, and never answers.
    dead.fault(Rule::always("", Fault::Hang));
    let begun = Instant::now();
    bench.delete("dead").await;
    bench.available(&live, "live").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "the other took {:?}", begun.elapsed());
    bench.gone("dead").await;
    assert!(begun.elapsed() < Duration::from_secs(62), "{:?}", begun.elapsed());
    let events = bench.events("dead").await;
    assert!(events.iter().any(|(reason, _)| reason == "PowerOffSkipped"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_another_digest_is_tried_five_times_and_again_when_it_is_changed() {
    let (bench, rig, images) = (Bench::new("digest").await, Rig::new(18), Images::open().await);
    bench.available(&rig, "a").await;
    let image = content(3 << 20);
    let (url, checksum) = images.put("node.raw", image.clone());
    let spec = |checksum: &str| {
        json!({"spec": {"image": {"url": url, "checksum": checksum, "format": "raw"},
            "rootDeviceHints": {"serialNumber": "disk-1"}}})
    };
    bench.patch("a", spec(&"0".repeat(64))).await;
    let tried = |host: &BareMetalHost| {
        support::state(host) == State::Available
            && said(host, "AvailableForProvisioning").contains("tried 5 times")
    };
    let host = bench.until("a", "given up", tried).await;
    let status = host.status.as_ref().unwrap();
    assert_eq!((status.provisioning_fail_count, status.error_type), (5, Some(ErrorType::Provisioning)));
    assert!(status.error_message.starts_with("Image provisioning failed (url: "), "{}", status.error_message);
    assert!(
        rig.machine.starts().iter().all(|start| start.medium.is_some() || start.device == BootDevice::Hdd)
    );

    // A file of digests this time.
    images.put("SHA256SUMS", format!("{checksum}  node.raw\n"));
    bench.patch("a", spec(&format!("{}/SHA256SUMS", images.url))).await;
    let host = bench.until_state("a", State::Provisioned).await;
    assert_eq!((error(&host), host.status.unwrap().provisioning_fail_count), (None, 0));
    assert!(rig.machine.disk()[512..image.len()] == image[512..]);

    // The same URL with another checksum is the same image, and none is deprovisioned.
    bench.patch("a", json!({"spec": {"image": null}})).await;
    bench.until_state("a", State::Available).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_is_waited_for_before_anything_is_written() {
    let (bench, rig, images) = (Bench::new("missing").await, Rig::new(19), Images::open().await);
    bench.available(&rig, "a").await;
    let (url, checksum) = images.put("node.raw", content(3 << 20));
    bench
        .patch(
            "a",
            json!({"spec": {"image": {"url": url, "checksum": checksum, "format": "raw"},
            "rootDeviceHints": {"serialNumber": "disk-1"}, "userData": {"name": "later"}}}),
        )
        .await;
    let host = bench.until("a", "waiting", |host| error(host).is_some()).await;
    assert!(error(&host).unwrap().1.contains("spec.userData is missing"));
    assert!(rig.machine.starts().iter().all(|start| start.medium.is_none()), "nothing was started");
    bench.create::<Secret>(json!({"metadata": {"name": "later"}, "stringData": {"userData": "x"}})).await;
    let host = bench.until_state("a", State::Provisioned).await;
    assert_eq!((error(&host), host.status.unwrap().provisioning_fail_count), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn power_follows_online_and_the_reboot_annotations() {
    let (bench, rig) = (Bench::new("power").await, Rig::new(20));
    bench.available(&rig, "a").await;
    let on = |host: &BareMetalHost| host.status.as_ref().is_some_and(|status| status.powered_on);
    bench.until("a", "on", on).await;
    bench.patch("a", json!({"spec": {"online": false}})).await;
    bench.until("a", "off", |host| !on(host)).await;
    assert_eq!(rig.machine.power(), Power::Off);
    bench.patch("a", json!({"spec": {"online": true}})).await;
    bench.until("a", "on again", on).await;

    // Somebody pulls the plug.
    tokio::task::block_in_place(|| rig.machine.lose_power());
    scute_testkit::until("on after a loss of power", || async {
        (rig.machine.power() == Power::On).then_some(())
    })
    .await;

    let starts = rig.machine.starts().len();
    bench.patch("a", json!({"metadata": {"annotations": {"reboot.metal3.io": r#"{"mode":"hard"}"#}}})).await;
    let again = |host: &BareMetalHost| {
        host.annotation("reboot.metal3.io").is_none() && on(host) && rig.machine.starts().len() == starts + 1
    };
    bench.until("a", "restarted", again).await;

    let hold = |value: Value| json!({"metadata": {"annotations": {"reboot.metal3.io/me": value}}});
    bench.patch("a", hold(json!(""))).await;
    bench.until("a", "held off", |host| !on(host)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.machine.power(), Power::Off, "for as long as it is there");
    bench.patch("a", hold(Value::Null)).await;
    bench.until("a", "on when it is gone", on).await;
}

/// What was under way may still come; after that nothing does.
async fn left_alone(rig: &Rig) {
    scute_testkit::until("two seconds without a request", || async {
        rig.bmc.take_requests();
        tokio::time::sleep(Duration::from_secs(2)).await;
        rig.bmc.take_requests().is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_paused_or_detached_is_left_alone() {
    let (bench, rig) = (Bench::new("alone").await, Rig::new(21));
    bench.available(&rig, "a").await;
    let note = |name: &str, value: Value| json!({"metadata": {"annotations": {name: value}}});
    bench.patch("a", note("baremetalhost.metal3.io/detached", json!("by me"))).await;
    let detached = |host: &BareMetalHost| {
        host.status.as_ref().is_some_and(|status| status.operational_status == OperationalStatus::Detached)
    };
    bench.until("a", "detached", detached).await;
    left_alone(&rig).await;
    let starts = rig.machine.starts().len();
    bench.patch("a", note("baremetalhost.metal3.io/detached", Value::Null)).await;
    bench.until("a", "back", |host| !detached(host) && said(host, "Manageable").starts_with("True")).await;
    assert_eq!(rig.machine.starts().len(), starts, "nothing is started for that");

    bench.patch("a", note("baremetalhost.metal3.io/paused", json!("metal3.io/capm3"))).await;
    bench.delete("a").await;
    left_alone(&rig).await;
    bench.until("a", "a deletion that waits", |host| host.metadata.deletion_timestamp.is_some()).await;
    bench.patch("a", note("baremetalhost.metal3.io/paused", Value::Null)).await;
    bench.gone("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_others_provisioned_and_one_that_was_moved_here_are_not_touched() {
    let (bench, rig) = (Bench::new("external").await, Rig::new(22));
    bench.credentials("a", support::PASSWORD).await;
    let mut more = bare(&rig.mac);
    more["automatedCleaningMode"] = json!("metadata");
    more["externallyProvisioned"] = json!(true);
    bench.host("a", &rig.address, more).await;
    bench.until_state("a", State::ExternallyProvisioned).await;
    let image = json!({"url": "http://images/node.raw", "checksum": "0".repeat(64), "format": "raw"});
    bench.patch("a", json!({"spec": {"externallyProvisioned": false, "image": image}})).await;
    let kept = |host: &BareMetalHost| host.annotation(STATUS_ANNOTATION).map(read_status);
    let keeps = |host: &BareMetalHost| {
        kept(host).is_some_and(|status| status.unwrap().provisioning.state == State::Provisioned)
    };
    let host = bench.until("a", "provisioned, with what a move brings", keeps).await;
    let annotations = host.metadata.annotations.clone().unwrap();
    assert!(rig.machine.starts().iter().all(|start| start.device == BootDevice::Hdd));
    // As clusterctl does, in its order.
    let away = json!([{"op": "add", "path": "/metadata/annotations",
        "value": {"clusterctl.cluster.x-k8s.io/delete-for-move": ""}}]);
    let away = Patch::<BareMetalHost>::Json(serde_json::from_value(away).unwrap());
    bench.api::<BareMetalHost>().patch("a", &Default::default(), &away).await.unwrap();
    bench.delete("a").await;
    let before = rig.machine.starts().len();
    bench.patch("a", json!({"metadata": {"finalizers": []}})).await;
    bench.gone("a").await;
    assert_eq!(rig.machine.starts().len(), before);

    let moved = json!({"metadata": {"name": "a", "annotations": annotations},
        "spec": {"online": true, "image": image, "bootMACAddress": rig.mac,
            "bmc": {"address": rig.address, "credentialsName": "a", "disableCertificateVerification": true}}});
    bench.create::<BareMetalHost>(moved).await;
    let back = |host: &BareMetalHost| {
        let taken = host
            .status
            .as_ref()
            .is_some_and(|status| !status.good_credentials.credentials_version.is_empty());
        keeps(host)
            && support::state(host) == State::Provisioned
            && (taken && said(host, "Manageable").starts_with("True"))
    };
    bench.until("a", "adopted", back).await;
    assert!(rig.machine.disk().iter().all(|byte| *byte == 0xee), "no byte of its disk is another");
    assert!(rig.machine.starts().iter().all(|start| start.device == BootDevice::Hdd));
}
