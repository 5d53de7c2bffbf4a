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

mod learned;
mod links;
mod netlink;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use scute_netlink::tap;

use super::ending::Ending;
use super::machine::TAP;
use super::options::{Options, Places};
use super::spec::{LauncherSpec, RUN_AS};
use links::Link;
use netlink::Socket;

pub use learned::{Learned, LearnedError, Mac, Route};

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
        source: io::Error,
    },
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

/// The termination message is how the VirtualMachineInstance controller learns the guest's MAC address. A VM without
/// interface has none, and a guest whose address is not reported runs all the same.
fn report_mac(places: &Places) {
    if let Ok(learned) = read_learned(&places.run_dir) {
        let message = format!(r#"{{"mac":"{}"}}"#, learned.mac);
        let _ = std::fs::write(&places.termination_log, message);
    }
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
    let mut socket = Socket::open().map_err(|source| NetworkError::Step { step: "open netlink", source })?;
    let learned = learn(&mut socket, places)?;
    let mut steps = Steps { socket, learned: &learned };
    let bridge = steps.bridge()?;
    steps.pod_interface(bridge)?;
    steps.stand_in()?;
    let tun = make_tun_node(&places.run_dir)?;
    let multi_queue = interface.queues(spec.cpu.vcpus()) > 1;
    tap::create(&tun, TAP, RUN_AS, multi_queue)
        .map_err(|source| NetworkError::Step { step: "make the tap", source })?;
    steps.tap(bridge)?;
    steps.guest_neighbour(bridge)
}

/// Reads the Pod's network, or what an earlier run has read of it.
fn learn(socket: &mut Socket, places: &Places) -> Result<Learned, NetworkError> {
    let failed = |source| NetworkError::Step { step: "read the Pod's network", source };
    let pod = links::list(socket)
        .map_err(failed)?
        .into_iter()
        .find(|link| link.name == POD && link.kind != STAND_IN);
    let addresses =
        pod.as_ref().map(|pod| links::addresses(socket, pod.index)).transpose().map_err(failed)?;
    let address = addresses.and_then(|addresses| addresses.into_iter().next());
    let (Some(Link { index, mac: Some(mac), mtu, .. }), Some((address, prefix))) = (pod, address) else {
        return Learned::read(&places.run_dir).map_err(|_| NetworkError::NoPodInterface);
    };
    let resolv_conf = std::fs::read_to_string(&places.resolv_conf)
        .map_err(|source| NetworkError::Step { step: "read the resolver configuration", source })?;
    let (nameservers, search) = learned::resolver(&resolv_conf);
    let routes = links::routes(socket, index).map_err(failed)?;
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    let learned = Learned { mac, mtu, address, prefix, routes, nameservers, search };
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
    make().map_err(|source| NetworkError::Step { step: "make the tun device node", source })?;
    Ok(node)
}

/// The steps, each of which leaves alone what is done.
struct Steps<'a> {
    socket: Socket,
    learned: &'a Learned,
}

impl Steps<'_> {
    fn find(&mut self, name: &str) -> Result<Option<Link>, NetworkError> {
        let links = self.step("list the interfaces", links::list)?;
        Ok(links.into_iter().find(|link| link.name == name))
    }

    fn step<T>(
        &mut self,
        step: &'static str,
        work: impl FnOnce(&mut Socket) -> io::Result<T>,
    ) -> Result<T, NetworkError> {
        work(&mut self.socket).map_err(|source| NetworkError::Step { step, source })
    }

    fn index_of(&mut self, name: &'static str) -> Result<u32, NetworkError> {
        let missing = io::Error::new(io::ErrorKind::NotFound, name);
        let link = self.find(name)?;
        link.map(|link| link.index).ok_or(NetworkError::Step { step: "find an interface", source: missing })
    }

    fn bridge(&mut self) -> Result<u32, NetworkError> {
        if self.find(BRIDGE)?.is_none() {
            let (mac, mtu) = (derived(self.learned.mac, 0xb0), self.learned.mtu.into());
            self.step("make the bridge", |socket| links::create(socket, BRIDGE, "bridge", mac, mtu))?;
        }
        let bridge = self.index_of(BRIDGE)?;
        self.step("set up the bridge", |socket| {
            links::set_no_ipv6_address(socket, bridge)?;
            links::set_address_rules(socket, bridge)?;
            links::set_up(socket, bridge, true)?;
            links::add_address(socket, bridge, (BRIDGE_ADDRESS, 32))
        })?;
        Ok(bridge)
    }

    /// The Pod's interface loses its name, addresses and MAC, and becomes a port.
    fn pod_interface(&mut self, bridge: u32) -> Result<(), NetworkError> {
        if self.find(PORT)?.is_none() {
            let pod = self.index_of(POD)?;
            self.step("rename the Pod's interface", |socket| {
                links::set_up(socket, pod, false)?;
                links::rename(socket, pod, PORT)
            })?;
        }
        let port = self.index_of(PORT)?;
        let mac = derived(self.learned.mac, 0xe0);
        self.step("make the Pod's interface a port of the bridge", |socket| {
            for address in links::addresses(socket, port)? {
                links::delete_address(socket, port, address)?;
            }
            links::set_no_ipv6_address(socket, port)?;
            links::set_mac(socket, port, mac)?;
            links::set_master(socket, port, bridge)?;
            // A node that reflects the guest's broadcasts must not make the bridge look for the guest behind it.
            links::set_no_learning(socket, port)?;
            links::set_up(socket, port, true)
        })
    }

    /// The CNI plugin deletes `eth0`, and cleans up what belongs to its address.
    fn stand_in(&mut self) -> Result<(), NetworkError> {
        let (mac, mtu) = (self.learned.mac, self.learned.mtu.into());
        if self.find(POD)?.is_none() {
            self.step("make the stand-in", |socket| links::create(socket, POD, STAND_IN, mac, mtu))?;
        }
        let stand_in = self.index_of(POD)?;
        let address = (self.learned.address, self.learned.prefix);
        self.step("set up the stand-in", |socket| links::add_address(socket, stand_in, address))
    }

    fn tap(&mut self, bridge: u32) -> Result<(), NetworkError> {
        let tap = self.index_of(TAP)?;
        let mtu = self.learned.mtu.into();
        self.step("make the tap a port of the bridge", |socket| {
            links::set_no_ipv6_address(socket, tap)?;
            links::set_mtu(socket, tap, mtu)?;
            links::set_master(socket, tap, bridge)?;
            links::set_up(socket, tap, true)
        })
    }

    /// DHCP answers go to a guest that has no address yet and cannot be asked for its MAC.
    fn guest_neighbour(&mut self, bridge: u32) -> Result<(), NetworkError> {
        let (address, guest) = (self.learned.address, self.learned.mac);
        self.step("make the guest a neighbour", |socket| {
            links::add_host_route(socket, bridge, address)?;
            links::set_neighbour(socket, bridge, address, guest)
        })
    }
}

/// A locally administered MAC that follows from the Pod's, and is not the Pod's: the same on every run.
fn derived(mac: Mac, salt: u8) -> Mac {
    let [a, b, c, d, e, f] = mac.0;
    let first = (a & 0xfc | 0x02) ^ 0x40;
    Mac([first, b, c, d, e, f ^ salt])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_macs_are_local_unicast_and_all_different() {
        for mac in
            [Mac([0x02, 0x42, 1, 2, 3, 4]), Mac([0x52, 0x54, 0, 0, 0, 0xb0]), Mac([0xfe, 0xff, 1, 1, 1, 1])]
        {
            let (bridge, port) = (derived(mac, 0xb0), derived(mac, 0xe0));
            assert!(bridge != mac && port != mac && bridge != port);
            assert_eq!((bridge.0[0] & 3, port.0[0] & 3), (2, 2));
        }
    }
}
