//! A netlink socket: one exchange at a time.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
    netlink::{NETFILTER, SocketAddrNetlink},
    recv, send, socket_with,
};

use crate::NetlinkError;
use crate::message::{self, Attributes, Request};

/// More than the kernel puts into one datagram of a dump (at most 32 KiB since Linux 4.6).
const DATAGRAM: usize = 64 * 1024;
/// How often a dump is repeated when the tables change while it is read.
const ATTEMPTS: usize = 8;
/// The kernel answers while we send. One that does not is a mistake of ours, and must not hold a thread.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One object of an answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The fixed part and what follows.
    pub body: Vec<u8>,
}

/// A connection in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// For links, addresses and routes.
    pub fn route() -> Result<Self, NetlinkError> {
        Self::of(None)
    }

    /// For firewall rules.
    pub fn netfilter() -> Result<Self, NetlinkError> {
        Self::of(Some(NETFILTER))
    }

    fn of(protocol: Option<Protocol>) -> Result<Self, NetlinkError> {
        let fd = open(protocol, 0, SocketFlags::CLOEXEC)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_WITHIN))
            .map_err(|error| NetlinkError::Socket("limiting the wait", error.into()))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// Has something made, changed or deleted. `what` completes "the kernel refused to".
    pub fn change(&mut self, what: &str, request: Request) -> Result<(), NetlinkError> {
        self.exchange(what, vec![request.acknowledged()]).map(drop)
    }

    /// Sends requests in one datagram, of which one asks to be acknowledged. An error of any of them is the end: when
    /// the kernel refuses all as a whole, it answers the first one and never comes to the others.
    pub fn batch(&mut self, what: &str, requests: Vec<Request>) -> Result<(), NetlinkError> {
        self.exchange(what, requests).map(drop)
    }

    /// All objects of a kind: fixed parts start with the family, and are zero otherwise.
    pub fn dump(&mut self, what: &str, kind: u16) -> Result<Vec<Answer>, NetlinkError> {
        self.dump_of(what, &Request::dump(kind, &[0; 16], Attributes::new()))
    }

    /// All objects that a request selects.
    pub fn dump_of(&mut self, what: &str, ask: &Request) -> Result<Vec<Answer>, NetlinkError> {
        for _ in 0..ATTEMPTS {
            let (answers, interrupted) = self.exchange(what, vec![ask.clone()])?;
            if !interrupted {
                return Ok(answers);
            }
        }
        Err(NetlinkError::Refused(what.to_owned(), io::ErrorKind::ResourceBusy.into()))
    }

    fn exchange(&mut self, what: &str, requests: Vec<Request>) -> Result<(Vec<Answer>, bool), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            datagram.extend(request.numbered(self.sequence));
        }
        let numbers = self.sequence.wrapping_sub(first);
        send(&self.fd, &datagram, SendFlags::empty())
            .map_err(|error| NetlinkError::Socket("sending", error.into()))?;
        let mut exchange = Exchange { first, numbers, answers: Vec::new(), interrupted: false };
        loop {
            let received =
                rustix::io::retry_on_intr(|| recv(&self.fd, &mut self.buffer[..], RecvFlags::empty()));
            let (length, _) = received.map_err(|error| NetlinkError::Socket("receiving", error.into()))?;
            let datagram = self.buffer.get(..length).ok_or(NetlinkError::Malformed)?;
            if exchange.take(what, datagram)? {
                return Ok((exchange.answers, exchange.interrupted));
            }
        }
    }
}

/// What was asked under the numbers from `first` on, and what has been answered.
struct Exchange {
    first: u32,
    /// How many numbers follow the first.
    numbers: u32,
    answers: Vec<Answer>,
    interrupted: bool,
}

impl Exchange {
    /// Takes the messages of one datagram; true when the last one was among them.
    fn take(&mut self, what: &str, datagram: &[u8]) -> Result<bool, NetlinkError> {
        for message in message::messages(datagram) {
            let message = message.ok_or(NetlinkError::Malformed)?;
            // Answers to an exchange that was given up.
            if message.sequence.wrapping_sub(self.first) > self.numbers {
                continue;
            }
            self.interrupted |= message.interrupted;
            match message.kind {
                message::DONE => return Ok(true),
                message::ERROR => {
                    let number = message::read_error(message.body).ok_or(NetlinkError::Malformed)?;
                    return match number {
                        0 => Ok(true),
                        _ => {
                            Err(NetlinkError::Refused(what.to_owned(), io::Error::from_raw_os_error(number)))
                        }
                    };
                }
                _ => self.answers.push(Answer { body: message.body.to_vec() }),
            }
        }
        Ok(false)
    }
}

/// A netlink socket of a protocol (`None`: rtnetlink), subscribed to `groups`.
pub fn open(protocol: Option<Protocol>, groups: u32, flags: SocketFlags) -> Result<OwnedFd, NetlinkError> {
    let failed = |what| move |error: rustix::io::Errno| NetlinkError::Socket(what, error.into());
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol).map_err(failed("opening"))?;
    bind(&socket, &SocketAddrNetlink::new(0, groups)).map_err(failed("binding"))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Exchange {
        Exchange { first: 7, numbers: 2, answers: Vec::new(), interrupted: false }
    }

    fn error(sequence: u32, number: i32) -> Vec<u8> {
        Request::change(message::ERROR, &(-number).to_ne_bytes(), Attributes::new()).numbered(sequence)
    }

    /// Without the right to change rules, or without nf_tables, the kernel answers the start of the batch alone.
    #[test]
    fn an_error_for_any_request_of_a_batch_is_its_end() {
        for sequence in 7..=9 {
            let refused = exchange().take("masquerade", &error(sequence, 1)).unwrap_err();
            assert!(refused.is(rustix::io::Errno::PERM), "{refused}");
        }
        for sequence in [6, 10] {
            assert!(!exchange().take("masquerade", &error(sequence, 1)).unwrap(), "of another exchange");
        }
        assert!(exchange().take("masquerade", &error(9, 0)).unwrap());
    }

    #[test]
    fn a_dump_that_was_interrupted_is_known_as_such() {
        const INTERRUPTED: u16 = 0x10;
        let mut entry = Request::change(24, &[0; 12], Attributes::new()).numbered(7);
        entry[6..8].copy_from_slice(&INTERRUPTED.to_ne_bytes());
        let done = Request::change(message::DONE, &[0; 4], Attributes::new()).numbered(7);
        let mut exchange = exchange();
        assert!(exchange.take("list", &[entry, done].concat()).unwrap());
        assert!(exchange.interrupted && exchange.answers.len() == 1);
    }
}
