//! What holders say to each other: VRRP version 3 over IPv4, <https://www.rfc-editor.org/rfc/rfc5798>. Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

/// IP protocol of VRRP.
pub const PROTOCOL: u8 = 112;
/// Where it is heard.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// No router lets it through: what has come from elsewhere has a smaller one.
pub const TIME_TO_LIVE: u8 = 255;
/// Version 3, type 1: advertisement.
const VERSION_AND_TYPE: u8 = 0x31;
/// Before the addresses.
const FIXED: usize = 8;
/// Addresses are sorted out by machines, not counted: one is ours.
const LENGTH: usize = FIXED + 4;
/// The interval is counted in these, in 12 bits.
const CENTISECOND: Duration = Duration::from_millis(10);
const MOST: u16 = 0x0fff;

/// Somebody holds the address, or gives it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Which of the virtual routers of the segment.
    pub router: u8,
    /// Who has a higher one holds the address; 0 gives it up.
    pub priority: u8,
    /// How often this is said.
    pub interval: Duration,
    /// The address that is held.
    pub address: Ipv4Addr,
}

impl Advertisement {
    /// The message, without the IP header, as it goes out from `source`.
    #[must_use]
    pub fn to_bytes(self, source: Ipv4Addr) -> [u8; LENGTH] {
        let interval = (self.interval.as_millis() / CENTISECOND.as_millis()).min(MOST.into()) as u16;
        let mut bytes = [0; LENGTH];
        bytes[..4].copy_from_slice(&[VERSION_AND_TYPE, self.router, self.priority, 1]);
        bytes[4..6].copy_from_slice(&interval.to_be_bytes());
        bytes[FIXED..].copy_from_slice(&self.address.octets());
        let sum = checksum(source, &bytes);
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// Reads an IPv4 packet: the message and who has sent it. `None` for everything else, damaged or from another segment.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<(Self, Ipv4Addr)> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let is_ours = packet[0] >> 4 == 4 && *packet.get(9)? == PROTOCOL && *packet.get(8)? == TIME_TO_LIVE;
        let source = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?);
        let message: &[u8; LENGTH] = packet.get(header..)?.try_into().ok()?;
        let [VERSION_AND_TYPE, router, priority, 1, high, low, ..] = *message else { return None };
        if !is_ours || header < 20 || checksum(source, message) != 0 {
            return None;
        }
        let interval = CENTISECOND * u32::from(u16::from_be_bytes([high, low]) & MOST);
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(&message[FIXED..]).ok()?);
        Some((Self { router, priority, interval, address }, source))
    }
}

/// The Internet's checksum of the message behind its pseudo-header; 0 for a message that has the right one in it.
fn checksum(source: Ipv4Addr, message: &[u8; LENGTH]) -> u16 {
    let mut sum = u32::from(PROTOCOL) + LENGTH as u32;
    let addresses = [source.octets(), GROUP.octets()].concat();
    for pair in addresses.chunks(2).chain(message.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 31);

    fn packet(message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, TIME_TO_LIVE, PROTOCOL, 0, 0];
        packet.extend(SOURCE.octets());
        packet.extend(GROUP.octets());
        packet.extend(message);
        packet
    }

    fn said() -> Advertisement {
        let address = Ipv4Addr::new(10, 77, 0, 20);
        Advertisement { router: 20, priority: 100, interval: Duration::from_millis(500), address }
    }

    #[test]
    fn the_bytes_are_those_of_the_standard() {
        let bytes = said().to_bytes(SOURCE);
        assert_eq!(bytes[..6], [0x31, 20, 100, 1, 0, 50]);
        assert_eq!(bytes[8..], [10, 77, 0, 20]);
        // By hand: 0a4d 001f e000 0012 0070 000c, then 3114 6401 0032 0a4d 0014; together 0x18aa2, folded 0x8aa3.
        assert_eq!(bytes[6..8], (!0x8aa3_u16).to_be_bytes());
        assert_eq!(Advertisement::read(&packet(&bytes)), Some((said(), SOURCE)));
    }

    #[test]
    fn what_came_through_a_router_is_not_heard() {
        let mut routed = packet(&said().to_bytes(SOURCE));
        routed[8] = 254;
        assert_eq!(Advertisement::read(&routed), None);
    }

    proptest! {
        #[test]
        fn nothing_that_anybody_sends_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Advertisement::read(&bytes);
        }

        #[test]
        fn a_damaged_message_is_not_heard(at in 0..LENGTH, flip in 1..=255_u8) {
            let mut bytes = said().to_bytes(SOURCE);
            bytes[at] ^= flip;
            prop_assert_eq!(Advertisement::read(&packet(&bytes)), None);
        }

        #[test]
        fn what_is_said_is_heard(router: u8, priority: u8, centiseconds in 0..=MOST, address: [u8; 4]) {
            let interval = CENTISECOND * u32::from(centiseconds);
            let said = Advertisement { router, priority, interval, address: address.into() };
            prop_assert_eq!(Advertisement::read(&packet(&said.to_bytes(SOURCE))), Some((said, SOURCE)));
        }
    }
}
