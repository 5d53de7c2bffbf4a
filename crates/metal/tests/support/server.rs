//! A server: its BMC is a real Redfish service, and what it boots from the CD is the real agent, on a folder with a file
//! for a disk. Only the kernel between the two is missing.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::RANGE;
use scute_agent::http::{Client, Url, trusting};
use scute_agent::protocol::Parameters;
use scute_bmc::memory::{MemoryMachine, Start, facts};
use scute_bmc::{
    Answer, BootDevice, Facts, Identity, Machine, NextBoot, Power, Profile, Reset, Rule, Server, Service,
};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

pub const USER: &str = "admin";
pub const PASSWORD: &str = "correct-horse";
/// Bytes of the disk.
pub const DISK: usize = 24 << 20;

/// A server and its BMC.
pub struct Rig {
    /// Of its interface.
    pub mac: String,
    pub machine: Arc<Metal>,
    pub bmc: Arc<Service>,
    pub address: String,
    listens: SocketAddr,
    identity: Identity,
    server: Mutex<Option<Server>>,
}

impl Rig {
    pub fn new(number: u8) -> Self {
        let machine = Arc::new(Metal::new(number));
        let bmc = Service::new(machine.clone(), Profile::named("plain", &[]).unwrap(), USER, PASSWORD);
        let identity = Identity::new(Ipv4Addr::LOCALHOST.into()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Server::https_as(&bmc, listener, &identity).unwrap();
        let address = format!("redfish-virtualmedia://{}/redfish/v1/Systems/1", server.address);
        let listens = server.address;
        Self { mac: mac(number), machine, bmc, address, listens, identity, server: Mutex::new(Some(server)) }
    }

    /// The BMC is not there any more.
    pub fn cut_off(&self) {
        self.server.lock().unwrap().take();
    }

    /// It is there again, and is known by the same certificate.
    pub fn come_back(&self) {
        let listener = TcpListener::bind(self.listens).unwrap();
        let server = Server::https_as(&self.bmc, listener, &self.identity).unwrap();
        self.server.lock().unwrap().replace(server);
    }

    pub fn fault(&self, rule: Rule) {
        self.bmc.inject(rule);
    }
}

/// A disk that fails. What was there before it comes back when it is dropped.
pub struct FailingDisk(PathBuf);

impl Drop for FailingDisk {
    fn drop(&mut self) {
        // An agent may write to it still.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mac(number: u8) -> String {
    format!("52:54:00:5c:{number:02x}:00")
}

/// What stands in the rack.
pub struct Metal {
    inner: MemoryMachine,
    root: tempfile::TempDir,
    runtime: Handle,
    agent: Mutex<Option<AbortHandle>>,
    resets: Mutex<Vec<Reset>>,
    /// The command line of the last boot from the CD.
    parameters: Arc<Mutex<Option<Parameters>>>,
    /// The CD does not boot.
    broken: Mutex<bool>,
}

impl Metal {
    fn new(number: u8) -> Self {
        let machine = Self {
            inner: MemoryMachine::new(facts(number)),
            root: tempfile::tempdir().unwrap(),
            runtime: Handle::current(),
            agent: Mutex::default(),
            resets: Mutex::default(),
            parameters: Arc::default(),
            broken: Mutex::default(),
        };
        machine.file("sys/block/vda/size", (DISK / 512).to_string().as_bytes());
        machine.file("sys/block/vda/serial", b"disk-1\n");
        machine.file("sys/block/vda/queue/rotational", b"0\n");
        machine.file("sys/class/dmi/id/sys_vendor", b"Scute\n");
        machine.file("sys/class/dmi/id/product_serial", b"server-1\n");
        machine.file("sys/class/net/eth0/address", format!("{}\n", mac(number)).as_bytes());
        machine.file("sys/class/net/eth0/device/vendor", b"0x1af4\n");
        machine.file("proc/meminfo", b"MemTotal:  2048000 kB\n");
        machine.file("dev/vda", &vec![0xee; DISK]);
        machine
    }

    /// What a kernel would show, or what is on a disk.
    pub fn file(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Puts another disk in its place, of the same size, which stores so many bytes and refuses more. Needs root.
    pub fn disk_that_fails(&self, bytes: u64) -> FailingDisk {
        let folder = self.path("dev");
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        assert!(mount.args(["-t", "tmpfs", "-o", &size, "disk"]).arg(&folder).status().unwrap().success());
        let disk = FailingDisk(folder);
        File::create(self.path("dev/vda")).unwrap().set_len(DISK as u64).unwrap();
        disk
    }

    pub fn disk(&self) -> Vec<u8> {
        std::fs::read(self.path("dev/vda")).unwrap()
    }

    pub fn starts(&self) -> Vec<Start> {
        self.inner.starts()
    }

    /// What the BMC was told to do with its power.
    pub fn resets(&self) -> Vec<Reset> {
        self.resets.lock().unwrap().clone()
    }

    /// What the last boot from the CD found on its command line.
    pub fn parameters(&self) -> Option<Parameters> {
        self.parameters.lock().unwrap().clone()
    }

    /// Whether what is in the CD drive does not boot.
    pub fn break_cd(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }

    /// Pulls the plug; the BMC lives on.
    pub fn lose_power(&self) {
        self.stop();
        self.runtime.block_on(self.inner.reset(Reset::ForceOff)).unwrap();
    }

    fn stop(&self) {
        if let Some(agent) = self.agent.lock().unwrap().take() {
            agent.abort();
        }
    }

    fn booted(&self) {
        let start = self.inner.starts().pop().unwrap();
        let Some(url) = start.medium.filter(|_| start.device == BootDevice::Cd) else { return };
        if *self.broken.lock().unwrap() || !url.contains("/media/") {
            return;
        }
        let (root, seen) = (self.root.path().to_owned(), Arc::clone(&self.parameters));
        let agent = self.runtime.spawn(async move {
            let parameters = boot(&url).await;
            *seen.lock().unwrap() = Some(parameters.clone());
            let _ = scute_agent::rehearse(&parameters, &root).await;
        });
        *self.agent.lock().unwrap() = Some(agent.abort_handle());
    }
}

/// What a boot loader does: reads the medium, and gives the kernel its command line.
async fn boot(url: &str) -> Parameters {
    let client = Client::new(trusting(None).unwrap());
    let request = Request::get("/").header(RANGE, "bytes=0-").body(Full::default()).unwrap();
    let response = client.send(&Url::parse(url).unwrap(), request, Duration::from_secs(10)).await.unwrap();
    assert_eq!(response.status(), 206, "{url}");
    let medium = response.into_body().collect().await.unwrap().to_bytes();
    Parameters::parse(&String::from_utf8_lossy(&medium)).unwrap()
}

impl Machine for Metal {
    fn facts(&self) -> Arc<Facts> {
        self.inner.facts()
    }

    fn power(&self) -> Power {
        self.inner.power()
    }

    fn reset(&self, reset: Reset) -> Answer<'_> {
        Box::pin(async move {
            self.resets.lock().unwrap().push(reset);
            let before = self.inner.starts().len();
            self.inner.reset(reset).await?;
            if self.inner.power() == Power::Off || self.inner.starts().len() != before {
                self.stop();
            }
            if self.inner.starts().len() != before {
                self.booted();
            }
            Ok(())
        })
    }

    fn next_boot(&self) -> Option<NextBoot> {
        self.inner.next_boot()
    }

    fn set_next_boot(&self, boot: Option<NextBoot>) -> Answer<'_> {
        self.inner.set_next_boot(boot)
    }

    fn medium(&self) -> Option<String> {
        self.inner.medium()
    }

    fn insert<'a>(&'a self, url: &'a str) -> Answer<'a> {
        self.inner.insert(url)
    }

    fn eject(&self) -> Answer<'_> {
        self.inner.eject()
    }
}

impl Drop for Metal {
    fn drop(&mut self) {
        self.stop();
    }
}
