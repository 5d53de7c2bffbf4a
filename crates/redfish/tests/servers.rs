//! One contract on every server there is: the service on a host in memory, a host of the rack, and sushy-tools, which others
//! wrote. The last needs what `cargo xtask judges` installs and names in `SCUTE_JUDGES`.

mod common;
#[path = "../../rack/tests/common/mod.rs"]
mod rack;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{PASSWORD, Rig, USER};
use scute_bmc::Identity;
use scute_qemu::bootsector::{self, Guest};
use scute_rack::{Firmware, Shape};
use scute_redfish::{
    Access, Bmc, BootDevice, BootMode, Connector, Credentials, Error, NextBoot, Origin, Patience, Power,
    PowerAction, Trust, Which,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A server under the contract.
struct Server {
    access: Access,
    certificate: String,
    uuid: String,
    mac: String,
    mode: BootMode,
    /// It knows what Once is.
    once: bool,
    /// What is inserted, and what was before it.
    images: [String; 2],
}

fn connector() -> Connector {
    // sushy-tools takes up to eleven seconds to change the power, and tells it when it is asked.
    let settle = Duration::from_secs(60);
    Connector::new(
        "scute/contract",
        Patience { settle, poll: Duration::from_millis(200), ..Patience::default() },
    )
}

/// What the client promises of a BMC that does nothing odd, as far as it can be seen from outside.
async fn keeps(server: &Server) {
    trusts(server).await;
    refuses(server).await;
    let connector = connector();
    let bmc = connector.open(&server.access).unwrap();
    knows(server, bmc.as_ref()).await;
    lives(server, bmc.as_ref()).await;
    bmc.close().await.unwrap();
    connector.leave().await;
}

/// A certificate is pinned on first use, and another one is told.
async fn trusts(server: &Server) {
    let first = connector();
    let open = |trust: Trust| Access { trust, ..server.access.clone() };
    let bmc = first.open(&open(Trust::Any)).unwrap();
    bmc.identify().await.unwrap();
    let print = bmc.fingerprint().unwrap();
    first.leave().await;
    // A connection that is trusted already would be used again.
    for good in [Trust::Pinned(print.clone()), Trust::Authorities(server.certificate.clone())] {
        let connector = connector();
        connector.open(&open(good)).unwrap().identify().await.unwrap();
        connector.leave().await;
    }
    let wrong = open(Trust::Pinned("0".repeat(64)));
    let refused = connector().open(&wrong).unwrap().identify().await.unwrap_err();
    let Error::Tls { fingerprint: Some(shown), .. } = refused else { panic!("{refused}") };
    assert_eq!(shown, print);
}

/// Two refusals are enough.
async fn refuses(server: &Server) {
    let connector = connector();
    let wrong = Access { credentials: Credentials::new(USER, "wrong"), ..server.access.clone() };
    for _ in 0..2 {
        let refused = connector.open(&wrong).unwrap().identify().await.unwrap_err();
        assert!(matches!(refused, Error::Refused(_)), "{refused}");
    }
    assert_eq!(connector.open(&wrong).unwrap().identify().await, Err(Error::Locked));
}

/// Who the host is, by its path, its UUID and its MAC.
async fn knows(server: &Server, bmc: &dyn Bmc) {
    let identity = bmc.identify().await.unwrap();
    assert_eq!(identity.uuid.as_deref(), Some(server.uuid.as_str()));
    assert_eq!(identity.state.power, Power::Off);
    let inventory = bmc.inventory().await.unwrap();
    assert!(inventory.nics.iter().any(|nic| nic.mac == server.mac), "{:?}", inventory.nics);
    let connector = connector();
    for which in [
        Which { uuid: Some(server.uuid.to_uppercase()), ..Which::default() },
        Which { mac: Some(server.mac.to_uppercase()), ..Which::default() },
    ] {
        let found =
            connector.open(&Access { which, ..server.access.clone() }).unwrap().identify().await.unwrap();
        assert_eq!(found.path, identity.path);
    }
    let nobody = Which { uuid: Some(server.uuid.replace('4', "5")), ..Which::default() };
    let refused =
        connector.open(&Access { which: nobody, ..server.access.clone() }).unwrap().identify().await;
    assert!(matches!(refused, Err(Error::NoSystem(_))), "{refused:?}");
    connector.leave().await;
}

/// Installed from virtual media, and off again.
async fn lives(server: &Server, bmc: &dyn Bmc) {
    let [image, other] = &server.images;
    bmc.insert(other).await.unwrap();
    bmc.insert(image).await.unwrap();
    assert_eq!(bmc.inserted().await.unwrap(), [image.as_str()]);
    let cd = NextBoot { device: BootDevice::Cd, mode: server.mode, attempt: 0 };
    assert_eq!(bmc.boot_next(cd).await.unwrap().once, server.once);
    bmc.power(PowerAction::On).await.unwrap();
    assert_eq!(bmc.state().await.unwrap().power, Power::On);
    bmc.power(PowerAction::On).await.unwrap();
    bmc.eject().await.unwrap();
    assert_eq!(bmc.inserted().await.unwrap(), Vec::<String>::new());
    bmc.boot_next(NextBoot { device: BootDevice::Usual, ..cd }).await.unwrap();
    bmc.power(PowerAction::ForceOff).await.unwrap();
    assert_eq!(bmc.state().await.unwrap().power, Power::Off);
    bmc.power(PowerAction::ForceOff).await.unwrap();
}

/// Nobody listens any more.
async fn misses(server: &Server) {
    let gone = connector().open(&server.access).unwrap().identify().await.unwrap_err();
    assert!(matches!(gone, Error::Unreachable(_)), "{gone}");
}

fn access(port: u16, password: &str, path: &str, certificate: &str) -> Access {
    let origin = Origin { tls: true, host: "127.0.0.1".into(), port };
    let trust = Trust::Authorities(certificate.to_owned());
    let access = Access::new(origin, Credentials::new(USER, password), trust);
    Access { which: Which { path: Some(path.to_owned()), ..Which::default() }, ..access }
}

#[tokio::test]
async fn a_host_in_memory() {
    let rig = Rig::new("plain", &[]);
    let facts = scute_bmc::memory::facts(7);
    let server = Server {
        access: rig.access(),
        certificate: rig.server.certificate_pem.clone(),
        uuid: facts.uuid,
        mac: facts.nics[0].mac.clone(),
        mode: BootMode::Uefi,
        once: true,
        images: ["http://192.0.2.1/a.iso".into(), "http://192.0.2.1/b.iso".into()],
    };
    keeps(&server).await;
    drop(rig);
    misses(&server).await;
}

#[tokio::test]
async fn a_host_of_the_rack() {
    let shape = Shape { firmware: Firmware::Bios, memory_mib: 256, disks_mib: vec![1], ..Shape::default() };
    let rig = rack::Rig::new(&[shape]).await;
    let images = rack::Images::serve(rack::bootable(&bootsector::disk(Guest::Hangs, "from the CD"))).await;
    let (host, mounted) = (rig.host("a"), rig.rack.host("a").unwrap());
    let mut console = host.console();
    let (certificate, port) = (mounted.server.certificate_pem.clone(), mounted.server.address.port());
    let config = &mounted.host.config;
    let password = host.folder.password().unwrap();
    let server = Server {
        access: access(port, &password, "/redfish/v1/Systems/1", &certificate),
        uuid: config.uuid.clone(),
        mac: config.nics[0].mac.to_string(),
        certificate,
        mode: BootMode::Legacy,
        once: true,
        images: [images.url.clone(), images.url.replace("boot", "other")],
    };
    keeps(&server).await;
    // It is a machine that does all this. What it was started for above may have been too short to say a word.
    let connector = connector();
    let bmc = connector.open(&server.access).unwrap();
    bmc.power(PowerAction::On).await.unwrap();
    console.hear("SeaBIOS").await;
    bmc.power(PowerAction::ForceOff).await.unwrap();
    connector.leave().await;
    drop((host, rig));
    misses(&server).await;
}

#[test]
#[ignore = "cargo xtask judges"]
fn sushy_tools() {
    rack::isolated(async || {
        let emulator = Emulator::start().await;
        keeps(&emulator.server).await;
        let Emulator { server, process, .. } = emulator;
        drop(process);
        misses(&server).await;
        println!("sushy-tools: the client keeps its contract");
    });
}

/// sushy-tools with one system, by TLS 1.2 and basic authentication. It downloads what is inserted.
struct Emulator {
    server: Server,
    process: Child,
    _files: tempfile::TempDir,
}

impl Emulator {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let identity = Identity::new(rack::LOCAL).unwrap();
        let put = |name: &str, text: &str| std::fs::write(files.path().join(name), text).unwrap();
        put("bmc.crt", &identity.certificate_pem);
        put("bmc.key", &identity.key_pem);
        let (uuid, mac) = ("4c4c4544-0042-4a10-8052-b9c04f564301", "52:54:00:5c:01:00");
        put("emulator.conf", &configuration(files.path(), uuid, mac));
        // By bcrypt, which is what it takes: PASSWORD.
        put("htpasswd", &format!("{USER}:{HASH}\n"));
        let python =
            Path::new(&std::env::var_os("SCUTE_JUDGES").expect("SCUTE_JUDGES: run `cargo xtask judges`"))
                .join("venv/bin/python");
        let mut emulator = Command::new(python);
        emulator
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", files.path())
            .env("TMPDIR", files.path());
        emulator.args(["-u", "-c", "from sushy_tools.emulator.main import main; main()"]);
        emulator.arg("--fake").arg("--config").arg(files.path().join("emulator.conf"));
        emulator.current_dir(files.path()).kill_on_drop(true).stderr(Stdio::piped());
        let mut process = emulator.spawn().unwrap();
        let port = listens(&mut process).await;
        let image = rack::Images::serve(b"an image".to_vec()).await.url;
        let path = format!("/redfish/v1/Systems/{uuid}");
        let server = Server {
            access: access(port, PASSWORD, &path, &identity.certificate_pem),
            certificate: identity.certificate_pem,
            uuid: uuid.into(),
            mac: mac.into(),
            mode: BootMode::Uefi,
            once: false,
            images: [image.clone(), image.replace("boot", "other")],
        };
        Self { server, process, _files: files }
    }
}

/// PASSWORD, at bcrypt's least cost.
const HASH: &str = "$2b$04$9ODLI8.Ik5/XlDTOtUnT6OgckvgdKn5iPriKmjCl1kUjH59qThjhi";

fn configuration(folder: &Path, uuid: &str, mac: &str) -> String {
    let folder = folder.display();
    format!(
        "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\n\
         SUSHY_EMULATOR_LISTEN_PORT = 0\n\
         SUSHY_EMULATOR_STATE_DIR = '{folder}'\n\
         SUSHY_EMULATOR_AUTH_FILE = '{folder}/htpasswd'\n\
         SUSHY_EMULATOR_SSL_CERT = '{folder}/bmc.crt'\n\
         SUSHY_EMULATOR_SSL_KEY = '{folder}/bmc.key'\n\
         SUSHY_EMULATOR_FAKE_SYSTEMS = [{{'uuid': '{uuid}', 'name': 'a', 'power_state': 'Off', \
         'external_notifier': False, 'nics': [{{'mac': '{mac}', 'ip': '192.0.2.7'}}]}}]\n"
    )
}

/// Waits until it says where it listens; what it says later is read and dropped.
async fn listens(process: &mut Child) -> u16 {
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let port = loop {
        let line = rack::soon("sushy-tools", lines.next_line()).await.unwrap();
        let line = line.unwrap_or_else(|| panic!("sushy-tools ended: {said}"));
        if let Some((_, port)) = line.split_once("Running on https://127.0.0.1:") {
            break port.trim().parse().unwrap();
        }
        said.push_str(&line);
        said.push('\n');
    };
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    port
}
