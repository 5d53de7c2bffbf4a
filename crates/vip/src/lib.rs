//! The endpoint of control planes on servers, without a load balancer. In: an address, and whether the API server of this
//! machine answers. Out: the address on exactly one of the machines of a segment, told to its neighbours. Never: a Kubernetes
//! client, a decision that needs more than the segment.

mod advertisement;
mod election;
mod health;
mod segment;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use scute_netlink::{LocalAddress, Netlink, NetlinkError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use advertisement::Advertisement;
use election::{Act, Election, INTERVAL};
pub use health::watch as watch_health;
pub use segment::Segment;

/// How often the neighbours are told of a new holder: what has changed within the last second Linux does not believe again.
const ANNOUNCED: u8 = 6;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address.
    pub address: Ipv4Addr,
    /// Name of the interface; the one in whose network the address is unless told otherwise.
    pub interface: Option<String>,
    /// Which of the virtual routers of the segment this is, 1 to 255; the last number of the address unless told otherwise.
    pub router: Option<u8>,
    /// Where the API server of this machine answers.
    pub api_server: SocketAddr,
    /// Authority of its certificate. It need not exist yet.
    pub ca: PathBuf,
}

/// Why the address cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// No interface fits.
    #[error("{0}")]
    Interface(String),
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The segment cannot be listened to.
    #[error(
        "VRRP on interface {interface} failed (it takes CAP_NET_ADMIN and CAP_NET_RAW in the machine's own network)"
    )]
    Socket {
        /// The interface.
        interface: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Config {
    fn router(&self) -> u8 {
        // A router has no number 0; no machine has an address that ends with it either.
        self.router.unwrap_or(self.address.octets()[3]).max(1)
    }
}

/// Takes part until `stop` ends; the address is given up then.
///
/// # Errors
/// What makes that impossible from the beginning, or ends it.
pub async fn run(config: &Config, stop: impl Future<Output = ()>) -> Result<(), VipError> {
    let segment = Segment::open(config)?;
    let (tell, healthy) = watch::channel(false);
    tokio::select! {
        ended = run_on(segment, config, healthy, stop) => ended,
        never = watch_health(config.api_server, &config.ca, &tell) => match never {},
    }
}

/// The same on a segment that is open already, with the health of the machine's API server as `healthy` says.
///
/// # Errors
/// What ends it.
pub async fn run_on(
    mut segment: Segment,
    config: &Config,
    mut healthy: watch::Receiver<bool>,
    stop: impl Future<Output = ()>,
) -> Result<(), VipError> {
    let begin = Instant::now();
    let mut election = Election::new(segment.own(), Duration::ZERO);
    let said = |priority| Advertisement {
        router: config.router(),
        priority,
        interval: INTERVAL,
        address: config.address,
    };
    let is_meant = |heard: &Advertisement| (heard.router, heard.address) == (config.router(), config.address);
    // What it says already counts too.
    healthy.mark_changed();
    // What a process that was killed has left would be a second holder.
    segment.drop_address()?;
    let mut stop = std::pin::pin!(stop);
    let mut untold = 0;
    loop {
        let now = || begin.elapsed();
        let acts = tokio::select! {
            () = &mut stop => break,
            () = sleep_until(begin + election.due()) => election.tick(now()),
            heard = segment.hear() => match heard? {
                (heard, from) if is_meant(&heard) => election.heard(now(), &heard, from),
                _ => Vec::new(),
            },
            Ok(()) = healthy.changed() => {
                let healthy = *healthy.borrow_and_update();
                election.is_healthy(now(), healthy)
            }
        };
        for act in acts {
            match act {
                Act::Take => {
                    tracing::info!(address = %config.address, "taken");
                    segment.take_address()?;
                    untold = ANNOUNCED;
                }
                Act::Drop => {
                    tracing::info!(address = %config.address, "given up");
                    segment.drop_address()?;
                }
                Act::Say(priority) => {
                    segment.say(&said(priority));
                    if untold > 0 {
                        untold -= 1;
                        segment.announce();
                    }
                }
            }
        }
    }
    for act in election.leave() {
        match act {
            Act::Say(priority) => segment.say(&said(priority)),
            Act::Drop | Act::Take => segment.drop_address()?,
        }
    }
    Ok(())
}

/// The interface in whose network an address is: its own address there, its number and its name.
fn find(netlink: &mut Netlink, config: &Config) -> Result<(LocalAddress, String), VipError> {
    let links = netlink.links()?;
    let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let fits = |address: &&LocalAddress| {
        let IpNet::V4(net) = address.net else { return false };
        // The address itself may still be there; it says nothing of the network.
        let wanted =
            config.interface.as_ref().is_none_or(|wanted| Some(wanted) == name(address.link).as_ref());
        wanted && net.prefix_len() < 32 && net.contains(&config.address)
    };
    let addresses = netlink.addresses()?;
    match addresses.iter().filter(fits).collect::<Vec<_>>()[..] {
        [one] => Ok((*one, name(one.link).unwrap_or_default())),
        [] => {
            let others =
                addresses.iter().filter(|have| have.net.addr().is_ipv4() && !have.net.addr().is_loopback());
            let have: Vec<_> = others.map(|address| address.net.to_string()).collect();
            let on = config.interface.as_ref().map_or(String::new(), |name| format!(" of interface {name}"));
            let (address, have) = (config.address, have.join(", "));
            Err(VipError::Interface(format!("{address} is in no network{on} of this machine ({have})")))
        }
        _ => {
            let address = config.address;
            Err(VipError::Interface(format!(
                "{address} is in several networks of this machine: say which interface"
            )))
        }
    }
}
