//! Route netlink, as much as the launcher needs: requests with attributes, answers, acknowledgements.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, sendto, socket_with,
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE: u16 = 0x3fff;
const HEADER: usize = 16;

/// A kernel answers with up to 32 KiB at a time.
const BUFFER: usize = 32 * 1024;

/// One request: the header, a fixed part, attributes.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Vec<u8>,
}

/// What an object that may be there already means for a request that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// It must not be there.
    New,
    /// It is replaced.
    Replace,
}

impl Request {
    /// Changes or deletes something.
    pub fn change(kind: u16, fixed: &[u8]) -> Request {
        Request::with_flags(kind, NLM_F_ACK, fixed)
    }

    /// Makes something.
    pub fn make(kind: u16, make: Make, fixed: &[u8]) -> Request {
        let how = match make {
            Make::New => NLM_F_EXCL,
            Make::Replace => NLM_F_REPLACE,
        };
        Request::with_flags(kind, NLM_F_ACK | NLM_F_CREATE | how, fixed)
    }

    /// Asks for all objects of a kind.
    pub fn dump(kind: u16, fixed: &[u8]) -> Request {
        Request::with_flags(kind, NLM_F_DUMP, fixed)
    }

    fn with_flags(kind: u16, flags: u16, fixed: &[u8]) -> Request {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend(fixed);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Request { bytes }
    }

    /// Adds an attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Request {
        self.bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a name: an attribute with a terminating zero.
    pub fn name(self, kind: u16, name: &str) -> Request {
        self.attribute(kind, &[name.as_bytes(), b"\0"].concat())
    }

    /// Adds an attribute that holds those that `inner` adds.
    pub fn nest(mut self, kind: u16, inner: impl FnOnce(Request) -> Request) -> Request {
        let start = self.bytes.len();
        self = inner(self.attribute(kind | NLA_F_NESTED, &[]));
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// One object of an answer.
#[derive(Clone, Debug)]
pub struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    /// The fixed part and what follows.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A number of the fixed part; 0 if the answer is too short.
    pub fn u32_at(&self, at: usize) -> u32 {
        self.bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
    }

    /// The attribute of that kind behind a fixed part of `fixed` bytes.
    pub fn attribute(&self, fixed: usize, kind: u16) -> Option<&[u8]> {
        attributes(self.bytes.get(fixed..)?).find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

/// The attributes in `bytes`; a damaged one ends the walk.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & NLA_TYPE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A route netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket.
    pub fn open() -> io::Result<Socket> {
        // Protocol 0 is NETLINK_ROUTE.
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Socket { fd, sequence: 0 })
    }

    /// Sends a request and waits for its end: the objects of a dump, or nothing for a change that was made.
    pub fn send(&mut self, mut request: Request) -> io::Result<Vec<Answer>> {
        self.sequence += 1;
        let length = request.bytes.len() as u32;
        request.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        request.bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        sendto(&self.fd, &request.bytes, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let (read, _) = recv(&self.fd, &mut buffer[..], RecvFlags::empty())?;
            if self.take(&buffer[..read], &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Takes the messages of one datagram; true when the last one was among them.
    fn take(&self, mut bytes: &[u8], answers: &mut Vec<Answer>) -> io::Result<bool> {
        while bytes.len() >= HEADER {
            let number =
                |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let length = number(0) as usize;
            let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
            let Some(payload) = bytes.get(HEADER..length) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a netlink message is cut off"));
            };
            if number(8) == self.sequence {
                match kind {
                    NLMSG_DONE => return Ok(true),
                    NLMSG_ERROR => {
                        let code = payload
                            .get(..4)
                            .and_then(|four| four.try_into().ok())
                            .map_or(0, i32::from_ne_bytes);
                        return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
                    }
                    _ => answers.push(Answer { bytes: payload.to_vec() }),
                }
            }
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_nested() {
        let request = Request::change(1, &[0; 3]).name(3, "tap0").nest(18, |inner| inner.name(1, "dummy"));
        let found: Vec<_> = attributes(&request.bytes[HEADER + 4..]).collect();
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
}
