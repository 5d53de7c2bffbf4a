//! Bare-metal servers.
//!
//! In: BareMetalHost, Metal3Machine and what belongs to them; what agents on the servers say. Out: what is wrong with them,
//! told at the door; servers that are inspected, cleaned, written and started; HardwareData; hosts that are chosen for
//! Machines, become Nodes and are given back. Never: the content of a Secret in a message, or a
//! run that waits for a BMC.

mod admission;
mod baremetalhost;
mod calls;
mod config;
mod dataimage;
mod ipam;
mod metal3cluster;
mod metal3data;
mod metal3datatemplate;
mod metal3machine;
mod metal3remediation;
mod probes;
mod service;
mod told;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scute_api::ranges::Claim;
use scute_kit::tenants::Tenants;
use scute_kit::{Hub, chain};
use scute_redfish::Connector;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use admission::admission;
pub use baremetalhost::seen::Patience;
pub use config::Config;

use baremetalhost::{Context, Digests};
use calls::Calls;
use probes::Probes;
use service::desk::Desk;
use service::identity::{Identity, identity};
use service::{Images, Media, serve};

/// Where agents and BMCs come to.
pub struct Listeners {
    /// For agents, by TLS.
    pub secure: TcpListener,
    /// For media, without TLS.
    pub plain: TcpListener,
}

impl Listeners {
    /// On all addresses.
    ///
    /// # Errors
    /// When a port is taken, or may not be listened on.
    pub fn open(config: &Config) -> io::Result<Self> {
        Ok(Self {
            secure: scute_kit::listen(config.service_port)?,
            plain: scute_kit::listen(config.media_port)?,
        })
    }
}

/// Starts the controllers, and what agents and BMCs ask.
pub fn spawn(hub: &Arc<Hub>, config: Config, listeners: Listeners, tasks: &mut JoinSet<()>) {
    tasks.spawn(dataimage::run(Arc::clone(hub)));
    tasks.spawn(run(Arc::clone(hub), config, listeners));
}

/// Starts the controllers of Cluster API's kinds and of addresses, which need nothing but the API servers. No pool gives out
/// what is `reserved`.
pub fn spawn_provider(hub: &Arc<Hub>, tenants: &Arc<Tenants>, reserved: Vec<Claim>, tasks: &mut JoinSet<()>) {
    tasks.spawn(ipam::run(Arc::clone(hub), reserved));
    tasks.spawn(metal3data::run(Arc::clone(hub)));
    tasks.spawn(metal3datatemplate::run(Arc::clone(hub)));
    tasks.spawn(metal3cluster::run(Arc::clone(hub)));
    tasks.spawn(metal3machine::run(Arc::clone(hub), Arc::clone(tenants)));
    tasks.spawn(metal3remediation::run(Arc::clone(hub), Arc::clone(tenants)));
}

/// Before an API server that did not give the identity is asked again.
const AGAIN: Duration = Duration::from_secs(2);

async fn run(hub: Arc<Hub>, config: Config, listeners: Listeners) {
    let identity = loop {
        match identity(&hub, &config.identity, &config.address).await {
            Ok(identity) => break identity,
            Err(error) => tracing::error!(error = chain(&error), "agents cannot be served"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    let Identity { chain: certificates, key, pin, seal } = identity;
    let (desk, agents) = Desk::new(&hub, seal);
    let (calls, orders) = Calls::new();
    let (probes, back) = Probes::new();
    let authority = authority(&config.address);
    let service = format!("https://{authority}:{}", config.service_port);
    let media = Media { desk: Arc::clone(&desk), ramdisk: config.ramdisk, service: service.clone(), pin };
    let images = Arc::new(Images::new(config.images));
    let (digests, listed) = Digests::new();
    let context = Context {
        hub,
        desk,
        calls,
        probes,
        digests,
        connector: Arc::new(Connector::new(config.owner, config.bmc_patience)),
        patience: config.patience,
        trust: config.trust,
        service,
        media: format!("http://{authority}:{}/media/", config.media_port),
        memories: Mutex::default(),
    };
    tokio::select! {
        served = serve(Arc::new(media), images, certificates, key, listeners) => {
            if let Err(error) = served {
                tracing::error!(%error, "the service of agents and media ended");
            }
        }
        () = baremetalhost::run(Arc::new(context), [orders, agents, listed, back]) => {}
    }
}

/// As a URL has it.
fn authority(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => address.to_owned(),
    }
}
