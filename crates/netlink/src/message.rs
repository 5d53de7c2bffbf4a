//! Encoding and decoding of netlink messages (linux/netlink.h). Pure.

use std::net::IpAddr;

pub const ERROR: u16 = 2;
pub const DONE: u16 = 3;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const INTERRUPTED: u16 = 0x10;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
/// An attribute's kind without the flags for nesting and byte order.
const KIND: u16 = 0x3fff;

const HEADER: usize = 16;

/// Families of addresses, as they stand at the start of a fixed part.
pub const INET: u8 = 2;
pub const BRIDGE: u8 = 7;
pub const INET6: u8 = 10;

/// What an object that may be there already means for a request that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// It must not be there.
    New,
    /// It is replaced.
    Replace,
    /// It is left as it is.
    Keep,
    /// Another one is put behind it.
    Append,
}

/// Attributes one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one with these bytes.
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(aligned(self.0.len()), 0);
        self
    }

    /// Adds a number in the machine's byte order, as rtnetlink has it.
    pub fn number(self, kind: u16, number: u32) -> Self {
        self.bytes(kind, &number.to_ne_bytes())
    }

    /// Adds a number in network byte order, as netfilter has it.
    pub fn network(self, kind: u16, number: u32) -> Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    /// Adds a text with its terminating zero.
    pub fn text(self, kind: u16, text: &str) -> Self {
        self.bytes(kind, &[text.as_bytes(), b"\0"].concat())
    }

    /// Adds one that holds others.
    pub fn nest(self, kind: u16, inner: Attributes) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// Adds those of another list.
    pub fn and(mut self, more: Attributes) -> Self {
        self.0.extend(more.0);
        self
    }
}

/// One request: the header, a fixed part, attributes.
#[derive(Clone, Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// Changes or deletes something.
    pub fn change(kind: u16, fixed: &[u8], attributes: Attributes) -> Request {
        Request::new(kind, 0, fixed, attributes)
    }

    /// Makes something.
    pub fn make(kind: u16, make: Make, fixed: &[u8], attributes: Attributes) -> Request {
        let how = match make {
            Make::New => EXCLUSIVE,
            Make::Replace => REPLACE,
            Make::Keep => 0,
            Make::Append => APPEND,
        };
        Request::new(kind, CREATE | how, fixed, attributes)
    }

    /// Asks for all objects of a kind that the fixed part and the attributes select.
    pub fn dump(kind: u16, fixed: &[u8], attributes: Attributes) -> Request {
        Request::new(kind, DUMP, fixed, attributes)
    }

    fn new(kind: u16, flags: u16, fixed: &[u8], attributes: Attributes) -> Request {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend(fixed);
        bytes.resize(aligned(bytes.len()), 0);
        bytes.extend(attributes.0);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        Request(bytes)
    }

    /// The bytes to send under this number.
    pub fn numbered(mut self, sequence: u32) -> Vec<u8> {
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }

    /// Asks to be told when it is done.
    pub fn acknowledged(mut self) -> Request {
        let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | ACK;
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }
}

/// One message of an answer.
#[derive(Debug)]
pub struct Message<'a> {
    pub kind: u16,
    pub sequence: u32,
    /// The table changed while it was read: entries may be missing or double.
    pub interrupted: bool,
    pub body: &'a [u8],
}

/// The messages in a datagram; `None` where one is cut short.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Option<Message<'_>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let message = split(&mut datagram);
        if message.is_none() {
            datagram = &[];
        }
        Some(message)
    })
}

fn split<'a>(datagram: &mut &'a [u8]) -> Option<Message<'a>> {
    let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
    let message = Message {
        kind: u16_at(datagram, 4)?,
        interrupted: u16_at(datagram, 6)? & INTERRUPTED != 0,
        sequence: u32_at(datagram, 8)?,
        body: datagram.get(HEADER..length)?,
    };
    *datagram = datagram.get(aligned(length)..).unwrap_or_default();
    Some(message)
}

/// The error number of an ERROR or DONE message, 0 for success.
pub fn read_error(body: &[u8]) -> Option<i32> {
    u32_at(body, 0).map(|number| number.cast_signed().wrapping_neg())
}

/// The attributes in `bytes`; a damaged one ends the walk.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & KIND;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The attribute of that kind behind a fixed part of `fixed` bytes.
pub fn attribute(body: &[u8], fixed: usize, kind: u16) -> Option<&[u8]> {
    attributes(body.get(fixed..)?).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// An address of this family.
pub fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        INET => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        INET6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// The family of an address.
pub fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

/// The bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A text without its terminating zero.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// A number in the machine's byte order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A number in the machine's byte order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_nested() {
        let inner = Attributes::new().text(1, "dummy");
        let list = Attributes::new().text(3, "tap0").nest(18, inner);
        let found: Vec<_> = attributes(&list.0).collect();
        assert_eq!(found[0], (3, &b"tap0\0"[..]));
        assert_eq!(found[1].0, 18);
        assert_eq!(attributes(found[1].1).next(), Some((1, &b"dummy\0"[..])));
    }

    #[test]
    fn damaged_attributes_end_the_walk() {
        assert_eq!(attributes(&[]).count(), 0);
        assert_eq!(attributes(&[1, 0, 1, 0]).count(), 0, "shorter than its own header");
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0, "longer than what is there");
        assert_eq!(attributes(&[4, 0, 1, 0, 9]).count(), 1);
    }

    #[test]
    fn datagrams_hold_several_messages_and_may_be_cut() {
        let one = Request::change(24, &[0; 12], Attributes::new().number(4, 7)).numbered(7);
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(messages(&two).flatten().filter(|message| message.sequence == 7).count(), 2);
        for length in 0..one.len() {
            assert!(messages(&one[..length]).flatten().next().is_none());
        }
    }
}
