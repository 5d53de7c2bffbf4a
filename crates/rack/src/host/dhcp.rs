//! DHCP for one cable. The server hears what comes out of the host's own tap and answers into it, so that it answers nobody
//! else on the bridge, and nobody can ask in a host's name.

use std::net::Ipv4Addr;

use scute_dhcp::frame::Frame;
use scute_dhcp::server::{self, Lease, Request, Route};
use scute_dhcp::{CLIENT_PORT, SERVER_PORT};
use scute_netlink::UdpFrames;

use crate::config::HostConfig;
use crate::rack::Plugged;

/// 999 days: the address is the host's as long as it is in the rack.
const LEASE_SECONDS: u32 = 999 * 24 * 60 * 60;
const BROADCAST: [u8; 6] = [0xff; 6];
/// Longer than any frame of the bridge.
const LARGEST: usize = 9216;

/// Answers one network card.
#[derive(Debug)]
pub struct Server {
    lease: Lease,
    address: Ipv4Addr,
    mac: [u8; 6],
}

impl Server {
    /// For this cable; none for a card without an address.
    pub fn of(config: &HostConfig, nic: usize, plugged: &Plugged) -> Option<Self> {
        let nic = config.nics.get(nic)?;
        let Plugged { network, tap: _, bridge, mtu } = plugged;
        let default = Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: Some(network.gateway) };
        let lease = Lease {
            mac: nic.mac.0,
            address: nic.address?,
            prefix: network.prefix,
            mtu: *mtu,
            routes: vec![default],
            nameservers: network.dns.clone(),
            search: vec![],
            hostname: config.name.clone(),
            seconds: LEASE_SECONDS,
        };
        Some(Self { lease, address: network.gateway, mac: bridge.0 })
    }

    /// Until the tap is gone.
    pub async fn run(self, frames: UdpFrames) {
        let mut buffer = vec![0; LARGEST];
        loop {
            let answer = match frames.next(&mut buffer).await {
                Ok(frame) => self.answer(frame),
                Err(error) => return tracing::debug!(%error, "DHCP of a cable ends"),
            };
            if let Some(answer) = answer
                && let Err(error) = frames.send(&answer)
            {
                tracing::warn!(%error, address = %self.lease.address, "no DHCP answer");
            }
        }
    }

    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let frame = Frame::read(frame)?;
        let request = Request::parse(frame.payload)?;
        let (kind, to) = server::respond(&request, self.address, &self.lease)?;
        Frame {
            from: self.mac,
            to: if to == Ipv4Addr::BROADCAST { BROADCAST } else { self.lease.mac },
            source: (self.address, SERVER_PORT),
            destination: (to, CLIENT_PORT),
            payload: &server::answer(&request, kind, self.address, &self.lease),
        }
        .write()
    }
}

#[cfg(test)]
mod tests;
