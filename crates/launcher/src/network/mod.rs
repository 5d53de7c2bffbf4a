//! `scute launcher network`: hands the Pod's network to the guest, as upstream's bridge binding does.
//!
//! ```text
//! before:  node --veth-- eth0 (Pod IP, Pod MAC)
//! after:   node --veth-- eth0-nic (no IP, other MAC) --+
//!                                         k6t-eth0 (bridge, 169.254.75.10: our DHCP) -- tap0 -- guest (Pod IP, Pod MAC)
//!          eth0: a stand-in with the Pod's IP and MAC, down, so that the CNI plugin still finds what it made
//! ```
//! What was there is written to a file before anything is changed, and each step takes what it finds done as done: a
//! container that is killed half-way and run again converges.

mod filter;
mod learned;
mod steps;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ipnet::IpNet;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use scute_netlink::{Link, Netlink, NetlinkError, tap};
use serde_json::json;

use super::ending::Ending;
use super::machine::TAP;
use super::options::{Options, Places};
use super::spec::{LauncherSpec, RUN_AS};
use steps::Steps;

use learned::route;
pub use learned::{Learned, LearnedError, Resolver};

/// The bridge.
pub const BRIDGE: &str = "k6t-eth0";
/// Our own address on it, the DHCP server's.
pub const BRIDGE_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 75, 10);

const POD: &str = "eth0";
const PORT: &str = "eth0-nic";
/// A bridge without ports, where upstream has a dummy: it needs no kernel module that we do not need anyway.
const STAND_IN: &str = "bridge";
/// The tun device, and its node in the run directory.
const TUN_DEVICE: (u32, u32) = (10, 200);
const TUN_NODE: &str = "tun";

/// Why the network was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The Pod has no interface that could be handed over.
    #[error("the Pod has no {POD} with an IPv4 address")]
    NoPodInterface,
    /// A file problem.
    #[error(transparent)]
    Learned(#[from] LearnedError),
    /// A step failed.
    #[error("cannot {step}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why.
        #[source]
        source: NetlinkError,
    },
    /// A file or a device failed.
    #[error("cannot {step}")]
    File {
        /// What was tried.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An interface that was there is gone.
    #[error("interface {0} is gone")]
    Gone(&'static str),
}

/// Does the init container's work.
pub fn main(options: &Options) -> ExitCode {
    let spec = options.read_spec().map_err(|error| Ending::error("InvalidSpec", &error));
    let done = spec.and_then(|spec| {
        hand_over(&spec, &options.places).map_err(|error| Ending::error("NetworkFailed", &error))
    });
    match done {
        Ok(()) => {
            report_mac(&options.places);
            ExitCode::SUCCESS
        }
        Err(ending) => {
            eprintln!("{}", ending.message);
            // Best effort: the exit status says the rest.
            let _ = std::fs::write(&options.places.termination_log, ending.to_json());
            ExitCode::FAILURE
        }
    }
}

/// The termination message is how the VirtualMachineInstance controller learns the guest's MAC address, and which name
/// servers the guest is not told of. A VM without interface has none, and a guest whose address is not reported runs all
/// the same.
fn report_mac(places: &Places) {
    let Ok(learned) = read_learned(&places.run_dir) else { return };
    let mut message = json!({"mac": learned.mac});
    let unreachable = learned.resolver.unreachable_nameservers;
    if !unreachable.is_empty() {
        eprintln!(
            "guests have no IPv6 on the Pod network: name servers {unreachable:?} are not told to this one"
        );
        message["unreachableNameservers"] = json!(unreachable);
    }
    let _ = std::fs::write(&places.termination_log, message.to_string());
}

/// What the network container has left in `run_dir`.
pub fn read_learned(run_dir: &Path) -> Result<Learned, LearnedError> {
    Learned::read(run_dir)
}

/// The tun device node that this user may open.
pub fn tun_node(run_dir: &Path) -> PathBuf {
    run_dir.join(TUN_NODE)
}

/// Hands the Pod's network to the first interface of `spec`; nothing to do without one.
pub fn hand_over(spec: &LauncherSpec, places: &Places) -> Result<(), NetworkError> {
    let Some(interface) = spec.interfaces.first() else { return Ok(()) };
    let failed = |source| NetworkError::Step { step: "open netlink", source };
    let mut netlink = Netlink::open().map_err(failed)?;
    let learned = learn(&mut netlink, places)?;
    let mut steps = Steps::new(netlink, &learned);
    let bridge = steps.bridge()?;
    steps.pod_interface(bridge)?;
    steps.stand_in()?;
    let tun = make_tun_node(&places.run_dir)?;
    let multi_queue = interface.queues(spec.cpu.vcpus()) > 1;
    tap::create(&tun, TAP, RUN_AS, multi_queue)
        .map_err(|source| NetworkError::File { step: "make the tap", source })?;
    steps.filter(&interface.behind)?;
    steps.tap(bridge)?;
    steps.guest_neighbour(bridge)
}

/// Reads the Pod's network, or what an earlier run has read of it.
fn learn(netlink: &mut Netlink, places: &Places) -> Result<Learned, NetworkError> {
    let failed = |source| NetworkError::Step { step: "read the Pod's network", source };
    let pod =
        netlink.links().map_err(failed)?.into_iter().find(|link| link.name == POD && link.kind != STAND_IN);
    let addresses = netlink.addresses().map_err(failed)?;
    let address = pod.as_ref().and_then(|pod| {
        addresses.iter().find_map(|address| match address.net {
            IpNet::V4(net) if address.link == pod.index => Some(net),
            _ => None,
        })
    });
    let earlier = Learned::read(&places.run_dir);
    let (Some(Link { index, mac: Some(mac), mtu, up, .. }), Some(address)) = (pod, address) else {
        return earlier.map_err(|_| NetworkError::NoPodInterface);
    };
    // An earlier run was killed between taking the interface down, by which its routes went, and renaming it.
    let same = |learned: &Learned| !up && learned.mac == mac && learned.address == address.addr();
    if let Some(learned) = earlier.ok().filter(same) {
        return Ok(learned);
    }
    let resolv_conf = std::fs::read_to_string(&places.resolv_conf)
        .map_err(|source| NetworkError::File { step: "read the resolver configuration", source })?;
    let routes = netlink.routes().map_err(failed)?;
    let learned = Learned {
        mac,
        mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        address: address.addr(),
        prefix: address.prefix_len(),
        routes: routes.iter().filter(|route| route.link == index).filter_map(route).collect(),
        resolver: Resolver::parse(&resolv_conf),
    };
    learned.write(&places.run_dir)?;
    Ok(learned)
}

/// A device node that user 107 may open: the host's own is root's, and a container has none.
fn make_tun_node(run_dir: &Path) -> Result<PathBuf, NetworkError> {
    let node = tun_node(run_dir);
    let make = || -> io::Result<()> {
        match mknodat(
            CWD,
            &node,
            FileType::CharacterDevice,
            Mode::empty(),
            makedev(TUN_DEVICE.0, TUN_DEVICE.1),
        ) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        // Not by mknod's mode: the umask would cut it.
        Ok(rustix::fs::chmod(
            &node,
            Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH,
        )?)
    };
    make().map_err(|source| NetworkError::File { step: "make the tun device node", source })?;
    Ok(node)
}
