//! The whole life of a host, over HTTPS, on each profile and with each quirk: it is identified, installed from virtual media
//! and started from its disk. The host itself tells what it booted.

mod common;

use common::{Rig, connector, free};
use scute_bmc::memory::Start;
use scute_bmc::{BootDevice as Booted, BootMode as Mode, Machine, Power as Is};
use scute_redfish::{Bmc, BootDevice, BootMode, NextBoot, Power, PowerAction};

const IMAGE: &str = "http://192.0.2.1/agent.iso";
const OTHER: &str = "http://192.0.2.1/other.iso";

const CD: NextBoot = NextBoot { device: BootDevice::Cd, mode: BootMode::Uefi, attempt: 0 };

async fn lives(profile: &str, knobs: &[&str]) {
    let rig = Rig::new(profile, knobs);
    let connector = connector();
    let bmc = rig.open(&connector);
    let identity = free(async || bmc.identify().await).await;
    assert_eq!(identity.uuid.as_deref(), Some(rig.machine.facts().uuid.as_str()));
    assert_eq!(identity.serial.as_deref(), Some("SCUTE0007"));
    assert_eq!(identity.state.power, Power::Off);

    // Something was left in the drive.
    free(async || bmc.insert(OTHER).await).await;
    assert_eq!(rig.machine.medium().as_deref(), Some(OTHER));
    free(async || bmc.insert(IMAGE).await).await;
    assert_eq!(rig.machine.medium().as_deref(), Some(IMAGE));
    assert!(free(async || bmc.inserted().await).await.iter().any(|image| image == IMAGE));
    installs(&rig, bmc.as_ref(), CD).await;
    assert_eq!(free(async || bmc.state().await).await.power, Power::On);
    // The agent has written the disk and restarts.
    rig.machine.guest_restarts();
    free(async || bmc.eject().await).await;
    assert_eq!(rig.machine.medium(), None);
    assert_eq!(free(async || bmc.inserted().await).await, Vec::<String>::new());
    free(async || bmc.power(PowerAction::ForceOff).await).await;
    assert_eq!(rig.machine.power(), Is::Off);

    let cd = Start { device: Booted::Cd, mode: Mode::Uefi, medium: Some(IMAGE.into()) };
    let disk = Start { device: Booted::Hdd, mode: Mode::Uefi, medium: None };
    assert_eq!(rig.machine.starts(), [cd, disk], "{profile} {knobs:?}");
    free(async || bmc.close().await).await;
    assert_eq!(rig.service.sessions(), 0, "a session was left behind");
}

/// Sets the override while the host is off, and starts it.
async fn installs(rig: &Rig, bmc: &dyn Bmc, boot: NextBoot) {
    free(async || bmc.boot_next(boot).await).await;
    free(async || bmc.power(PowerAction::On).await).await;
    assert_eq!(rig.machine.power(), Is::On);
}

/// A test for each profile or quirk.
macro_rules! lives {
    ($($name:ident: $profile:literal $($knob:literal)*;)*) => {
        $(#[tokio::test]
        async fn $name() {
            lives($profile, &[$($knob),*]).await;
        })*
    };
}

lives! {
    plain: "plain";
    profile_supermicro_x12: "supermicro-x12";
    profile_supermicro_as1015cs: "supermicro-as1015cs";
    profile_hpe_ilo5: "hpe-ilo5";
    profile_lenovo_xcc: "lenovo-xcc";
    profile_dell_idrac9: "dell-idrac9";
    profile_dell_idrac9_old: "dell-idrac9-old";

    q1_boot_is_downgraded_without_a_word: "plain" "silent-boot-downgrade";
    q1_a_reset_does_nothing: "plain" "silent-reset";
    q2_only_cd_boots: "plain" "boots-only=cd";
    q3_media_are_patched: "plain" "vmedia-patch-only";
    q3_media_take_the_image_only: "plain" "vmedia-minimal";
    q3_media_need_a_protocol: "plain" "vmedia-needs-protocol";
    q3_media_need_a_protocol_and_a_method: "plain" "vmedia-needs-protocol+method";
    q3_media_need_credentials: "plain" "vmedia-needs-credentials";
    q4_media_are_the_managers: "plain" "vmedia-on=manager";
    q4_media_are_both_s: "plain" "vmedia-on=both";
    q4_the_manager_is_linked_otherwise: "plain" "vmedia-on=manager" "links-managers";
    q4_slots_for_others: "plain" "slots=usb,kvm400,nbd405,noaction,cd";
    q4_a_slot_for_dvds: "plain" "slots=dvd";
    q5_an_eject_goes_on: "plain" "eject-lag=200ms";
    q5_an_eject_needs_a_body: "plain" "eject-needs-body";
    q5_the_image_is_shown_after_its_eject: "plain" "eject-sticky";
    q6_no_continuous: "plain" "no-continuous";
    q6_enabled_is_required: "plain" "enabled-required";
    q6_an_equal_value_is_refused: "plain" "enabled-unchanged-400";
    q6_the_mode_falls_back: "plain" "mode-reset-on-target";
    q6_no_mode: "plain" "no-mode";
    q6_only_target_and_enabled: "plain" "minimal-boot";
    q6_a_target_is_required: "plain" "target-required";
    q6_all_of_boot: "plain" "full-boot-required";
    q7_not_during_post: "plain" "post=300ms";
    q8_boot_is_in_the_settings: "plain" "boot-in-settings";
    q8_the_settings_take_no_boot: "plain" "settings-decoy";
    q8_an_old_idrac: "dell-idrac9-old";
    q9_etags_are_weak_with_gzip: "plain" "etag-weak-on-gzip";
    q9_etags_are_always_weak: "plain" "etag-weak";
    q9_identity_is_not_acceptable: "plain" "406-on-identity";
    q9_if_match_is_required: "plain" "ifmatch-required" "vmedia-patch-only";
    q9_without_if_match_nothing_is_written: "plain" "ifmatch-ignored-write" "vmedia-patch-only";
    q10_one_session_is_enough: "plain" "sessions=1";
    q10_tokens_end: "plain" "token-ttl=5ms" "slow-power=50ms";
    q10_idle_connections_are_closed: "plain" "close-idle" "slow-power=100ms";
    q10_data_sources_are_unavailable: "plain" "sys518=5";
    q10_the_root_is_slow: "plain" "slow-root=500ms";
    q10_the_session_is_in_the_body: "plain" "session-in-body";
    q10_no_sessions: "plain" "no-sessions";
    more_tls_12_only: "plain" "tls12-only";
    more_odd_documents: "plain" "odd-documents";
    more_power_is_slow: "plain" "slow-power=300ms";
}

#[tokio::test]
async fn q2_the_other_name_of_the_cd_is_tried_when_the_first_boots_the_disk() {
    let rig = Rig::new("plain", &["boots-only=usbcd"]);
    let connector = connector();
    let bmc = rig.open(&connector);
    bmc.insert(IMAGE).await.unwrap();
    let set = bmc.boot_next(CD).await.unwrap();
    assert_eq!((set.target.as_str(), set.names), ("Cd", 2));
    bmc.power(PowerAction::On).await.unwrap();
    assert_eq!(rig.machine.starts()[0].device, Booted::Hdd, "the disk was booted without complaint");
    bmc.power(PowerAction::ForceOff).await.unwrap();
    let set = bmc.boot_next(NextBoot { attempt: 1, ..CD }).await.unwrap();
    assert_eq!(set.target, "UsbCd");
    bmc.power(PowerAction::On).await.unwrap();
    assert_eq!(rig.machine.starts()[1].device, Booted::Cd);
}

#[tokio::test]
async fn an_override_is_set_again_for_each_start_and_taken_back() {
    for knobs in
        [&[][..], &["enabled-unchanged-400"], &["minimal-boot"], &["boot-in-settings"], &["target-required"]]
    {
        let rig = Rig::new("plain", knobs);
        let connector = connector();
        let bmc = rig.open(&connector);
        bmc.insert(IMAGE).await.unwrap();
        for _ in 0..2 {
            installs(&rig, bmc.as_ref(), CD).await;
            bmc.power(PowerAction::ForceOff).await.unwrap();
        }
        bmc.boot_next(CD).await.unwrap();
        let disk = NextBoot { device: BootDevice::Disk, ..CD };
        bmc.boot_next(disk).await.unwrap();
        assert_eq!(rig.machine.next_boot().map(|it| it.device), Some(Booted::Hdd), "{knobs:?}");
        bmc.boot_next(NextBoot { device: BootDevice::Usual, ..CD }).await.unwrap();
        assert_eq!(rig.machine.next_boot(), None, "{knobs:?}");
        let devices: Vec<Booted> = rig.machine.starts().iter().map(|start| start.device).collect();
        assert_eq!(devices, [Booted::Cd, Booted::Cd]);
    }
}

#[tokio::test]
async fn q6_an_override_that_stays_is_told_and_taken_back() {
    let rig = Rig::new("plain", &["once-stays"]);
    let connector = connector();
    let bmc = rig.open(&connector);
    bmc.insert(IMAGE).await.unwrap();
    assert!(!bmc.boot_next(CD).await.unwrap().once);
    bmc.power(PowerAction::On).await.unwrap();
    bmc.boot_next(NextBoot { device: BootDevice::Usual, ..CD }).await.unwrap();
    rig.machine.guest_restarts();
    let devices: Vec<Booted> = rig.machine.starts().iter().map(|start| start.device).collect();
    assert_eq!(devices, [Booted::Cd, Booted::Hdd]);
}
