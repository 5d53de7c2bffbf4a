//! The client's side: what is asked, and what the answer says.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::Mac;
use crate::message::{
    CLIENT, COOKIE, DNS, DOMAIN, END, HOSTNAME, KIND, LEASE, MASK, OPTIONS_AT, RENEWAL, REQUESTED, ROUTER,
    SERVER, SHORTEST, VENDOR, WANTED, address as ipv4, option, put,
};

/// What we ask for.
const WISHES: [u8; 7] = [MASK, ROUTER, DNS, HOSTNAME, DOMAIN, LEASE, RENEWAL];
const DEFAULT_LEASE: u32 = 3600;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who can give an address?
    Discover,
    /// This one then, from this server.
    Select {
        /// The address.
        address: Ipv4Addr,
        /// Who offered it.
        server: Ipv4Addr,
    },
    /// May I keep it?
    Rebind(Ipv4Addr),
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An address can be had.
    Offer {
        /// The address.
        address: Ipv4Addr,
        /// From whom.
        server: Ipv4Addr,
    },
    /// It is given.
    Lease(Lease),
    /// It is not.
    Refused,
}

/// An address for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address with its subnet.
    pub address: Ipv4Net,
    /// Of the default route.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub resolvers: Vec<Ipv4Addr>,
    /// Host name, or nothing.
    pub hostname: String,
    /// Domain, or nothing.
    pub domain: String,
    /// When to ask again.
    pub renew_after: Duration,
}

/// The datagram of a question.
#[must_use]
pub fn write(question: Question, transaction: u32, mac: Mac) -> Vec<u8> {
    let mut bytes = vec![0; OPTIONS_AT];
    // A request, of Ethernet.
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[4..8].copy_from_slice(&transaction.to_be_bytes());
    // Answers by broadcast: there is no address yet to which they could be sent.
    bytes[10] = 0x80;
    if let Question::Rebind(address) = question {
        bytes[12..16].copy_from_slice(&address.octets());
    }
    bytes[28..34].copy_from_slice(&mac);
    bytes[236..].copy_from_slice(&COOKIE);
    put(&mut bytes, KIND, &[if question == Question::Discover { 1 } else { 3 }]);
    put(&mut bytes, CLIENT, &[&[1], &mac[..]].concat());
    if let Question::Select { address, server } = question {
        put(&mut bytes, REQUESTED, &address.octets());
        put(&mut bytes, SERVER, &server.octets());
    }
    put(&mut bytes, VENDOR, b"scute");
    put(&mut bytes, WANTED, &WISHES);
    bytes.push(END);
    bytes.resize(bytes.len().max(SHORTEST), 0);
    bytes
}

/// The answer in a datagram, if it is one for us.
#[must_use]
pub fn read(datagram: &[u8], transaction: u32, mac: Mac) -> Option<Answer> {
    let ours = datagram.get(4..8)? == transaction.to_be_bytes() && datagram.get(28..34)? == mac;
    if datagram.first() != Some(&2) || !ours || datagram.get(236..OPTIONS_AT)? != COOKIE {
        return None;
    }
    let options = &datagram[OPTIONS_AT..];
    let address = ipv4(datagram.get(16..20)?)?;
    match option(options, KIND)? {
        [2] => Some(Answer::Offer { address, server: ipv4(option(options, SERVER)?)? }),
        [5] => Some(Answer::Lease(lease(address, options)?)),
        [6] => Some(Answer::Refused),
        _ => None,
    }
}

fn lease(address: Ipv4Addr, options: &[u8]) -> Option<Lease> {
    let text = |code| option(options, code).map(printable).unwrap_or_default();
    let seconds =
        |code| option(options, code).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let mask = option(options, MASK).and_then(ipv4).unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
    let renew = seconds(RENEWAL).unwrap_or(seconds(LEASE).unwrap_or(DEFAULT_LEASE) / 2);
    Some(Lease {
        address: Ipv4Net::with_netmask(address, mask).ok()?,
        gateway: option(options, ROUTER).and_then(|list| ipv4(list.get(..4)?)),
        resolvers: option(options, DNS).unwrap_or_default().chunks_exact(4).filter_map(ipv4).collect(),
        hostname: text(HOSTNAME),
        domain: text(DOMAIN),
        renew_after: Duration::from_secs(renew.max(60).into()),
    })
}

/// A server may say anything; it goes into a file and a report.
fn printable(text: &[u8]) -> String {
    let name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    text.iter().take_while(name).map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    fn answer(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = write(Question::Discover, 7, MAC)[..OPTIONS_AT].to_vec();
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 2, 15]);
        packet.extend([53, 1, kind]);
        packet.extend(options);
        packet.push(255);
        packet
    }

    #[test]
    fn an_offer_and_a_lease_are_read() {
        let server = Ipv4Addr::new(10, 0, 2, 2);
        let offer = answer(2, &[0, 54, 4, 10, 0, 2, 2]);
        assert_eq!(
            read(&offer, 7, MAC),
            Some(Answer::Offer { address: Ipv4Addr::new(10, 0, 2, 15), server })
        );
        let options = [
            1, 4, 255, 255, 0, 0, 3, 4, 10, 0, 2, 2, 6, 8, 10, 0, 2, 3, 1, 1, 1, 1, 12, 4, b'n', b'-', b'1',
            b'\n', 51, 4, 0, 0, 2, 0,
        ];
        let Some(Answer::Lease(lease)) = read(&answer(5, &options), 7, MAC) else { panic!("no lease") };
        assert_eq!((lease.address.to_string().as_str(), lease.gateway), ("10.0.2.15/16", Some(server)));
        assert_eq!(
            (lease.resolvers.len(), lease.hostname.as_str(), lease.renew_after.as_secs()),
            (2, "n-1", 256)
        );
        assert_eq!(read(&answer(6, &[]), 7, MAC), Some(Answer::Refused));
    }

    #[test]
    fn what_is_for_others_or_cut_off_is_no_answer() {
        let whole = answer(2, &[54, 4, 10, 0, 2, 2]);
        assert_eq!(read(&whole, 8, MAC), None);
        assert_eq!(read(&whole, 7, [2; 6]), None);
        for length in 0..whole.len() - 1 {
            assert_eq!(read(&whole[..length], 7, MAC), None, "{length}");
        }
    }

    #[test]
    fn questions_hold_what_servers_want() {
        let select =
            Question::Select { address: Ipv4Addr::new(10, 0, 2, 15), server: Ipv4Addr::new(10, 0, 2, 2) };
        let packet = write(select, 7, MAC);
        let options = &packet[OPTIONS_AT..];
        assert_eq!((option(options, 53), option(options, 50)), (Some(&[3][..]), Some(&[10, 0, 2, 15][..])));
        assert!(packet.len() >= SHORTEST && packet[10] == 0x80);
        assert_eq!(write(Question::Rebind(Ipv4Addr::new(10, 0, 2, 15)), 7, MAC)[12..16], [10, 0, 2, 15]);
    }
}
