//! DHCP of IPv4 (RFC 2131, 2132, 3396, 3397, 3442) over Ethernet. In: bytes of a datagram or frame, and what a client wants or
//! may have. Out: what they mean, and bytes of an answer. Never: a socket, a clock, or an address that it chose by itself.

pub mod client;
pub mod frame;
mod message;
pub mod server;

pub use message::{CLIENT_PORT, SERVER_PORT};

/// A MAC address.
pub type Mac = [u8; 6];
