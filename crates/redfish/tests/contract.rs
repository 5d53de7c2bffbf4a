//! What the client promises, on a BMC that speaks as the specification has it: how often it asks, what it calls each
//! failure, what becomes of sessions, certificates and passwords.

mod common;

use std::time::{Duration, Instant};

use common::{PASSWORD, Rig, connector, patience};
use scute_bmc::memory::facts;
use scute_bmc::{Fault, Machine, Power as Is, Rule};
use scute_redfish::{
    Access, BootDevice, BootMode, Connector, Credentials, Error, Health, NextBoot, Patience, Power,
    PowerAction, Trust, Which,
};

const IMAGE: &str = "http://192.0.2.1/agent.iso";
const CD: NextBoot = NextBoot { device: BootDevice::Cd, mode: BootMode::Uefi, attempt: 0 };

/// How often the BMC is asked. Real Ironic: manage 6, power on 5 to 8, power off 6 or 7, inspection 10, deploy 28 until the
/// agent is awaited, and 66 in all.
#[tokio::test]
async fn each_operation_asks_little() {
    let rig = Rig::new("plain", &[]);
    let connector = connector();
    let bmc = rig.open(&connector);
    bmc.identify().await.unwrap();
    assert_eq!(
        rig.asked(),
        [
            "GET /redfish/v1/",
            "POST /redfish/v1/SessionService/Sessions",
            "GET /redfish/v1/SessionService/Sessions",
            "GET /redfish/v1/Systems/1"
        ]
    );
    bmc.state().await.unwrap();
    assert_eq!(rig.asked().len(), 1, "state");
    bmc.inventory().await.unwrap();
    assert_eq!(rig.asked().len(), 10, "inventory");
    bmc.insert(IMAGE).await.unwrap();
    // The slots are looked for once.
    assert_eq!(rig.asked().len(), 7, "first insert");
    assert!(bmc.boot_next(CD).await.unwrap().once);
    assert_eq!(rig.asked().len(), 3, "boot once");
    bmc.power(PowerAction::On).await.unwrap();
    assert_eq!(rig.asked().len(), 3, "power on");
    bmc.eject().await.unwrap();
    assert_eq!(rig.asked().len(), 3, "eject");
    bmc.power(PowerAction::ForceOff).await.unwrap();
    assert_eq!(rig.asked().len(), 3, "power off");
    bmc.insert(IMAGE).await.unwrap();
    assert_eq!(rig.asked().len(), 3, "insert");
    // What is so already is looked at only.
    bmc.insert(IMAGE).await.unwrap();
    assert_eq!(rig.asked().len(), 1, "insert again");
    bmc.power(PowerAction::ForceOff).await.unwrap();
    assert_eq!(rig.asked().len(), 1, "power off again");
}

#[tokio::test]
async fn the_host_says_who_it_is_and_what_it_is_made_of() {
    let rig = Rig::new("plain", &[]);
    let connector = connector();
    let bmc = rig.open(&connector);
    let facts = facts(7);
    let identity = bmc.identify().await.unwrap();
    assert_eq!(identity.path, "/redfish/v1/Systems/1");
    assert_eq!(identity.manufacturer, Some(facts.manufacturer));
    assert_eq!((identity.model, identity.sku), (Some(facts.model), Some(facts.sku)));
    assert_eq!((identity.serial, identity.bios_version), (Some(facts.serial), Some(facts.bios_version)));
    assert_eq!(identity.state.health, Health::Ok);
    let inventory = bmc.inventory().await.unwrap();
    assert_eq!((inventory.processors.count, inventory.processors.threads), (Some(2), Some(128)));
    assert_eq!(inventory.processors.architecture.as_deref(), Some("x86_64"));
    assert_eq!(inventory.memory_mib, Some(262_144));
    let nics: Vec<(&str, Option<bool>)> =
        inventory.nics.iter().map(|nic| (nic.mac.as_str(), nic.link_up)).collect();
    assert_eq!(nics, [("52:54:00:5c:07:00", Some(true)), ("52:54:00:5c:07:01", Some(false))]);
    assert_eq!(
        inventory.drives.iter().map(|drive| drive.bytes).collect::<Vec<_>>(),
        [Some(960_197_124_096); 2]
    );
    assert_eq!(inventory.drives[0].rotational, Some(false));
}

#[tokio::test]
async fn fields_that_nobody_needs_may_be_nonsense() {
    let rig = Rig::new("plain", &["odd-documents"]);
    let connector = connector();
    let bmc = rig.open(&connector);
    assert_eq!(bmc.identify().await.unwrap().bios_version, None);
    let inventory = bmc.inventory().await.unwrap();
    // Where the summary is nonsense, the parts are counted.
    assert_eq!((inventory.processors.count, inventory.processors.threads), (Some(2), Some(128)));
    assert_eq!((inventory.memory_mib, inventory.processors.max_mhz), (Some(262_144), None));
    assert_eq!(inventory.drives[0].bytes, Some(960_197_124_096));
    assert_eq!(inventory.nics.len(), 2);
}

#[tokio::test]
async fn the_system_that_is_meant_is_found_among_others() {
    let rig = Rig::new("plain", &["decoy-systems"]);
    let connector = connector();
    let uuid = facts(7).uuid;
    let by = |path: Option<&str>, uuid: Option<&str>, mac: Option<&str>| {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let which = Which { path: own(path), uuid: own(uuid), mac: own(mac) };
        connector.open(&Access { which, ..rig.access() }).unwrap()
    };
    for which in [
        by(None, None, None),
        by(None, Some(&uuid.to_uppercase()), None),
        by(None, None, Some("52:54:00:5C:07:01")),
        by(Some("/redfish/v1/Systems/1"), None, None),
    ] {
        assert_eq!(which.identify().await.unwrap().uuid.as_deref(), Some(uuid.as_str()));
    }
    for nobody in [
        by(None, Some("4c4c4544-0000-0000-0000-000000000000"), None),
        by(None, None, Some("52:54:00:00:00:00")),
        by(Some("/redfish/v1/Systems/HGX_Baseboard_0"), None, None),
        by(Some("/redfish/v1/Chassis/1/Nothing"), None, None),
    ] {
        assert!(matches!(nobody.identify().await, Err(Error::NoSystem(_))));
    }
}

#[tokio::test]
async fn a_guest_that_does_not_listen_is_told_and_can_be_forced() {
    let rig = Rig::new("plain", &[]);
    let connector =
        Connector::new("scute/test", Patience { settle: Duration::from_millis(200), ..patience() });
    let bmc = rig.open(&connector);
    bmc.power(PowerAction::On).await.unwrap();
    rig.machine.ignore_graceful(true);
    let asked = bmc.power(PowerAction::GracefulOff).await.unwrap_err();
    let wanted = Error::NotTaken { field: "PowerState", wanted: "Off".into(), found: "On".into() };
    assert_eq!(asked, wanted);
    let resets = rig.asked().iter().filter(|it| it.starts_with("POST") && it.contains("Reset")).count();
    assert_eq!(resets, 2, "once to start it, and once to ask the guest: not again");
    bmc.power(PowerAction::ForceOff).await.unwrap();
    assert_eq!(rig.machine.power(), Is::Off);
    rig.machine.ignore_graceful(false);
    bmc.power(PowerAction::On).await.unwrap();
    bmc.power(PowerAction::Restart).await.unwrap();
    bmc.power(PowerAction::GracefulOff).await.unwrap();
    assert_eq!((bmc.state().await.unwrap().power, rig.machine.starts().len()), (Power::Off, 3));
}

#[tokio::test]
async fn a_medium_that_stays_is_told() {
    let rig = Rig::new("plain", &[]);
    let connector =
        Connector::new("scute/test", Patience { settle: Duration::from_millis(100), ..patience() });
    let bmc = rig.open(&connector);
    bmc.insert(IMAGE).await.unwrap();
    rig.service.inject(Rule::always("EjectMedia", Fault::Ignored));
    let stuck = bmc.eject().await.unwrap_err();
    assert_eq!(stuck, Error::NotTaken { field: "Image", wanted: String::new(), found: IMAGE.into() });
    rig.service.clear_faults();
    bmc.eject().await.unwrap();
    assert_eq!(rig.machine.medium(), None);
}

#[tokio::test]
async fn an_override_that_is_ignored_is_told_by_its_field() {
    let rig = Rig::new("plain", &[]);
    let connector = connector();
    let bmc = rig.open(&connector);
    rig.service.inject(Rule::always("/Systems/1", Fault::Ignored).on(http::Method::PATCH));
    let ignored = bmc.boot_next(CD).await.unwrap_err();
    let wanted =
        Error::NotTaken { field: "BootSourceOverrideTarget", wanted: "Cd".into(), found: "None".into() };
    assert_eq!(ignored, wanted);
    assert!(rig.asked().len() < 25, "the ladder has an end");
}

#[tokio::test]
async fn failures_have_the_class_that_the_message_says() {
    let rig = Rig::new("plain", &[]);
    let connector = connector();
    let bmc = rig.open(&connector);
    bmc.identify().await.unwrap();
    let reset = |fault: Fault| rig.service.inject(Rule::times(1, "Reset", fault));
    reset(Fault::message(400, "iLO.2.25.UnableToModifyDuringSystemPOST"));
    assert!(matches!(bmc.power(PowerAction::On).await, Err(Error::Busy { .. })));
    reset(Fault::Http { status: 503, message_id: None, retry_after: Some(Duration::from_secs(30)) });
    let busy = bmc.power(PowerAction::On).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { retry_after: Some(after), .. } if after == Duration::from_secs(30)));
    reset(Fault::message(400, "Base.1.8.PropertyValueNotInList"));
    assert!(matches!(bmc.power(PowerAction::On).await, Err(Error::Rejected { .. })), "no race with POST");
    reset(Fault::http(405));
    assert!(matches!(bmc.power(PowerAction::On).await, Err(Error::NotSupported(_))));
    rig.service.inject(Rule::times(1, "/Systems/1", Fault::Garbage));
    assert!(matches!(bmc.state().await, Err(Error::Unreachable(_))));
    // A connection that breaks in the middle of an answer is repeated for a GET.
    rig.service.inject(Rule::times(1, "/Systems/1", Fault::Cut));
    assert_eq!(bmc.state().await.unwrap().power, Power::Off);
    // What was cut off when it was written is not sent again by itself.
    reset(Fault::Cut);
    rig.asked();
    assert!(matches!(bmc.power(PowerAction::On).await, Err(Error::Unreachable(_))));
    assert_eq!(rig.asked().iter().filter(|it| it.starts_with("POST")).count(), 1);
}

#[tokio::test]
async fn a_bmc_that_hangs_costs_a_limited_time_and_answers_again_later() {
    let rig = Rig::new("plain", &[]);
    let connector =
        Connector::new("scute/test", Patience { request: Duration::from_millis(150), ..patience() });
    let bmc = rig.open(&connector);
    bmc.identify().await.unwrap();
    rig.service.inject(Rule::times(1, "/Systems/1", Fault::Hang));
    let begun = Instant::now();
    assert!(matches!(bmc.state().await, Err(Error::Unreachable(_))));
    assert!(begun.elapsed() < Duration::from_secs(5));
    bmc.state().await.unwrap();
    let Rig { server, .. } = rig;
    drop(server);
    assert!(matches!(bmc.state().await, Err(Error::Unreachable(_))));
}

#[tokio::test]
async fn sessions_left_behind_are_ended_and_those_of_others_are_not() {
    let rig = Rig::new("plain", &["sessions=3"]);
    let log_in = async |owner: &str| {
        let connector = Connector::new(owner, patience());
        rig.open(&connector).identify().await.unwrap();
        // The process ends without a farewell.
        std::mem::forget(connector);
    };
    log_in("scute/mine").await;
    log_in("another tool").await;
    assert_eq!(rig.service.sessions(), 2);
    let connector = Connector::new("scute/mine", patience());
    let bmc = rig.open(&connector);
    bmc.identify().await.unwrap();
    assert_eq!(rig.service.sessions(), 2, "ours from before is gone, the other's is not");
    rig.asked();
    connector.leave().await;
    assert_eq!(rig.service.sessions(), 1);
    assert_eq!(rig.asked().len(), 1);
}

#[tokio::test]
async fn a_full_table_of_sessions_is_cleared_of_ours_and_otherwise_waited_for() {
    let rig = Rig::new("dell-idrac9", &["sessions=1"]);
    let first = Connector::new("scute/mine", patience());
    rig.open(&first).identify().await.unwrap();
    std::mem::forget(first);
    let again = Connector::new("scute/mine", patience());
    rig.open(&again).identify().await.unwrap();
    let stranger = Connector::new("another tool", patience());
    assert!(matches!(rig.open(&stranger).identify().await, Err(Error::Busy { .. })));
    assert_eq!(rig.service.sessions(), 1);
    again.leave().await;
    rig.open(&stranger).identify().await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_lost_is_begun_again_and_no_refusal() {
    let rig = Rig::new("plain", &[]);
    let connector = connector();
    let bmc = rig.open(&connector);
    for _ in 0..4 {
        bmc.state().await.unwrap();
        rig.service.restart();
    }
    bmc.power(PowerAction::On).await.unwrap();
    assert_eq!(rig.service.sessions(), 1);
    drop(bmc);
    drop(connector);
    // Leaving is told to the BMC, from a task of its own.
    let gone = async {
        while rig.service.sessions() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone)
        .await
        .expect("the session is ended when the last user is gone");
}

#[tokio::test]
async fn two_refusals_stop_the_asking_until_the_secret_changes() {
    let rig = Rig::new("plain", &["lockout=3/300s"]);
    let connector = connector();
    let with = |password: &str| {
        let credentials = Credentials::new(common::USER, password);
        connector.open(&Access { credentials, ..rig.access() }).unwrap()
    };
    for _ in 0..2 {
        // Opened anew each time, as a reconcile does.
        assert!(matches!(with("wrong").identify().await, Err(Error::Refused(_))));
    }
    rig.asked();
    for _ in 0..3 {
        assert_eq!(with("wrong").identify().await, Err(Error::Locked));
    }
    let trusting =
        Access { trust: Trust::Any, credentials: Credentials::new(common::USER, "wrong"), ..rig.access() };
    assert_eq!(connector.open(&trusting).unwrap().identify().await, Err(Error::Locked));
    assert_eq!(rig.asked(), Vec::<String>::new(), "nothing is asked any more");
    with(PASSWORD).identify().await.unwrap();
    // A password that is changed on the BMC under a session is found out in the same way.
    rig.service.set_password("another");
    rig.service.restart();
    assert!(matches!(with(PASSWORD).state().await, Err(Error::Refused(_))));
    assert!(matches!(with(PASSWORD).state().await, Err(Error::Refused(_))));
    assert_eq!(with(PASSWORD).state().await, Err(Error::Locked));
    with("another").state().await.unwrap();
}

#[tokio::test]
async fn without_sessions_wrong_credentials_are_counted_too() {
    let rig = Rig::new("plain", &["no-sessions", "lockout=3/300s"]);
    let connector = connector();
    let credentials = Credentials::new(common::USER, "wrong");
    let bmc = connector.open(&Access { credentials, ..rig.access() }).unwrap();
    for _ in 0..2 {
        assert!(matches!(bmc.state().await, Err(Error::Refused(_))));
    }
    assert_eq!(bmc.state().await, Err(Error::Locked));
    rig.open(&connector).state().await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_pinned_on_first_use_and_another_is_refused_with_its_fingerprint() {
    let (rig, other) = (Rig::new("plain", &[]), Rig::new("plain", &["tls12-only"]));
    let connector = connector();
    let open = |rig: &Rig, trust: Trust| connector.open(&Access { trust, ..rig.access() }).unwrap();
    let first = open(&rig, Trust::Any);
    assert_eq!(first.fingerprint(), None);
    first.identify().await.unwrap();
    let print = first.fingerprint().unwrap();
    assert_eq!(print.len(), 64);
    open(&rig, Trust::Pinned(print.clone())).identify().await.unwrap();
    let refused = open(&other, Trust::Pinned(print.clone())).identify().await.unwrap_err();
    let Error::Tls { fingerprint: Some(shown), words } = &refused else { panic!("{refused}") };
    assert!(*shown != print && words.contains("pinned"), "{refused}");
    assert_eq!(other.asked(), Vec::<String>::new(), "no password goes to a stranger");
    let wrong = Trust::Authorities(rig.server.certificate_pem.clone());
    assert!(matches!(open(&other, wrong).identify().await, Err(Error::Tls { fingerprint: Some(_), .. })));
    let none = connector.open(&Access { trust: Trust::Authorities("nonsense".into()), ..rig.access() });
    assert!(matches!(none.err(), Some(Error::Tls { fingerprint: None, .. })));
}

#[tokio::test]
async fn one_request_at_a_time_and_the_others_queue() {
    let rig = Rig::new("plain", &[]);
    let connector = connector();
    let (one, two) = (rig.open(&connector), rig.open(&connector));
    one.identify().await.unwrap();
    rig.service.inject(Rule::times(1, "/Systems/1", Fault::Slow(Duration::from_millis(200))));
    let begun = Instant::now();
    let (first, second) = tokio::join!(one.state(), async {
        let state = two.state().await;
        (state, begun.elapsed())
    });
    first.unwrap();
    second.0.unwrap();
    assert!(second.1 >= Duration::from_millis(200), "the second waited for the first");
    assert_eq!(rig.service.sessions(), 1, "and both by one session");
}

#[tokio::test]
async fn a_write_that_was_given_up_is_over_before_the_next_request() {
    let rig = Rig::new("plain", &[]);
    let connector = connector();
    let (one, two) = (rig.open(&connector), rig.open(&connector));
    one.identify().await.unwrap();
    let slow = Fault::Slow(Duration::from_millis(300));
    rig.service.inject(Rule::times(1, "ComputerSystem.Reset", slow));
    let arrived = async {
        while !rig.asked().iter().any(|asked| asked.contains("ComputerSystem.Reset")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = one.power(PowerAction::On) => panic!("it was not given up: {done:?}"),
        () = arrived => {}
    }
    // The next order decides by what it sees.
    assert_eq!(two.state().await.unwrap().power, Power::On);
    assert_eq!(rig.machine.power(), Is::On);
}
