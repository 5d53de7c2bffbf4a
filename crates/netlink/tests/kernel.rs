//! The kernel's tables through our netlink, with iproute2 as the second opinion, in namespaces of the test's own.

mod namespace;

use namespace::Namespace;
use scute_netlink::{
    Firewall, Forwarding, Guard, Mac, Masquerade, Monitor, Neighbour, Netlink, NetlinkError, Route, Rules,
    Vxlan, nftables::Family,
};
use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};

const TABLE: &str = "scute-test";
const PROTOCOL: u8 = 83;

fn route(destination: &str, gateway: &str, link: u32) -> Route {
    let gateway = Some(gateway.parse().unwrap());
    Route { destination: destination.parse().unwrap(), gateway, on_link: false, link, protocol: PROTOCOL }
}

/// Our own routes.
fn ours(netlink: &mut Netlink) -> Vec<Route> {
    netlink.routes().unwrap().into_iter().filter(|route| route.protocol == PROTOCOL).collect()
}

/// A namespace with an interface `up0` that has an address in each family.
fn node(name: &str) -> (Namespace, u32) {
    let namespace = Namespace::new(name);
    namespace.ip("link add up0 mtu 1450 type veth peer name wire");
    namespace.ip("link set wire up");
    namespace.ip("addr add 10.85.0.5/24 dev up0");
    namespace.ip("addr add fd85::5/64 dev up0 nodad");
    namespace.ip("link set up0 up");
    let index = namespace.ip("-o link show up0").split(':').next().unwrap().parse().unwrap();
    (namespace, index)
}

#[test]
fn addresses_and_mtu_are_read() {
    let (namespace, link) = node("read");
    namespace.inside(|| {
        let mut netlink = Netlink::open().unwrap();
        let addresses = netlink.addresses().unwrap();
        let of_uplink: Vec<_> = addresses.iter().filter(|address| address.link == link).collect();
        assert!(
            of_uplink.iter().any(|address| address.net == "10.85.0.5/24".parse().unwrap()),
            "{addresses:?}"
        );
        assert!(
            of_uplink.iter().any(|address| address.net == "fd85::5/64".parse().unwrap()),
            "{addresses:?}"
        );
        let links = netlink.links().unwrap();
        let up0 = links.iter().find(|found| found.index == link).unwrap();
        assert_eq!((up0.name.as_str(), up0.kind.as_str(), up0.mtu), ("up0", "veth", 1450));
    });
}

#[test]
fn routes_are_set_moved_and_removed() {
    let (namespace, link) = node("routes");
    namespace.ip("route add 10.244.9.0/24 via 10.85.0.9");
    let (v4, v6) = (route("10.244.1.0/24", "10.85.0.6", link), route("fd24:b::/64", "fd85::6", link));
    let mut netlink = namespace.inside(|| Netlink::open().unwrap());
    netlink.set_route(&v4).unwrap();
    netlink.set_route(&v6).unwrap();
    assert_eq!(ours(&mut netlink), [v4, v6], "ours, and not the one by hand");
    assert!(namespace.ip("route show 10.244.1.0/24").contains("via 10.85.0.6 dev up0 proto 83"));

    let moved = route("10.244.1.0/24", "10.85.0.7", link);
    let moved_6 = Route { gateway: Some("fd24:b::".parse().unwrap()), on_link: true, ..v6 };
    for _ in 0..2 {
        netlink.set_route(&moved).unwrap();
        netlink.set_route(&moved_6).unwrap();
    }
    assert_eq!(ours(&mut netlink), [moved, moved_6]);
    let shown = namespace.ip("route show 10.244.1.0/24");
    assert!(shown.contains("via 10.85.0.7") && shown.lines().count() == 1, "{shown}");

    netlink.remove_route(&moved).unwrap();
    netlink.remove_route(&moved).unwrap();
    netlink.remove_route(&moved_6).unwrap();
    assert_eq!(ours(&mut netlink), []);
    assert!(namespace.ip("route show").contains("10.244.9.0/24"), "the one by hand stays");
}

#[test]
fn the_kernels_refusal_is_told() {
    let (namespace, link) = node("refusal");
    let mut netlink = namespace.inside(|| Netlink::open().unwrap());
    let error = netlink.set_route(&route("10.244.1.0/24", "192.0.2.1", link)).unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(error.to_string(), "netlink: the kernel refused to route 10.244.1.0/24 by way of 192.0.2.1");
    assert!(cause.is_some_and(|cause| cause.contains("unreachable")));
}

#[test]
fn a_thousand_routes_come_in_several_datagrams() {
    let (namespace, link) = node("many");
    let mut netlink = namespace.inside(|| Netlink::open().unwrap());
    let want: Vec<_> = (0..1000)
        .map(|n| route(&format!("10.{}.{}.0/24", 100 + n / 256, n % 256), "10.85.0.6", link))
        .collect();
    want.iter().for_each(|route| netlink.set_route(route).unwrap());
    let mut seen = ours(&mut netlink);
    seen.sort();
    assert_eq!(seen, want);
}

#[tokio::test]
async fn changes_of_others_are_heard() {
    let (namespace, _) = node("heard");
    let monitor = Monitor::of(namespace.inside(|| Monitor::subscribe().unwrap())).unwrap();
    let soon = Duration::from_millis(200);
    for change in
        ["route add 10.244.1.0/24 via 10.85.0.6", "addr add 10.85.0.99/24 dev up0", "link set up0 mtu 1400"]
    {
        while tokio::time::timeout(soon, monitor.changed()).await.is_ok() {}
        namespace.ip(change);
        tokio::time::timeout(Duration::from_secs(10), monitor.changed()).await.expect(change).unwrap();
    }
}

#[test]
fn packets_between_pods_of_two_nodes_find_their_way() {
    let (left, right) = (Namespace::new("left"), Namespace::new("right"));
    left.ip(&format!("link add up0 type veth peer name up0 netns {}", right.name()));
    for (node, address, pod) in
        [(&left, "10.85.0.5/24", "10.244.0.2/32"), (&right, "10.85.0.6/24", "10.244.1.2/32")]
    {
        node.ip(&format!("addr add {address} dev up0"));
        node.ip("link set up0 up");
        node.ip(&format!("addr add {pod} dev lo"));
    }
    let pod = |node: &Namespace, address: &str| node.inside(|| UdpSocket::bind((address, 7777)).unwrap());
    let (one, other) = (pod(&left, "10.244.0.2"), pod(&right, "10.244.1.2"));
    other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let send = || one.send_to(b"hello", "10.244.1.2:7777");
    assert!(send().is_err(), "without a route there is no way");
    for (node, destination, gateway) in
        [(&left, "10.244.1.0/24", "10.85.0.6"), (&right, "10.244.0.0/24", "10.85.0.5")]
    {
        let link = node.ip("-o link show up0").split(':').next().unwrap().parse().unwrap();
        node.inside(|| Netlink::open().unwrap().set_route(&route(destination, gateway, link)).unwrap());
    }
    send().unwrap();
    let (_, from) = other.recv_from(&mut [0; 16]).unwrap();
    assert_eq!(from, one.local_addr().unwrap(), "with its own address");
}

#[test]
fn pods_leave_with_the_nodes_address_and_meet_with_their_own() {
    let (node, outside) = (Namespace::new("nat"), Namespace::new("outside"));
    node.ip(&format!("link add up0 type veth peer name up0 netns {}", outside.name()));
    for (namespace, addresses) in [
        (
            &node,
            [
                "10.85.0.5/24 dev up0",
                "fd85::5/64 dev up0 nodad",
                "10.244.0.2/32 dev lo",
                "fd24::2/128 dev lo",
            ],
        ),
        (
            &outside,
            [
                "10.85.0.6/24 dev up0",
                "fd85::6/64 dev up0 nodad",
                "10.244.1.2/32 dev lo",
                "fd24:1::2/128 dev lo",
            ],
        ),
    ] {
        addresses.iter().for_each(|address| drop(namespace.ip(&format!("addr add {address}"))));
        namespace.ip("link set up0 up");
    }
    node.ip("route add default via 10.85.0.6");
    node.ip("route add default via fd85::6");
    outside.ip("route add 10.244.0.0/24 via 10.85.0.5");
    outside.ip("route add fd24::/64 via fd85::5");
    let net = |text: &str| text.parse().unwrap();
    let mut firewall = node.inside(|| Firewall::open(TABLE).unwrap());
    assert!(!firewall.has_table(Family::Ip).unwrap());
    let rules = |family, own, direct| {
        let masquerade = Some(Masquerade { own, direct });
        Rules { family, masquerade, guard: None }
    };
    let v4 = rules(Family::Ip, net("10.244.0.0/24"), vec![net("10.244.0.0/24"), net("10.244.1.0/24")]);
    let v6 = rules(Family::Ip6, net("fd24::/64"), vec![net("fd24:1::/64")]);
    for rules in [&v4, &v6, &v4] {
        firewall.replace(rules).unwrap();
        assert!(firewall.has_table(rules.family).unwrap());
    }

    let socket = |namespace: &Namespace, address: &str| {
        let socket = namespace.inside(|| UdpSocket::bind((address, 7777)).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    };
    for (pod, other_pod, host, seen_by_host) in [
        ("10.244.0.2", "10.244.1.2", "10.85.0.6", "10.85.0.5"),
        ("fd24::2", "fd24:1::2", "fd85::6", "fd85::5"),
    ] {
        let from = socket(&node, pod);
        for (to, expected) in [(other_pod, pod), (host, seen_by_host)] {
            let to = socket(&outside, to);
            from.send_to(b"hello", to.local_addr().unwrap()).unwrap();
            let (_, seen) = to.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(seen.ip().to_string(), expected, "{pod} to {to:?}");
        }
    }

    let shown = node.nft(&format!("list table ip {TABLE}"));
    assert_eq!(shown.matches("masquerade").count(), 1, "replaced, not added to:\n{shown}");
    assert!(shown.contains("ip saddr 10.244.0.0/24 ip daddr 10.244.1.0/24 accept"), "{shown}");
    node.nft("flush ruleset");
    assert!(!firewall.has_table(Family::Ip).unwrap());
}

const DEVICE: &str = "vxlan-test";

fn device(local: &str) -> Vxlan {
    let local: IpAddr = local.parse().unwrap();
    let mac = Mac([2, 83, 0, 0, 0, if local.is_ipv4() { 4 } else { 6 }]);
    Vxlan { name: DEVICE.into(), mac, mtu: 1400, vni: 83, port: 4789, local }
}

fn index_of(netlink: &mut Netlink, name: &str) -> Option<u32> {
    netlink.links().unwrap().into_iter().find(|link| link.name == name).map(|link| link.index)
}

#[test]
fn a_vxlan_device_and_who_is_behind_it_are_made_read_and_removed() {
    for (local, peer, pods) in
        [("10.85.0.5", "192.0.2.9", "10.244.1.0"), ("fd85::5", "2001:db8::9", "fd24:b::")]
    {
        let (namespace, _) = node("vxlan");
        namespace.ip("link add others type vxlan id 99 dstport 4789 local 10.85.0.5");
        let mut netlink = namespace.inside(|| Netlink::open().unwrap());
        let want = device(local);
        netlink.create_vxlan(&want).unwrap();
        let link = index_of(&mut netlink, DEVICE).unwrap();
        netlink.set_no_ipv6_address(link).unwrap();
        netlink.set_up(link, true).unwrap();
        let seen = netlink.vxlans().unwrap();
        assert_eq!(seen, [(link, want)], "ours, and not the one that learns");
        let shown = namespace.ip(&format!("-d link show {DEVICE}"));
        for part in ["mtu 1400", &format!("local {local}"), "vxlan id 83", "dstport 4789", "nolearning"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }

        let (mac, to, address) = (Mac([2, 83, 1, 2, 3, 4]), peer.parse().unwrap(), pods.parse().unwrap());
        let (entry, moved) = (Forwarding { mac, to }, Forwarding { mac, to: local.parse().unwrap() });
        for entry in [&moved, &entry, &entry] {
            netlink.set_forwarding(link, entry).unwrap();
            netlink.set_neighbour(link, address, mac).unwrap();
        }
        assert_eq!(netlink.forwardings(link).unwrap(), [entry]);
        assert_eq!(netlink.neighbours(link).unwrap(), [Neighbour { address, mac }]);
        let shown = namespace.fdb(DEVICE);
        assert!(shown.contains(&format!("{mac} dst {peer} self permanent")), "{shown}");
        assert!(namespace.ip(&format!("neigh show dev {DEVICE}")).contains(&format!("{mac} PERMANENT")));
        let through = Route {
            on_link: true,
            ..route(&format!("{pods}/{}", if address.is_ipv4() { 24 } else { 64 }), pods, link)
        };
        netlink.set_route(&through).unwrap();
        assert_eq!(ours(&mut netlink), [through]);

        for _ in 0..2 {
            netlink.remove_forwarding(link, &entry).unwrap();
            netlink.remove_neighbour(link, address).unwrap();
        }
        assert_eq!((netlink.forwardings(link).unwrap(), netlink.neighbours(link).unwrap()), (vec![], vec![]));
        for _ in 0..2 {
            netlink.delete_link(link).unwrap();
        }
        assert_eq!((index_of(&mut netlink, DEVICE), ours(&mut netlink)), (None, vec![]));
        assert!(index_of(&mut netlink, "others").is_some());
    }
}

#[test]
fn a_guarded_tunnel_takes_packets_of_its_machines_only() {
    for (left, right, prefix) in [("10.85.0.5", "10.85.0.6", 24), ("fd85::5", "fd85::6", 64)] {
        let (one, other) = (Namespace::new("sends"), Namespace::new("takes"));
        one.ip(&format!("link add up0 type veth peer name up0 netns {}", other.name()));
        let nodad = if prefix == 64 { " nodad" } else { "" };
        for (node, address) in [(&one, left), (&other, right)] {
            node.ip(&format!("addr add {address}/{prefix} dev up0{nodad}"));
            node.ip("link set up0 up");
        }
        // Two tunnels between them, of which one is guarded: what a VNI's packets are is read from the packet.
        let socket = |node: &Namespace, vni: u32, own: &str| {
            node.ip(&format!("addr add {own} dev t{vni}"));
            let socket = node.inside(|| UdpSocket::bind((own.split('/').next().unwrap(), 7777)).unwrap());
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        };
        let mut sockets = Vec::new();
        for vni in [83, 84] {
            for (node, local, remote, own, peer) in [(&one, left, right, 1, 2), (&other, right, left, 2, 1)] {
                let mut netlink = node.inside(|| Netlink::open().unwrap());
                let mac = |end: u8| Mac([2, 83, 0, 0, vni as u8, end]);
                let name = format!("t{vni}");
                let device = Vxlan { name: name.clone(), mac: mac(own), vni, ..device(local) };
                netlink.create_vxlan(&device).unwrap();
                let link = index_of(&mut netlink, &name).unwrap();
                netlink.set_up(link, true).unwrap();
                netlink
                    .set_forwarding(link, &Forwarding { mac: mac(peer), to: remote.parse().unwrap() })
                    .unwrap();
                let address = format!("10.99.{vni}.{peer}").parse().unwrap();
                netlink.set_neighbour(link, address, mac(peer)).unwrap();
                sockets.push(socket(node, vni, &format!("10.99.{vni}.{own}/24")));
            }
        }
        let family = if prefix == 24 { Family::Ip } else { Family::Ip6 };
        let mut firewall = other.inside(|| Firewall::open(TABLE).unwrap());
        let mut let_in = |from: Vec<&str>| {
            let from = from.into_iter().map(|address| address.parse().unwrap()).collect();
            let guard = Some(Guard { port: 4789, vni: 83, from });
            firewall.replace(&Rules { family, masquerade: None, guard }).unwrap();
        };
        let [guarded, guarded_end, open, open_end] = &sockets[..] else { panic!("{sockets:?}") };
        let send = |from: &UdpSocket, to: &UdpSocket, text: &[u8]| {
            from.send_to(text, to.local_addr().unwrap()).unwrap();
        };
        let receive = |socket: &UdpSocket| {
            let mut buffer = [0; 16];
            let (length, _) = socket.recv_from(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let stranger = if prefix == 24 { "10.85.0.7" } else { "fd85::7" };
        let_in(vec![stranger]);
        send(guarded, guarded_end, b"of a stranger");
        send(open, open_end, b"not ours");
        assert_eq!(receive(open_end), "not ours");
        let_in(vec![stranger, left]);
        send(guarded, guarded_end, b"of a peer");
        assert_eq!(receive(guarded_end), "of a peer", "{left}: the first one was dropped");
    }
}

/// As many Nodes as a cluster may have, with rules in one transaction.
#[test]
fn a_guard_of_five_thousand_machines_is_put_in_place_whole() {
    let namespace = Namespace::new("large");
    let from: Vec<IpAddr> =
        (0..5000_u32).map(|n| std::net::Ipv6Addr::from(0xfd85 << 112 | u128::from(n)).into()).collect();
    let mut firewall = namespace.inside(|| Firewall::open(TABLE).unwrap());
    let guard = Some(Guard { port: 4789, vni: 83, from });
    firewall.replace(&Rules { family: Family::Ip6, masquerade: None, guard }).unwrap();
    let shown = namespace.nft(&format!("list table ip6 {TABLE}"));
    assert_eq!(shown.matches("fd85::").count(), 5000);
    assert!(
        shown.contains("udp dport 4789") && shown.contains("@nodes accept"),
        "{}",
        &shown[shown.len() - 500..]
    );
}

/// Without the right to change rules the kernel answers the start of a batch and nothing else.
#[test]
fn a_refused_batch_is_an_error_and_no_hang() {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let namespace = Namespace::new("refused");
    let refused = namespace.inside(|| {
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
            .unwrap();
        Firewall::open(TABLE).unwrap().replace(&Rules { family: Family::Ip, masquerade: None, guard: None })
    });
    let Err(NetlinkError::Refused(what, cause)) = refused else { panic!("{refused:?}") };
    assert_eq!(
        (what.as_str(), cause.kind()),
        ("replace the table scute-test", std::io::ErrorKind::PermissionDenied)
    );
}
