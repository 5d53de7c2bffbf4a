//! DHCP of IPv4, the client's side: <https://www.rfc-editor.org/rfc/rfc2131>, <https://www.rfc-editor.org/rfc/rfc2132>.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use scute_netlink::Mac;

const HEADER: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Servers and relays of the old protocol drop shorter packets.
const SHORTEST: usize = 300;
/// What we ask for: mask, router, name servers, host name, domain, lease time, renewal time.
const WANTED: [u8; 7] = [1, 3, 6, 12, 15, 51, 58];
const DEFAULT_LEASE: u32 = 3600;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who can give an address?
    Discover,
    /// This one then, from this server.
    Select { address: Ipv4Addr, server: Ipv4Addr },
    /// May I keep it?
    Rebind(Ipv4Addr),
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Offer { address: Ipv4Addr, server: Ipv4Addr },
    Lease(Lease),
    Refused,
}

/// An address for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Net,
    pub gateway: Option<Ipv4Addr>,
    pub resolvers: Vec<Ipv4Addr>,
    pub hostname: String,
    pub domain: String,
    /// When to ask again.
    pub renew_after: Duration,
}

/// The packet of a question.
pub fn write(question: Question, transaction: u32, mac: Mac) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    // A request, of Ethernet.
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[4..8].copy_from_slice(&transaction.to_be_bytes());
    // Answers by broadcast: there is no address yet to which they could be sent.
    bytes[10] = 0x80;
    if let Question::Rebind(address) = question {
        bytes[12..16].copy_from_slice(&address.octets());
    }
    bytes[28..34].copy_from_slice(&mac.0);
    bytes.extend(COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        bytes.extend([code, value.len() as u8]);
        bytes.extend(value);
    };
    option(53, &[if question == Question::Discover { 1 } else { 3 }]);
    option(61, &[&[1], &mac.0[..]].concat());
    if let Question::Select { address, server } = question {
        option(50, &address.octets());
        option(54, &server.octets());
    }
    option(60, b"scute");
    option(55, &WANTED);
    bytes.push(255);
    bytes.resize(bytes.len().max(SHORTEST), 0);
    bytes
}

/// The answer in a packet, if it is one for us.
pub fn read(packet: &[u8], transaction: u32, mac: Mac) -> Option<Answer> {
    let ours = packet.get(4..8)? == transaction.to_be_bytes() && packet.get(28..34)? == mac.0;
    if packet.first() != Some(&2) || !ours || packet.get(HEADER..HEADER + 4)? != COOKIE {
        return None;
    }
    let options = &packet[HEADER + 4..];
    let address = ipv4(packet.get(16..20)?)?;
    match option(options, 53)? {
        [2] => Some(Answer::Offer { address, server: ipv4(option(options, 54)?)? }),
        [5] => Some(Answer::Lease(lease(address, options)?)),
        [6] => Some(Answer::Refused),
        _ => None,
    }
}

fn lease(address: Ipv4Addr, options: &[u8]) -> Option<Lease> {
    let text = |code| option(options, code).map(printable).unwrap_or_default();
    let seconds =
        |code| option(options, code).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let mask = option(options, 1).and_then(ipv4).unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
    let renew = seconds(58).unwrap_or(seconds(51).unwrap_or(DEFAULT_LEASE) / 2);
    Some(Lease {
        address: Ipv4Net::with_netmask(address, mask).ok()?,
        gateway: option(options, 3).and_then(|list| ipv4(list.get(..4)?)),
        resolvers: option(options, 6).unwrap_or_default().chunks_exact(4).filter_map(ipv4).collect(),
        hostname: text(12),
        domain: text(15),
        renew_after: Duration::from_secs(renew.max(60).into()),
    })
}

/// A server may say anything; it goes into a file and a report.
fn printable(text: &[u8]) -> String {
    let name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    text.iter().take_while(name).map(|byte| char::from(*byte)).collect()
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match *options {
            [0, ref rest @ ..] => options = rest,
            [255, ..] | [] | [_] => return None,
            [code, length, ref rest @ ..] => {
                let value = rest.get(..length.into())?;
                if code == wanted {
                    return Some(value);
                }
                options = &rest[length.into()..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn answer(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = write(Question::Discover, 7, MAC)[..HEADER + 4].to_vec();
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
        assert_eq!(read(&whole, 7, Mac([2; 6])), None);
        for length in 0..whole.len() - 1 {
            assert_eq!(read(&whole[..length], 7, MAC), None, "{length}");
        }
    }

    #[test]
    fn questions_hold_what_servers_want() {
        let select =
            Question::Select { address: Ipv4Addr::new(10, 0, 2, 15), server: Ipv4Addr::new(10, 0, 2, 2) };
        let packet = write(select, 7, MAC);
        let options = &packet[HEADER + 4..];
        assert_eq!((option(options, 53), option(options, 50)), (Some(&[3][..]), Some(&[10, 0, 2, 15][..])));
        assert!(packet.len() >= SHORTEST && packet[10] == 0x80);
        assert_eq!(write(Question::Rebind(Ipv4Addr::new(10, 0, 2, 15)), 7, MAC)[12..16], [10, 0, 2, 15]);
    }
}
