//! Servers that are played: a Redfish service of its own each, and what comes up from its CD drive, as far as the metal room
//! sees it. Nothing is written anywhere.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RANGE};
use hyper::{Method, Request, StatusCode};
use scute_agent::http::{Client, Url, pinned, trusting};
use scute_agent::protocol::{Hello, Inventory, Nic, Parameters, Report, Said, Welcome, Work};
use scute_bmc::memory::{MemoryMachine, facts};
use scute_bmc::{
    Answer, BootDevice, Facts, Fault, Identity, Machine, NextBoot, Power, Profile, Reset, Rule, Server,
    Service,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

pub const USER: &str = "admin";
pub const PASSWORD: &str = "correct-horse";
/// How long a BMC takes for an answer.
pub const ANSWERS_IN: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(60);

/// A server, its BMC and its ramdisk.
pub struct Played {
    pub bmc: Arc<Service>,
    pub mac: String,
    /// As a BareMetalHost has it.
    pub address: String,
    _server: Server,
}

impl Played {
    pub fn new(number: usize, identity: &Identity) -> Result<Self> {
        let mut facts = facts((number % 256) as u8);
        let mac =
            format!("52:54:{:02x}:{:02x}:{:02x}:00", number >> 16 & 255, number >> 8 & 255, number & 255);
        facts.serial = format!("PLAYED{number}");
        facts.nics[0].mac.clone_from(&mac);
        let machine = Arc::new(Host { inner: MemoryMachine::new(facts), agent: Mutex::default() });
        let profile = Profile::named("plain", &[]).map_err(|error| anyhow!("{error}"))?;
        let bmc = Service::new(machine, profile, USER, PASSWORD);
        bmc.inject(Rule::always("", Fault::Slow(ANSWERS_IN)));
        let server = Server::https_as(&bmc, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, identity)?;
        let address = format!("redfish-virtualmedia://{}/redfish/v1/Systems/1", server.address);
        Ok(Self { bmc, mac, address, _server: server })
    }

    /// From now on it takes connections, and never answers.
    pub fn die(&self) {
        self.bmc.clear_faults();
        self.bmc.inject(Rule::always("", Fault::Hang));
    }
}

struct Host {
    inner: MemoryMachine,
    agent: Mutex<Option<AbortHandle>>,
}

impl Host {
    fn replace_agent(&self, agent: Option<AbortHandle>) {
        let before =
            std::mem::replace(&mut *self.agent.lock().unwrap_or_else(PoisonError::into_inner), agent);
        before.into_iter().for_each(|before| before.abort());
    }

    fn booted(&self) {
        let start = self.inner.starts().pop();
        let Some(url) = start.filter(|start| start.device == BootDevice::Cd).and_then(|start| start.medium)
        else {
            return self.replace_agent(None);
        };
        let facts = self.inner.facts();
        let agent = tokio::spawn(async move {
            if let Err(error) = agent(&url, &facts).await {
                eprintln!("the agent of {}: {error:#}", facts.name);
            }
        });
        self.replace_agent(Some(agent.abort_handle()));
    }
}

impl Machine for Host {
    fn facts(&self) -> Arc<Facts> {
        self.inner.facts()
    }

    fn power(&self) -> Power {
        self.inner.power()
    }

    fn reset(&self, reset: Reset) -> Answer<'_> {
        Box::pin(async move {
            let before = self.inner.starts().len();
            self.inner.reset(reset).await?;
            if self.inner.starts().len() != before {
                self.booted();
            } else if self.inner.power() == Power::Off {
                self.replace_agent(None);
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

/// What an agent says: who it is, what is in the host, that its disks are clean.
async fn agent(medium: &str, facts: &Facts) -> Result<()> {
    let client = Client::new(trusting(None)?);
    let request = Request::get("/").header(RANGE, "bytes=0-").body(Full::default())?;
    let response = client.send(&Url::parse(medium)?, request, LIMIT).await?;
    anyhow::ensure!(response.status() == StatusCode::PARTIAL_CONTENT, "the medium: {}", response.status());
    let medium = response.into_body().collect().await?.to_bytes();
    let parameters = Parameters::parse(&String::from_utf8_lossy(&medium))?;
    let mut room = Room {
        client: Client::new(pinned(&parameters.pin)?),
        base: Url::parse(&parameters.service)?,
        session: String::new(),
    };
    let hello = Hello {
        host: parameters.host,
        token: parameters.token,
        boot: format!("{:032x}", facts.serial.len()),
        system_uuid: facts.uuid.clone(),
        serial: facts.serial.clone(),
        macs: facts.nics.iter().map(|nic| nic.mac.clone()).collect(),
        clock: 0,
    };
    let welcome: Welcome = room.ask(Method::POST, "/agent/v1/hello", &hello).await?.context("no welcome")?;
    room.session = welcome.session;
    loop {
        let work: Work = room.ask(Method::GET, "/agent/v1/work", &()).await?.context("no work")?;
        let (id, what) = match work {
            Work::Inspect { id } => (id, Said::Inspected { inventory: Box::new(inventory(facts)) }),
            Work::Clean { id, .. } => (id, Said::Cleaned { wiped: Vec::new() }),
            _ => continue,
        };
        let _: Option<()> = room.ask(Method::POST, "/agent/v1/report", &Report { id, what }).await?;
    }
}

/// Of a size that real servers have.
fn inventory(facts: &Facts) -> Inventory {
    let nic =
        |nic: &scute_bmc::Nic| Nic { mac: nic.mac.clone(), speed_gbps: 25, carrier: true, ..Nic::default() };
    let disk = |at: usize| scute_agent::protocol::Disk {
        name: format!("/dev/disk/by-path/pci-0000:{at:02x}:00.0-nvme-1"),
        alternate_names: vec![format!("/dev/nvme{at}n1")],
        kind: "NVME".into(),
        size_bytes: 960_197_124_096,
        serial_number: format!("{}-{at}", facts.serial),
        ..Default::default()
    };
    let mut inventory = Inventory {
        manufacturer: facts.manufacturer.clone(),
        product: facts.model.clone(),
        serial: facts.serial.clone(),
        memory_mebibytes: 262_144,
        nics: facts.nics.iter().map(nic).collect(),
        disks: (0..8).map(disk).collect(),
        ..Inventory::default()
    };
    inventory.cpu.flags = (0..120).map(|at| format!("flag{at}")).collect();
    inventory
}

/// As the API has the same inventory, for who only writes it.
pub fn hardware() -> serde_json::Value {
    let inventory = inventory(&facts(1));
    let nic = |nic: &Nic| serde_json::json!({"mac": nic.mac, "speedGbps": nic.speed_gbps});
    let disk = |disk: &scute_agent::protocol::Disk| {
        serde_json::json!({"name": disk.name, "alternateNames": disk.alternate_names, "sizeBytes": disk.size_bytes,
            "serialNumber": disk.serial_number, "type": disk.kind})
    };
    serde_json::json!({
        "ramMebibytes": inventory.memory_mebibytes,
        "nics": inventory.nics.iter().map(nic).collect::<Vec<_>>(),
        "storage": inventory.disks.iter().map(disk).collect::<Vec<_>>(),
        "cpu": {"flags": inventory.cpu.flags},
    })
}

struct Room {
    client: Client,
    base: Url,
    session: String,
}

impl Room {
    /// Asks until it is answered; nothing is no content.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Option<T>> {
        loop {
            let request = Request::builder()
                .method(method.clone())
                .header(CONTENT_TYPE, "application/json")
                .header(AUTHORIZATION, format!("Bearer {}", self.session))
                .body(Full::from(serde_json::to_vec(body)?))?;
            let response = self.client.send(&self.base.at(path)?, request, LIMIT).await?;
            let status = response.status();
            if status == StatusCode::SERVICE_UNAVAILABLE {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            anyhow::ensure!(status.is_success(), "{path}: {status}");
            let bytes = response.into_body().collect().await?.to_bytes();
            return Ok(if bytes.is_empty() { None } else { Some(serde_json::from_slice(&bytes)?) });
        }
    }
}
