//! VXLAN devices (RFC 7348) that learn nothing: who is behind one is said by forwarding entries.

use std::net::IpAddr;

use crate::links::{ADDRESS, FIXED, INFO, INFO_DATA, INFO_KIND, MTU, NAME, NEW_LINK};
use crate::message::{self, Attributes, INET, INET6, Make, Request};
use crate::socket::Answer;
use crate::{Mac, Netlink, NetlinkError};

const ID: u16 = 1;
const LOCAL: u16 = 4;
const LEARNING: u16 = 7;
const PORT: u16 = 15;
const LOCAL_6: u16 = 17;

/// A VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// Its name.
    pub name: String,
    /// Its MAC, which the other end has to know.
    pub mac: Mac,
    /// Its MTU: what fits into one packet of the network below.
    pub mtu: u32,
    /// The VXLAN network identifier: 24 bits.
    pub vni: u32,
    /// The UDP port, of both ends.
    pub port: u16,
    /// The address that packets are sent from; its family is that of the network below.
    pub local: IpAddr,
}

impl Vxlan {
    /// The kind of its interface.
    pub const KIND: &str = "vxlan";
}

impl Netlink {
    /// The VXLAN devices, by the index of their interfaces. Such as learn, or have no address of their own, are left out.
    pub fn vxlans(&mut self) -> Result<Vec<(u32, Vxlan)>, NetlinkError> {
        Ok(self.link_answers()?.iter().filter_map(read).collect())
    }

    /// Makes a VXLAN device.
    pub fn create_vxlan(&mut self, device: &Vxlan) -> Result<(), NetlinkError> {
        let request = Request::make(NEW_LINK, Make::New, &[0; FIXED], attributes(device));
        self.socket.change(&format!("make the VXLAN device {}", device.name), request)
    }
}

fn attributes(device: &Vxlan) -> Attributes {
    let Vxlan { name, mac, mtu, vni, port, local } = device;
    let data = Attributes::new()
        .number(ID, *vni)
        .bytes(if local.is_ipv4() { LOCAL } else { LOCAL_6 }, &message::octets(*local))
        .bytes(LEARNING, &[0])
        .bytes(PORT, &port.to_be_bytes());
    let info = Attributes::new().text(INFO_KIND, Vxlan::KIND).nest(INFO_DATA, data);
    Attributes::new().text(NAME, name).bytes(ADDRESS, &mac.0).number(MTU, *mtu).nest(INFO, info)
}

fn read(answer: &Answer) -> Option<(u32, Vxlan)> {
    let of = |kind| message::attribute(&answer.body, FIXED, kind);
    let info = of(INFO)?;
    if message::attribute(info, 0, INFO_KIND).map(message::text)? != Vxlan::KIND {
        return None;
    }
    let data = message::attribute(info, 0, INFO_DATA)?;
    let in_data = |kind| message::attribute(data, 0, kind);
    let local = match (in_data(LOCAL), in_data(LOCAL_6)) {
        (Some(bytes), _) => message::address(INET, bytes)?,
        (None, bytes) => message::address(INET6, bytes?)?,
    };
    let device = Vxlan {
        name: of(NAME).map(message::text)?,
        mac: Mac(of(ADDRESS)?.try_into().ok()?),
        mtu: message::u32_at(of(MTU)?, 0)?,
        vni: message::u32_at(in_data(ID)?, 0)?,
        port: u16::from_be_bytes(in_data(PORT)?.try_into().ok()?),
        local,
    };
    let learns = in_data(LEARNING)? != [0];
    (!learns).then_some((message::u32_at(&answer.body, 4)?, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(local: &str) -> Vxlan {
        let mac = Mac([2, 83, 10, 85, 0, 5]);
        Vxlan {
            name: "scute-vxlan".into(),
            mac,
            mtu: 1450,
            vni: 83,
            port: 4789,
            local: local.parse().unwrap(),
        }
    }

    fn answer(attributes: Attributes) -> Answer {
        let mut fixed = [0; FIXED];
        fixed[4] = 9;
        Answer { body: Request::change(NEW_LINK, &fixed, attributes).numbered(1)[16..].to_vec() }
    }

    #[test]
    fn a_device_is_read_as_it_was_written() {
        for local in ["10.85.0.5", "fd85::5"] {
            let number = u32::from_ne_bytes([9, 0, 0, 0]);
            assert_eq!(read(&answer(attributes(&device(local)))), Some((number, device(local))));
        }
    }

    #[test]
    fn links_of_other_kinds_are_none() {
        let bridge =
            Attributes::new().text(NAME, "cni0").nest(INFO, Attributes::new().text(INFO_KIND, "bridge"));
        assert_eq!(read(&answer(bridge)), None);
        let bare =
            Attributes::new().text(NAME, "v").nest(INFO, Attributes::new().text(INFO_KIND, Vxlan::KIND));
        assert_eq!(read(&answer(bare)), None);
    }
}
