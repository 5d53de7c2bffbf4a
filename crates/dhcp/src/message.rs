//! What questions and answers have in common.

use std::net::Ipv4Addr;

/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;
/// UDP port of servers.
pub const SERVER_PORT: u16 = 67;

pub const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where options begin.
pub const OPTIONS_AT: usize = 240;
/// BOOTP's size: some clients, servers and relays drop what is shorter.
pub const SHORTEST: usize = 300;

pub const MASK: u8 = 1;
pub const ROUTER: u8 = 3;
pub const DNS: u8 = 6;
pub const HOSTNAME: u8 = 12;
pub const DOMAIN: u8 = 15;
pub const MTU: u8 = 26;
pub const REQUESTED: u8 = 50;
pub const LEASE: u8 = 51;
pub const KIND: u8 = 53;
pub const SERVER: u8 = 54;
pub const WANTED: u8 = 55;
pub const MAX_SIZE: u8 = 57;
pub const RENEWAL: u8 = 58;
pub const VENDOR: u8 = 60;
pub const CLIENT: u8 = 61;
pub const SEARCH: u8 = 119;
pub const CLASSLESS: u8 = 121;
pub const END: u8 = 255;

/// The value of an option; what is cut off is not there.
pub fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match options {
            [] | [END, ..] | [_] => return None,
            [0, rest @ ..] => options = rest,
            [code, length, rest @ ..] => {
                let value = rest.get(..usize::from(*length))?;
                if *code == wanted {
                    return Some(value);
                }
                options = &rest[value.len()..];
            }
        }
    }
}

/// An option, in pieces if it is long (RFC 3396).
pub fn put(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    for piece in value.chunks(255) {
        bytes.extend([code, piece.len() as u8]);
        bytes.extend(piece);
    }
}

pub fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}
