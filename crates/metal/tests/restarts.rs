//! A manager that is killed: the next one goes on with what it began, and knows what was said.

mod support;

use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use scute_agent::http::{Client, Url, pinned};
use scute_agent::protocol::{Hello, Parameters};
use scute_api::metal3::{BareMetalHost, ProvisioningState as State};
use scute_bmc::{BootDevice, Machine as _, Power};
use scute_metal::Config;
use scute_testkit::{ApiServer, Mortal};
use serde_json::json;
use support::{Bench, Images, Rig, content, said, state};
use tokio::sync::{Mutex, OnceCell};

/// One manager of one API server at a time.
static TURN: Mutex<()> = Mutex::const_new(());

async fn manager(server: &'static ApiServer, config: &Config) -> Mortal {
    let config = config.clone();
    Mortal::start(async move { support::spawn(server.client().await, &config) }).await
}

async fn server() -> &'static ApiServer {
    static PREPARED: OnceCell<()> = OnceCell::const_new();
    let server = scute_testkit::server().await;
    PREPARED.get_or_init(|| support::prepare(server)).await;
    server
}

/// The status that an agent of another boot gets which has read the same medium.
async fn replay(parameters: &Parameters, token: &str) -> u16 {
    let hello = Hello {
        host: parameters.host.clone(),
        token: token.to_owned(),
        boot: "0123456789abcdef0123456789abcdef".into(),
        system_uuid: String::new(),
        serial: String::new(),
        macs: vec!["52:54:00:5c:29:00".into()],
        clock: 0,
    };
    let url = Url::parse(&parameters.service).unwrap().at("/agent/v1/hello").unwrap();
    let request = Request::post("/").header("content-type", "application/json");
    let request = request.body(Full::from(serde_json::to_vec(&hello).unwrap())).unwrap();
    let client = Client::new(pinned(&parameters.pin).unwrap());
    client.send(&url, request, Duration::from_secs(10)).await.unwrap().status().as_u16()
}

/// As [`replay`], once the manager knows the host.
async fn refused(parameters: &Parameters, token: &str) -> u16 {
    scute_testkit::until("the manager knows its hosts", || async {
        let status = replay(parameters, token).await;
        (status != 503).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_killed_while_an_image_is_written_is_not_missed_and_its_token_not_taken_twice() {
    let _turn = TURN.lock().await;
    let (server, config) = (server().await, support::config());
    let first = manager(server, &config).await;
    let (bench, rig, images) = (Bench::on(server, "killed").await, Rig::new(0x29), Images::open().await);
    bench.available(&rig, "a").await;
    let image = content(8 << 20);
    let (url, checksum) = images.put("node.raw", image.clone());
    let half = images.stall("node.raw", 4 << 20);
    let image_spec = json!({"url": url, "checksum": checksum, "format": "raw"});
    let hints = json!({"serialNumber": "disk-1"});
    bench.patch("a", json!({"spec": {"image": image_spec, "rootDeviceHints": hints}})).await;
    let writing = |host: &BareMetalHost| {
        state(host) == State::Provisioning && said(host, "Progressing").contains("is written: ")
    };
    bench.until("a", "being written", writing).await;
    let parameters = rig.machine.parameters().unwrap();
    assert_eq!(refused(&parameters, &parameters.token).await, 409, "somebody has read the medium, too");
    assert_eq!(refused(&parameters, "guessed").await, 401);

    first.kill().await;
    let second = manager(server, &config).await;
    assert_eq!(refused(&parameters, &parameters.token).await, 409, "also by a manager that has just started");
    assert_eq!(refused(&parameters, "guessed").await, 401);
    bench.until("a", "seen again", writing).await;
    half.go_on();
    let host = bench.until_state("a", State::Provisioned).await;
    assert_eq!(host.status.unwrap().provisioning_fail_count, 0);
    assert!(rig.machine.disk()[512..image.len()] == image[512..]);
    assert_eq!(images.fetched("node.raw"), 1, "the write was not begun anew");
    let starts = rig.machine.starts();
    let media = starts.iter().filter(|start| start.device == BootDevice::Cd).count();
    assert_eq!(media, 1, "{starts:?}");
    assert_eq!(refused(&parameters, &parameters.token).await, 401, "nobody is awaited any more");
    second.kill().await;
}

/// How long managers live, one after the other, in milliseconds; each start takes about as long as the shortest.
const LIVES: [u64; 12] = [400, 700, 300, 900, 500, 1200, 350, 800, 600, 1000, 450, 1500];

/// Managers that are killed one after the other, until it is done; past the last of these one lives as long as it takes.
async fn killed_until(config: &Config, lives: &mut impl Iterator<Item = u64>, done: impl AsyncFn() -> bool) {
    loop {
        let manager = manager(server().await, config).await;
        let reached =
            scute_testkit::until("a server there and back", || async { done().await.then_some(()) });
        let is_done = match lives.next().map(Duration::from_millis) {
            Some(life) => tokio::time::timeout(life, reached).await.is_ok(),
            None => {
                reached.await;
                true
            }
        };
        manager.kill().await;
        if is_done {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_that_are_killed_at_any_time_bring_a_server_there_and_back() {
    let _turn = TURN.lock().await;
    let config = support::config();
    let (bench, rig) = (Bench::on(server().await, "short").await, Rig::new(0x2a));
    let images = Images::open().await;
    let (url, checksum) = images.put("node.raw", content(3 << 20));
    bench.credentials("a", support::PASSWORD).await;
    let spec = json!({"bootMACAddress": rig.mac, "rootDeviceHints": {"serialNumber": "disk-1"},
        "image": {"url": url, "checksum": checksum, "format": "raw"}});
    bench.host("a", &rig.address, spec).await;
    let now = async || bench.api::<BareMetalHost>().get_opt("a").await.unwrap();
    let mut lives = LIVES.into_iter();
    let provisioned = async || now().await.is_some_and(|host| state(&host) == State::Provisioned);
    killed_until(&config, &mut lives, provisioned).await;
    let from_disk = || rig.machine.starts().iter().filter(|start| start.device == BootDevice::Hdd).count();
    assert_eq!(rig.machine.starts().last().map(|start| start.device), Some(BootDevice::Hdd));
    let once = from_disk();

    bench.delete("a").await;
    killed_until(&config, &mut lives, async || now().await.is_none()).await;
    assert_eq!(from_disk(), once, "nothing started it from a disk on its way out");
    assert!(rig.machine.disk()[..1 << 20].iter().all(|byte| *byte == 0), "cleaned");
    assert_eq!((rig.machine.power(), rig.machine.medium()), (Power::Off, None));
}
