//! Questions and orders to the kernel. Answers come at once, so calls do not yield: each takes microseconds.

use super::{LocalAddress, NetlinkError, Route, message};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink,
    recv, send, socket_with,
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

/// More than the kernel puts into one datagram of a dump (at most 32 KiB since Linux 4.6).
pub(super) const DATAGRAM: usize = 64 * 1024;
/// How often a dump is repeated when the tables change while it is read.
const ATTEMPTS: usize = 8;

/// A connection to the routing tables of the network namespace in which it was opened.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a connection for the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = open(None, 0, SocketFlags::CLOEXEC)?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// The addresses of all interfaces.
    pub fn addresses(&mut self) -> Result<Vec<LocalAddress>, NetlinkError> {
        self.dump("list addresses", message::GET_ADDRESS, message::NEW_ADDRESS, message::read_address)
    }

    /// The agent's own routes; not those of anybody else.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        self.dump("list routes", message::GET_ROUTE, message::NEW_ROUTE, message::read_route)
    }

    /// The MTU of an interface, if it exists.
    pub fn mtu(&mut self, link: u32) -> Result<Option<u32>, NetlinkError> {
        let links = self.dump("list links", message::GET_LINK, message::NEW_LINK, message::read_mtu)?;
        Ok(links.into_iter().find(|(index, _)| *index == link).map(|(_, mtu)| mtu))
    }

    /// Adds a route, or puts it in the place of the one to the same destination.
    pub fn set(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let what = || format!("route {} by way of {}", route.destination, route.gateway);
        let body = message::route_body(route);
        self.order(message::NEW_ROUTE, message::CREATE_OR_REPLACE, &body)?
            .map_err(|error| NetlinkError::Refused(what(), error))
    }

    /// Removes a route of the agent. One that is gone already is no error.
    pub fn remove(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let body = message::route_body(route);
        match self.order(message::DELETE_ROUTE, 0, &body)? {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Err(NetlinkError::Refused(format!("remove the route to {}", route.destination), error))
            }
            _ => Ok(()),
        }
    }

    fn order(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<Result<(), io::Error>, NetlinkError> {
        let sequence = self.send(kind, flags | message::ACK, body)?;
        loop {
            let datagram = receive(&self.socket, &mut self.buffer)?;
            for message in message::messages(datagram) {
                let message = message.ok_or(NetlinkError::Malformed)?;
                if message.sequence == sequence && message.kind == message::ERROR {
                    let number = message::read_error(message.body).ok_or(NetlinkError::Malformed)?;
                    return Ok(if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(number)) });
                }
            }
        }
    }

    fn dump<T>(
        &mut self,
        what: &str,
        ask: u16,
        answer: u16,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..ATTEMPTS {
            if let Some(found) = self.dump_once(what, ask, answer, &read)? {
                return Ok(found);
            }
        }
        let error = io::Error::from(io::ErrorKind::ResourceBusy);
        Err(NetlinkError::Refused(what.to_owned(), error))
    }

    /// `None` if the table changed meanwhile, so that entries may be missing or double.
    fn dump_once<T>(
        &mut self,
        what: &str,
        ask: u16,
        answer: u16,
        read: &impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, NetlinkError> {
        let sequence = self.send(ask, message::DUMP, &message::ANY)?;
        let (mut found, mut interrupted) = (Vec::new(), false);
        loop {
            let datagram = receive(&self.socket, &mut self.buffer)?;
            for message in message::messages(datagram) {
                let message = message.ok_or(NetlinkError::Malformed)?;
                if message.sequence != sequence {
                    continue;
                }
                interrupted |= message.flags & message::INTERRUPTED != 0;
                if message.kind == answer {
                    found.extend(read(message.body));
                } else if message.kind == message::DONE {
                    return Ok((!interrupted).then_some(found));
                } else if message.kind == message::ERROR {
                    let number = message::read_error(message.body).ok_or(NetlinkError::Malformed)?;
                    let error = io::Error::from_raw_os_error(number);
                    return Err(NetlinkError::Refused(what.to_owned(), error));
                }
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<u32, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = message::request(kind, flags, self.sequence, body);
        send(&self.socket, &request, SendFlags::empty())
            .map_err(|e| NetlinkError::Socket("sending", e.into()))?;
        Ok(self.sequence)
    }
}

/// A netlink socket of a protocol (`None`: rtnetlink), subscribed to `groups`.
pub(super) fn open(
    protocol: Option<Protocol>,
    groups: u32,
    flags: SocketFlags,
) -> Result<OwnedFd, NetlinkError> {
    let failed = |what| move |error: rustix::io::Errno| NetlinkError::Socket(what, error.into());
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol).map_err(failed("opening"))?;
    bind(&socket, &SocketAddrNetlink::new(0, groups)).map_err(failed("binding"))?;
    Ok(socket)
}

pub(super) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<&[u8], NetlinkError> {
    let (length, _) = rustix::io::retry_on_intr(|| recv(socket.as_fd(), &mut *buffer, RecvFlags::empty()))
        .map_err(|error| NetlinkError::Socket("receiving", error.into()))?;
    buffer.get(..length).ok_or(NetlinkError::Malformed)
}
