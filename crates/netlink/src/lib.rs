//! Links, addresses, routes, tunnels, taps, frames and firewall rules of one network namespace. In: plain data. Out: the
//! kernel's tables changed, or read. Never: another program, a decision about what should be there.

mod addresses;
mod firewall;
mod links;
mod mac;
mod message;
mod monitor;
mod neighbours;
pub mod nftables;
mod packet;
mod routes;
mod socket;
pub mod tap;
mod vxlan;

pub use addresses::LocalAddress;
pub use firewall::{Firewall, Guard, Masquerade, Rules};
pub use links::{Link, NewLink};
pub use mac::{Mac, MacError};
pub use monitor::Monitor;
pub use neighbours::{Forwarding, Neighbour};
pub use packet::{FrameSender, UdpFrames};
pub use routes::Route;
pub use vxlan::Vxlan;

use std::io;

use socket::Socket;

/// A connection to the links, addresses and routes of the network namespace in which it was opened. The kernel answers
/// at once, so calls block: each takes microseconds.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    /// Opens a connection for the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::route()? })
    }
}

/// Why the kernel could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket failed.
    #[error("netlink: {0} failed")]
    Socket(&'static str, #[source] io::Error),
    /// The kernel refused a request.
    #[error("netlink: the kernel refused to {0}")]
    Refused(String, #[source] io::Error),
    /// An answer that does not follow the protocol.
    #[error("netlink: an answer of the kernel is malformed")]
    Malformed,
}

impl NetlinkError {
    /// Whether the kernel refused with this number.
    fn is(&self, errno: rustix::io::Errno) -> bool {
        matches!(self, Self::Refused(_, error) if error.raw_os_error() == Some(errno.raw_os_error()))
    }
}
