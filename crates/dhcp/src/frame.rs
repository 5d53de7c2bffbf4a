//! A datagram of DHCP in UDP, IPv4 and Ethernet, for who has no socket of UDP: a client without an address, and a server that
//! answers one port of a switch.

use std::net::Ipv4Addr;

use crate::Mac;

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IP: usize = 20;
const UDP: usize = 8;
const PROTOCOL_UDP: u8 = 17;
/// A fragment that is not the first, or has more behind it.
const FRAGMENT: u16 = 0x3fff;

/// A datagram and its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// MAC of the sender.
    pub from: Mac,
    /// MAC of the receiver.
    pub to: Mac,
    /// Address and port of the sender.
    pub source: (Ipv4Addr, u16),
    /// Address and port of the receiver.
    pub destination: (Ipv4Addr, u16),
    /// The datagram.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame; none if it is no whole datagram of UDP. Checksums are not looked at: a guest leaves them to its card.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (ethernet, packet) = bytes.split_at_checked(ETHERNET)?;
        let short =
            |bytes: &[u8], at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let header = usize::from(*packet.first()? & 0x0f) * 4;
        if ethernet[12..] != IPV4
            || packet[0] >> 4 != 4
            || header < IP
            || short(packet, 6)? & FRAGMENT != 0
            || *packet.get(9)? != PROTOCOL_UDP
        {
            return None;
        }
        let ip = |at: usize| packet.get(at..at + 4).and_then(crate::message::address);
        let udp = packet.get(header..)?;
        let payload = udp.get(UDP..usize::from(short(udp, 4)?))?;
        Some(Self {
            to: ethernet[..6].try_into().ok()?,
            from: ethernet[6..12].try_into().ok()?,
            source: (ip(12)?, short(udp, 0)?),
            destination: (ip(16)?, short(udp, 2)?),
            payload,
        })
    }

    /// Its bytes; none of a payload that fits in no packet.
    #[must_use]
    pub fn write(&self) -> Option<Vec<u8>> {
        let udp = u16::try_from(UDP + self.payload.len()).ok()?;
        let whole = u16::try_from(IP).ok()?.checked_add(udp)?;
        let (source, destination) = (self.source.0.octets(), self.destination.0.octets());
        let mut ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, PROTOCOL_UDP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        ip[2..4].copy_from_slice(&whole.to_be_bytes());
        ip[12..16].copy_from_slice(&source);
        ip[16..].copy_from_slice(&destination);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let [length, from, to] = [udp, self.source.1, self.destination.1].map(u16::to_be_bytes);
        let head = [from, to, length].concat();
        let pseudo = [&source[..], &destination, &[0, PROTOCOL_UDP], &length].concat();
        // Nothing means that there is none.
        let sum = match checksum(&[&pseudo[..], &head, &[0, 0], self.payload].concat()) {
            0 => u16::MAX,
            sum => sum,
        };
        Some([&self.to[..], &self.from, &IPV4, &ip, &head, &sum.to_be_bytes(), self.payload].concat())
    }
}

/// The Internet's (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u64 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Frame<'_> {
        Frame {
            from: [2, 0, 0, 0, 0, 1],
            to: [0xff; 6],
            source: (Ipv4Addr::new(192, 0, 2, 1), 67),
            destination: (Ipv4Addr::BROADCAST, 68),
            payload,
        }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for payload in [&b""[..], b"x", b"hello", &[0xff; 1400]] {
            let bytes = frame(payload).write().unwrap();
            assert_eq!(Frame::read(&bytes), Some(frame(payload)));
            let (ip, udp) = (&bytes[14..34], &bytes[34..]);
            assert_eq!(checksum(ip), 0);
            let pseudo = [&ip[12..], &[0, 17], &udp[4..6], udp].concat();
            assert_eq!(checksum(&pseudo), 0, "as a client that reads raw packets checks it");
        }
        assert_eq!(frame(&vec![0; 70_000]).write(), None);
    }

    #[test]
    fn padding_of_a_short_frame_is_no_payload() {
        let mut bytes = frame(b"x").write().unwrap();
        bytes.resize(60, 0);
        assert_eq!(Frame::read(&bytes).unwrap().payload, b"x");
    }

    #[test]
    fn noise_is_no_datagram() {
        let whole = frame(b"hello").write().unwrap();
        for length in 0..whole.len() {
            assert_eq!(Frame::read(&whole[..length]), None, "{length}");
        }
        let changed = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            Frame::read(&bytes).is_none()
        };
        assert!(changed(13, 0x06), "ARP");
        assert!(changed(14, 0x65), "IPv6");
        assert!(changed(14, 0x41), "a header that is too short");
        assert!(changed(14, 0x4f), "a header that is longer than the packet");
        assert!(changed(20, 0x20), "a fragment");
        assert!(changed(23, 6), "TCP");
        assert!(changed(39, 255), "a length beyond the end");
        assert!(changed(39, 3), "a length below the header");
    }
}
