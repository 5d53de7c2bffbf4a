//! A host is deleted, whatever it was about to become: nothing is left of it, and its server is off.

mod support;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use scute_api::metal3::{BareMetalHost, HardwareData, ProvisioningState as State};
use scute_bmc::{Fault, Machine as _, Power, Rule};
use serde_json::{Value, json};
use support::{Bench, Images, Rig, content, error, state};

/// A host that stays in a state, and what keeps it there.
struct Held {
    name: &'static str,
    within: State,
    rig: Rig,
}

impl Held {
    async fn new(bench: &Bench, rig: Rig, name: &'static str, within: State, more: Value) -> Self {
        bench.credentials(name, support::PASSWORD).await;
        let mut spec = support::bare(&rig.mac);
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bench.host(name, &rig.address, spec).await;
        Self { name, within, rig }
    }

    async fn deleted(self, bench: &Bench) {
        let Self { name, within, rig } = self;
        let there = |host: &BareMetalHost| state(host) == within;
        bench.until(name, &format!("{within:?}"), there).await;
        bench.delete(name).await;
        // What held it up has an end.
        rig.bmc.clear_faults();
        bench.gone(name).await;
        assert_eq!(rig.machine.medium(), None, "{name}: no medium");
        // One that nobody has registered is nobody's.
        if within != State::Registering {
            assert_eq!(rig.machine.power(), Power::Off, "{name}");
        }
        let secret = bench.api::<Secret>().get(name).await.unwrap();
        assert_eq!(secret.metadata.finalizers, None, "{name}");
        let left = bench.api::<Secret>().get_opt(&format!("{name}-agent")).await.unwrap();
        assert!(left.is_none(), "{name}: the Secret of its last start is still there");
        let left = bench.api::<HardwareData>().get_opt(name).await.unwrap();
        assert!(left.is_none(), "{name}: HardwareData");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_deleted_in_every_state() {
    let (bench, images) = (Bench::new("deleted").await, Images::open().await);
    let (url, checksum) = images.put("node.raw", content(3 << 20));
    let _half = images.stall("node.raw", 1 << 20);
    let (whole, _) = images.put("whole.raw", content(3 << 20));
    let image = |url: &str| {
        json!({"image": {"url": url, "checksum": checksum, "format": "raw"},
            "rootDeviceHints": {"serialNumber": "disk-1"}})
    };
    let cleaned = json!({"automatedCleaningMode": "metadata"});
    let inspected = json!({"automatedCleaningMode": "metadata", "inspectionMode": "agent"});

    let (away, no_ramdisk, no_eject) = (Rig::new(41), Rig::new(42), Rig::new(43));
    away.cut_off();
    no_ramdisk.machine.break_cd(true);
    no_eject.fault(Rule::always("EjectMedia", Fault::http(503)));
    let mut held = vec![
        Held::new(&bench, away, "registering", State::Registering, json!({})).await,
        Held::new(&bench, no_ramdisk, "inspecting", State::Inspecting, inspected).await,
        Held::new(&bench, no_eject, "preparing", State::Preparing, cleaned.clone()).await,
        Held::new(&bench, Rig::new(44), "available", State::Available, json!({})).await,
        Held::new(&bench, Rig::new(45), "provisioning", State::Provisioning, image(&url)).await,
        Held::new(&bench, Rig::new(46), "provisioned", State::Provisioned, image(&whole)).await,
    ];
    let external = json!({"externallyProvisioned": true});
    held.push(Held::new(&bench, Rig::new(47), "external", State::ExternallyProvisioned, external).await);
    let mut going =
        Held::new(&bench, Rig::new(48), "deprovisioning", State::Provisioned, image(&whole)).await;
    bench.until_state("deprovisioning", State::Provisioned).await;
    going.rig.machine.break_cd(true);
    going.within = State::Deprovisioning;
    held.push(going);
    bench
        .patch("deprovisioning", json!({"spec": {"image": null, "automatedCleaningMode": "metadata"}}))
        .await;
    join_all(held.into_iter().map(|held| held.deleted(&bench))).await;
    let events = bench.events("deprovisioning").await;
    assert!(events.iter().any(|(reason, _)| reason == "CleaningSkipped"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_without_a_bmc_or_without_credentials_go_at_once() {
    let bench = Bench::new("nothing").await;
    let plain = json!({"metadata": {"name": "plain"}, "spec": {"online": false}});
    bench.create::<BareMetalHost>(plain).await;
    bench.until_state("plain", State::Unmanaged).await;
    bench.host("keyless", "redfish://127.0.0.1:1", support::bare("52:54:00:00:00:49")).await;
    bench.until("keyless", "told", |host| error(host).is_some()).await;
    for name in ["plain", "keyless"] {
        bench.delete(name).await;
        bench.gone(name).await;
    }
}
