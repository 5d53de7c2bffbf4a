//! The server's side: what a client says, whether it is answered ([`respond`]), and the answer.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::Mac;
use crate::message::{
    CLASSLESS, COOKIE, DNS, DOMAIN, END, HOSTNAME, KIND, LEASE, MASK, MAX_SIZE, MTU, OPTIONS_AT, REQUESTED,
    ROUTER, SEARCH, SERVER, SHORTEST, address, option, put,
};

/// IP datagram that every client must take, less IP and UDP headers.
const SAFE: usize = 576 - 28;
const BROADCAST_FLAG: u16 = 0x8000;

/// What a client may have, and is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The client's MAC; nobody else is answered.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// Prefix length of its subnet.
    pub prefix: u8,
    /// MTU of its network.
    pub mtu: u16,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Name servers.
    pub nameservers: Vec<Ipv4Addr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Host name.
    pub hostname: String,
    /// For how many seconds.
    pub seconds: u32,
}

/// A route; without gateway the destination is on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// First address.
    pub destination: Ipv4Addr,
    /// Prefix length.
    pub prefix: u8,
    /// Next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
}

/// Message types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Who is there?
    Discover = 1,
    /// An address is offered.
    Offer = 2,
    /// The client wants an address, or wants to keep one.
    Request = 3,
    /// The client may not use the address.
    Decline = 4,
    /// Granted.
    Ack = 5,
    /// Refused.
    Nak = 6,
    /// The client gives its address back.
    Release = 7,
    /// The client has an address and asks for the rest.
    Inform = 8,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Type of the message.
    pub kind: Kind,
    /// The client's number for the exchange.
    pub transaction: u32,
    /// Seconds since it began, as sent.
    pub seconds: u16,
    /// It can only hear broadcasts.
    pub broadcast: bool,
    /// The address that it has.
    pub client: Ipv4Addr,
    /// The relay that passed it on.
    pub relay: Ipv4Addr,
    /// Its MAC.
    pub mac: Mac,
    /// The address that it asks for.
    pub requested: Option<Ipv4Addr>,
    /// The server that it has chosen.
    pub server: Option<Ipv4Addr>,
    /// The longest IP datagram that it takes.
    pub max_size: Option<u16>,
}

impl Request {
    /// Parses a datagram; none if it is not a DHCP request over Ethernet.
    pub fn parse(bytes: &[u8]) -> Option<Request> {
        let fixed: &[u8; OPTIONS_AT] = bytes.get(..OPTIONS_AT)?.try_into().ok()?;
        let (op, hardware, hardware_length) = (fixed[0], fixed[1], fixed[2]);
        if (op, hardware, hardware_length) != (1, 1, 6) || fixed[236..240] != COOKIE {
            return None;
        }
        let ip = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        let options = &bytes[OPTIONS_AT..];
        let address = |code| option(options, code).and_then(address);
        Some(Request {
            kind: option(options, KIND).and_then(|bytes| Kind::from_code(*bytes.first()?))?,
            transaction: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            seconds: u16::from_be_bytes([fixed[8], fixed[9]]),
            broadcast: u16::from_be_bytes([fixed[10], fixed[11]]) & BROADCAST_FLAG != 0,
            client: ip(12),
            relay: ip(24),
            mac: [fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33]],
            requested: address(REQUESTED),
            server: address(SERVER),
            max_size: option(options, MAX_SIZE)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u16::from_be_bytes),
        })
    }
}

impl Kind {
    fn from_code(code: u8) -> Option<Kind> {
        use Kind::*;
        [Discover, Offer, Request, Decline, Ack, Nak, Release, Inform]
            .into_iter()
            .find(|kind| *kind as u8 == code)
    }
}

/// What is answered, as type and address; none to those who are not this lease's client, or have chosen another server.
#[must_use]
pub fn respond(request: &Request, server: Ipv4Addr, lease: &Lease) -> Option<(Kind, Ipv4Addr)> {
    if request.mac != lease.mac || request.relay != Ipv4Addr::UNSPECIFIED {
        return None;
    }
    let kind = match request.kind {
        Kind::Discover => Kind::Offer,
        Kind::Inform => Kind::Ack,
        Kind::Request if request.server.is_some_and(|chosen| chosen != server) => return None,
        Kind::Request => {
            let wanted = request.requested.unwrap_or(request.client);
            if wanted == lease.address { Kind::Ack } else { Kind::Nak }
        }
        Kind::Offer | Kind::Decline | Kind::Ack | Kind::Nak | Kind::Release => return None,
    };
    let to = match kind {
        Kind::Nak => Ipv4Addr::BROADCAST,
        _ if request.broadcast => Ipv4Addr::BROADCAST,
        _ => lease.address,
    };
    Some((kind, to))
}

/// The answer's datagram. A NAK says nothing but no; an answer to INFORM gives no address and no time.
pub fn answer(request: &Request, kind: Kind, server: Ipv4Addr, lease: &Lease) -> Vec<u8> {
    let mut bytes = vec![0; OPTIONS_AT];
    bytes[..4].copy_from_slice(&[2, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&request.transaction.to_be_bytes());
    if request.broadcast || kind == Kind::Nak {
        bytes[10..12].copy_from_slice(&BROADCAST_FLAG.to_be_bytes());
    }
    if kind != Kind::Nak {
        bytes[12..16].copy_from_slice(&request.client.octets());
    }
    bytes[28..34].copy_from_slice(&request.mac);
    bytes[236..240].copy_from_slice(&COOKIE);
    put(&mut bytes, KIND, &[kind as u8]);
    put(&mut bytes, SERVER, &server.octets());
    if kind != Kind::Nak {
        if request.kind != Kind::Inform {
            bytes[16..20].copy_from_slice(&lease.address.octets());
            put(&mut bytes, LEASE, &lease.seconds.to_be_bytes());
        }
        let limit = request.max_size.map_or(SAFE, |size| usize::from(size).saturating_sub(28).max(SAFE));
        configuration(&mut bytes, lease, limit - 1);
    }
    bytes.push(END);
    bytes.resize(bytes.len().max(SHORTEST), 0);
    bytes
}

/// The most needed first: what does not fit in `limit` is left out.
fn configuration(bytes: &mut Vec<u8>, lease: &Lease, limit: usize) {
    let mut add = |code, value: &[u8]| {
        let fits = bytes.len() + sent_length(value) <= limit;
        if fits && !value.is_empty() {
            put(bytes, code, value);
        }
    };
    add(MASK, &mask(lease.prefix));
    if let Some(gateway) = default_gateway(&lease.routes) {
        add(ROUTER, &gateway.octets());
    }
    add(CLASSLESS, &routes(lease));
    add(MTU, &lease.mtu.to_be_bytes());
    add(DNS, &lease.nameservers.iter().flat_map(Ipv4Addr::octets).collect::<Vec<_>>());
    add(HOSTNAME, lease.hostname.as_bytes());
    if let Some(domain) = lease.search.first() {
        add(DOMAIN, domain.as_bytes());
    }
    let mut search = Vec::new();
    for domain in lease.search.iter().filter_map(|domain| labels(domain)) {
        let longer = [search.as_slice(), &domain].concat();
        if bytes.len() + sent_length(&longer) > limit {
            break;
        }
        search = longer;
    }
    put(bytes, SEARCH, &search);
}

/// Bytes that an option takes, with the heads of its pieces.
fn sent_length(value: &[u8]) -> usize {
    value.len() + 2 * value.len().div_ceil(255)
}

fn mask(prefix: u8) -> [u8; 4] {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0).to_be_bytes()
}

fn default_gateway(routes: &[Route]) -> Option<Ipv4Addr> {
    routes.iter().find(|route| route.prefix == 0)?.gateway
}

/// Classless routes. Clients that know them ignore the router option, so the default route is among them. A gateway
/// outside the subnet must be on the link first (Calico's 169.254.1.1).
fn routes(lease: &Lease) -> Vec<u8> {
    let mut all: Vec<Route> = lease.routes.iter().copied().filter(|route| !is_subnet(lease, route)).collect();
    for gateway in lease.routes.iter().filter_map(|route| route.gateway) {
        let reached = in_subnet(lease, gateway)
            || all
                .iter()
                .any(|route| route.gateway.is_none() && contains(route.destination, route.prefix, gateway));
        if !reached {
            all.push(Route { destination: gateway, prefix: 32, gateway: None });
        }
    }
    all.sort_by_key(|route| (route.gateway.is_some(), std::cmp::Reverse(route.prefix)));
    all.iter()
        .flat_map(|route| {
            let significant = usize::from(route.prefix.min(32)).div_ceil(8);
            let gateway = route.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
            [&[route.prefix][..], &route.destination.octets()[..significant], &gateway[..]].concat()
        })
        .collect()
}

/// The route that follows from address and mask.
fn is_subnet(lease: &Lease, route: &Route) -> bool {
    route.gateway.is_none() && route.prefix == lease.prefix && in_subnet(lease, route.destination)
}

fn in_subnet(lease: &Lease, address: Ipv4Addr) -> bool {
    contains(lease.address, lease.prefix, address)
}

fn contains(network: Ipv4Addr, prefix: u8, address: Ipv4Addr) -> bool {
    let mask = u32::from_be_bytes(mask(prefix));
    network.to_bits() & mask == address.to_bits() & mask
}

/// A domain name in DNS labels; none if it is not one.
fn labels(domain: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in domain.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        let gateway = Some(Ipv4Addr::new(10, 85, 0, 1));
        Lease {
            mac: [2, 0, 0, 0, 0, 9],
            address: Ipv4Addr::new(10, 85, 0, 9),
            prefix: 16,
            mtu: 1450,
            routes: vec![
                Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway },
                Route { destination: Ipv4Addr::new(10, 85, 0, 0), prefix: 16, gateway: None },
            ],
            nameservers: vec![Ipv4Addr::new(10, 86, 0, 10)],
            search: vec!["svc.cluster.local".into(), "cluster.local".into()],
            hostname: "node-1".into(),
            seconds: 86_400 * 365,
        }
    }

    /// A request as a client sends it.
    fn request(kind: Kind, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS_AT];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        bytes[28..34].copy_from_slice(&lease().mac);
        bytes[236..240].copy_from_slice(&COOKIE);
        put(&mut bytes, KIND, &[kind as u8]);
        for (code, value) in options {
            put(&mut bytes, *code, value);
        }
        bytes.push(END);
        bytes
    }

    fn offer(lease: &Lease) -> Vec<u8> {
        let request =
            Request::parse(&request(Kind::Discover, &[(MAX_SIZE, &1500_u16.to_be_bytes())])).unwrap();
        answer(&request, Kind::Offer, Ipv4Addr::new(169, 254, 75, 10), lease)
    }

    #[test]
    fn an_offer_says_all_that_the_pod_knows() {
        let offer = offer(&lease());
        let get = |code| option(&offer[OPTIONS_AT..], code).unwrap();
        assert_eq!(offer[16..20], [10, 85, 0, 9]);
        assert_eq!(offer[4..8], [0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(get(KIND), [2]);
        assert_eq!(get(MASK), [255, 255, 0, 0]);
        assert_eq!(get(ROUTER), [10, 85, 0, 1]);
        assert_eq!(get(CLASSLESS), [0, 10, 85, 0, 1]);
        assert_eq!(get(MTU), 1450_u16.to_be_bytes());
        assert_eq!(get(DNS), [10, 86, 0, 10]);
        assert_eq!(get(HOSTNAME), b"node-1");
        assert_eq!(get(DOMAIN), b"svc.cluster.local");
        assert_eq!(get(SEARCH), b"\x03svc\x07cluster\x05local\x00\x07cluster\x05local\x00");
        assert_eq!(get(LEASE), (86_400_u32 * 365).to_be_bytes());
    }

    #[test]
    fn a_gateway_outside_the_subnet_is_on_the_link_first() {
        let gateway = Ipv4Addr::new(169, 254, 1, 1);
        let default = Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: Some(gateway) };
        let on_link = Route { destination: gateway, prefix: 32, gateway: None };
        let wanted = [32, 169, 254, 1, 1, 0, 0, 0, 0, 0, 169, 254, 1, 1];
        for routes in [vec![default, on_link], vec![default]] {
            let offer = offer(&Lease { prefix: 32, routes, ..lease() });
            assert_eq!(option(&offer[OPTIONS_AT..], CLASSLESS).unwrap(), wanted);
            assert_eq!(option(&offer[OPTIONS_AT..], MASK).unwrap(), [255; 4]);
        }
    }

    #[test]
    fn a_long_search_list_never_breaks_the_datagram() {
        let search: Vec<String> = (0..60).map(|index| format!("domain-{index}.example.org")).collect();
        let full = offer(&Lease { search: search.clone(), ..lease() });
        assert!(full.len() > SAFE && full.len() <= 1500 - 28, "{}", full.len());
        let request = Request::parse(&request(Kind::Discover, &[])).unwrap();
        let small = answer(&request, Kind::Offer, Ipv4Addr::UNSPECIFIED, &Lease { search, ..lease() });
        assert!(small.len() <= SAFE);
        assert!(option(&small[OPTIONS_AT..], CLASSLESS).is_some(), "what is needed is there");
    }

    #[test]
    fn noise_is_no_request() {
        let good = request(Kind::Request, &[(REQUESTED, &[10, 85, 0, 9])]);
        assert_eq!(Request::parse(&good).unwrap().requested, Some(Ipv4Addr::new(10, 85, 0, 9)));
        for length in 0..good.len() - 1 {
            let parsed = Request::parse(&good[..length]);
            assert!(parsed.is_none_or(|request| request.kind == Kind::Request));
        }
        let mut reply = good.clone();
        reply[0] = 2;
        assert!(Request::parse(&reply).is_none());
        let mut no_cookie = good;
        no_cookie[236] = 0;
        assert!(Request::parse(&no_cookie).is_none());
    }

    const US: Ipv4Addr = Ipv4Addr::new(169, 254, 75, 10);
    const OURS: [u8; 4] = [10, 85, 0, 9];

    fn decided(
        kind: Kind,
        options: &[(u8, &[u8])],
        change: impl FnOnce(&mut Request),
    ) -> Option<(Kind, Ipv4Addr)> {
        let mut request = Request::parse(&request(kind, options)).unwrap();
        change(&mut request);
        respond(&request, US, &lease())
    }

    #[test]
    fn the_guest_gets_its_address_in_every_state() {
        let to = Ipv4Addr::from(OURS);
        assert_eq!(decided(Kind::Discover, &[], |_| ()), Some((Kind::Offer, to)));
        let selecting: [(u8, &[u8]); 2] = [(54, &US.octets()), (50, &OURS)];
        assert_eq!(decided(Kind::Request, &selecting, |_| ()), Some((Kind::Ack, to)));
        assert_eq!(decided(Kind::Request, &[(50, &OURS)], |_| ()), Some((Kind::Ack, to)), "after a reboot");
        assert_eq!(
            decided(Kind::Request, &[], |request| request.client = to),
            Some((Kind::Ack, to)),
            "renewing"
        );
        assert_eq!(decided(Kind::Inform, &[], |request| request.client = to), Some((Kind::Ack, to)));
    }

    #[test]
    fn a_guest_with_an_old_address_is_told_so_by_broadcast() {
        let refused = Some((Kind::Nak, Ipv4Addr::BROADCAST));
        assert_eq!(decided(Kind::Request, &[(50, &[10, 85, 0, 7])], |_| ()), refused);
    }

    #[test]
    fn clients_that_only_hear_broadcasts_get_one() {
        let decided = decided(Kind::Discover, &[], |request| request.broadcast = true);
        assert_eq!(decided, Some((Kind::Offer, Ipv4Addr::BROADCAST)));
    }

    #[test]
    fn others_are_not_answered() {
        assert_eq!(
            decided(Kind::Discover, &[], |request| request.mac[5] = 1),
            None,
            "another guest's question"
        );
        assert_eq!(
            decided(Kind::Request, &[(54, &[10, 0, 0, 1]), (50, &OURS)], |_| ()),
            None,
            "another server"
        );
        assert_eq!(decided(Kind::Release, &[], |_| ()), None);
        assert_eq!(decided(Kind::Discover, &[], |request| request.relay = US), None);
    }
}
