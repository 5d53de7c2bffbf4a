//! The overlay's devices in the kernel: brought to what the plan says, whatever they were.

use ipnet::IpNet;
use scute_netlink::{LocalAddress, Netlink, NetlinkError, Route, Vxlan};

use crate::overlay::{DEVICES, Overlay};

/// Why a device is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The kernel's tables.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Somebody else has the name.
    #[error(
        "the interface {name} is there already, as a {kind}, which is not this agent's; remove or rename it"
    )]
    Foreign {
        /// The name.
        name: String,
        /// What it is.
        kind: String,
    },
}

/// Brings the device to what `overlay` says and returns the routes by way of it.
pub(crate) fn set(netlink: &mut Netlink, overlay: &Overlay) -> Result<Vec<Route>, TunnelError> {
    let link = device(netlink, &overlay.device)?;
    address(netlink, link, overlay.address)?;
    let (seen, want) = (netlink.neighbours(link)?, overlay.neighbours());
    for gone in seen.iter().filter(|seen| !want.contains(seen)) {
        netlink.remove_neighbour(link, gone.address)?;
    }
    for new in want.iter().filter(|want| !seen.contains(want)) {
        netlink.set_neighbour(link, new.address, new.mac)?;
    }
    let (seen, want) = (netlink.forwardings(link)?, overlay.forwardings());
    for gone in seen.iter().filter(|seen| !want.contains(seen)) {
        netlink.remove_forwarding(link, gone)?;
    }
    for new in want.iter().filter(|want| !seen.contains(want)) {
        netlink.set_forwarding(link, new)?;
    }
    Ok(overlay.routes(link).collect())
}

/// Removes the devices that are not in `keep`, and with them their routes.
pub(crate) fn remove_others(netlink: &mut Netlink, keep: &[Overlay]) -> Result<(), NetlinkError> {
    let kept = |name: &str| keep.iter().any(|overlay| overlay.device.name == name);
    for link in netlink.links()? {
        if DEVICES.contains(&link.name.as_str()) && link.kind == Vxlan::KIND && !kept(&link.name) {
            netlink.delete_link(link.index)?;
            tracing::info!(device = link.name, "overlay removed: no Node is behind it");
        }
    }
    Ok(())
}

/// The index of the device, up. One of our name and kind that is not as wanted is one of before.
fn device(netlink: &mut Netlink, want: &Vxlan) -> Result<u32, TunnelError> {
    let there = netlink.links()?.into_iter().find(|link| link.name == want.name);
    if let Some(link) = &there {
        if link.kind != Vxlan::KIND {
            let kind = if link.kind.is_empty() { "device".to_owned() } else { link.kind.clone() };
            return Err(TunnelError::Foreign { name: want.name.clone(), kind });
        }
        let seen = netlink.vxlans()?.into_iter().find(|(index, _)| *index == link.index);
        if seen.is_some_and(|(_, seen)| seen == Vxlan { mtu: seen.mtu, ..want.clone() }) {
            if link.mtu != want.mtu {
                netlink.set_mtu(link.index, want.mtu)?;
            }
            if !link.up {
                netlink.set_up(link.index, true)?;
            }
            return Ok(link.index);
        }
        netlink.delete_link(link.index)?;
    }
    netlink.create_vxlan(want)?;
    let Vxlan { name, mtu, vni, port, local, mac: _ } = want;
    tracing::info!(device = name, %local, vni, port, mtu, "overlay made");
    let made = netlink.links()?.into_iter().find(|link| link.name == want.name);
    let index = made.map(|link| link.index).ok_or(NetlinkError::Malformed)?;
    netlink.set_no_ipv6_address(index)?;
    netlink.set_up(index, true)?;
    Ok(index)
}

/// Gives the device this address and no other.
fn address(netlink: &mut Netlink, link: u32, want: IpNet) -> Result<(), NetlinkError> {
    let want = LocalAddress { net: want, link };
    let seen: Vec<_> = netlink.addresses()?.into_iter().filter(|address| address.link == link).collect();
    for gone in seen.iter().filter(|seen| **seen != want) {
        netlink.delete_address(gone)?;
    }
    if !seen.contains(&want) { netlink.add_address(&want) } else { Ok(()) }
}
