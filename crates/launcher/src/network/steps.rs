//! The steps of handing over, each of which leaves alone what is done.

use ipnet::{IpNet, Ipv4Net};
use scute_netlink::nftables::Nftables;
use scute_netlink::{Link, LocalAddress, Mac, Netlink, NetlinkError, NewLink, Route};

use super::{BRIDGE, BRIDGE_ADDRESS, Learned, NetworkError, POD, PORT, STAND_IN, filter};
use crate::machine::TAP;

/// `rtm_protocol` of a route that an administrator made.
const STATIC: u8 = 4;

pub struct Steps<'a> {
    netlink: Netlink,
    learned: &'a Learned,
}

impl<'a> Steps<'a> {
    pub fn new(netlink: Netlink, learned: &'a Learned) -> Self {
        Steps { netlink, learned }
    }

    fn find(&mut self, name: &str) -> Result<Option<Link>, NetworkError> {
        let links = self.step("list the interfaces", Netlink::links)?;
        Ok(links.into_iter().find(|link| link.name == name))
    }

    fn step<T>(
        &mut self,
        step: &'static str,
        work: impl FnOnce(&mut Netlink) -> Result<T, NetlinkError>,
    ) -> Result<T, NetworkError> {
        work(&mut self.netlink).map_err(|source| NetworkError::Step { step, source })
    }

    fn index_of(&mut self, name: &'static str) -> Result<u32, NetworkError> {
        self.find(name)?.map(|link| link.index).ok_or(NetworkError::Gone(name))
    }

    pub fn bridge(&mut self) -> Result<u32, NetworkError> {
        if self.find(BRIDGE)?.is_none() {
            let (mac, mtu) = (derived(self.learned.mac, 0xb0), self.learned.mtu.into());
            let bridge = NewLink { name: BRIDGE, kind: "bridge", mac, mtu };
            self.step("make the bridge", |netlink| netlink.create_link(&bridge))?;
        }
        let bridge = self.index_of(BRIDGE)?;
        let address = LocalAddress { net: IpNet::V4(BRIDGE_ADDRESS.into()), link: bridge };
        self.step("set up the bridge", |netlink| {
            netlink.set_no_ipv6_address(bridge)?;
            netlink.set_address_rules(bridge)?;
            netlink.set_up(bridge, true)?;
            netlink.add_address(&address)
        })?;
        Ok(bridge)
    }

    /// The Pod's interface loses its name, addresses and MAC, and becomes a port.
    pub fn pod_interface(&mut self, bridge: u32) -> Result<(), NetworkError> {
        if self.find(PORT)?.is_none() {
            let pod = self.index_of(POD)?;
            self.step("rename the Pod's interface", |netlink| {
                netlink.set_up(pod, false)?;
                netlink.rename(pod, PORT)
            })?;
        }
        let port = self.index_of(PORT)?;
        let mac = derived(self.learned.mac, 0xe0);
        self.step("make the Pod's interface a port of the bridge", |netlink| {
            let addresses = netlink.addresses()?;
            for address in
                addresses.iter().filter(|address| address.link == port && address.net.addr().is_ipv4())
            {
                netlink.delete_address(address)?;
            }
            netlink.set_no_ipv6_address(port)?;
            netlink.set_mac(port, mac)?;
            netlink.set_master(port, bridge)?;
            // A node that reflects the guest's broadcasts must not make the bridge look for the guest behind it.
            netlink.set_no_learning(port)?;
            netlink.set_up(port, true)
        })
    }

    /// The CNI plugin deletes `eth0`, and cleans up what belongs to its address.
    pub fn stand_in(&mut self) -> Result<(), NetworkError> {
        let (mac, mtu) = (self.learned.mac, self.learned.mtu.into());
        if self.find(POD)?.is_none() {
            let stand_in = NewLink { name: POD, kind: STAND_IN, mac, mtu };
            self.step("make the stand-in", |netlink| netlink.create_link(&stand_in))?;
        }
        let link = self.index_of(POD)?;
        let net =
            Ipv4Net::new(self.learned.address, self.learned.prefix).unwrap_or(self.learned.address.into());
        let address = LocalAddress { net: net.into(), link };
        self.step("set up the stand-in", |netlink| netlink.add_address(&address))
    }

    /// Before anybody can send: a kernel that cannot filter runs no guests.
    pub fn filter(&mut self, behind: &[Ipv4Net]) -> Result<(), NetworkError> {
        let table = filter::table(TAP, self.learned, behind);
        Nftables::open()
            .and_then(|mut nftables| nftables.replace(&table))
            .map_err(|source| NetworkError::Step { step: "filter what the guest sends", source })
    }

    pub fn tap(&mut self, bridge: u32) -> Result<(), NetworkError> {
        let tap = self.index_of(TAP)?;
        let mtu = self.learned.mtu.into();
        self.step("make the tap a port of the bridge", |netlink| {
            netlink.set_no_ipv6_address(tap)?;
            netlink.set_mtu(tap, mtu)?;
            netlink.set_master(tap, bridge)?;
            netlink.set_up(tap, true)
        })
    }

    /// DHCP answers go to a guest that has no address yet and cannot be asked for its MAC.
    pub fn guest_neighbour(&mut self, bridge: u32) -> Result<(), NetworkError> {
        let (address, mac) = (self.learned.address, self.learned.mac);
        let destination = IpNet::V4(address.into());
        let route = Route { destination, gateway: None, on_link: false, link: bridge, protocol: STATIC };
        self.step("make the guest a neighbour", |netlink| {
            netlink.set_route(&route)?;
            netlink.set_neighbour(bridge, address.into(), mac)
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
