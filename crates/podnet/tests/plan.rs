//! Which routes a Node gets, on paper.

use ipnet::IpNet;
use proptest::prelude::*;
use scute_netlink::{LocalAddress, Route};
use scute_podnet::{
    Change, NodeFacts, Overlay, PORT, PROTOCOL, Unreachable, VNI, Wanted, conflist, mtu, routes, rules,
    wanted,
};

fn node(name: &str, ip: &str, cidr: &str) -> NodeFacts {
    let all =
        |text: &str| text.split(' ').filter(|text| !text.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    NodeFacts {
        name: name.into(),
        pod_cidrs: all(cidr).iter().map(|cidr| cidr.parse().unwrap()).collect(),
        internal_ips: all(ip).iter().map(|ip| ip.parse().unwrap()).collect(),
    }
}

fn address(net: &str, link: u32) -> LocalAddress {
    LocalAddress { net: net.parse().unwrap(), link }
}

fn route(destination: &str, gateway: &str) -> Route {
    let gateway = Some(gateway.parse().unwrap());
    Route { destination: destination.parse().unwrap(), gateway, on_link: false, link: 2, protocol: PROTOCOL }
}

fn me() -> NodeFacts {
    node("a", "10.85.0.5 fd85::5", "10.244.0.0/24 fd24:0:0:a::/64")
}

fn uplinks() -> [LocalAddress; 4] {
    // Loopback, the uplink in both families, and a bridge on which another "10.99" would seem adjacent.
    [
        address("127.0.0.1/8", 1),
        address("10.85.0.5/24", 2),
        address("fd85::5/64", 2),
        address("10.99.0.1/16", 3),
    ]
}

fn plan<'a>(others: impl IntoIterator<Item = &'a NodeFacts>) -> Wanted {
    wanted(&me(), others, &uplinks(), 1430)
}

/// `NODE at ADDRESS has RANGE` of every peer.
fn peers(overlay: &Overlay) -> Vec<String> {
    let text = |peer: &scute_podnet::Peer| format!("{} at {} has {}", peer.node, peer.address, peer.pod_cidr);
    overlay.peers.iter().map(text).collect()
}

#[test]
fn neighbours_get_a_route_in_each_family() {
    let others = [me(), node("b", "10.85.0.6 fd85::6", "10.244.1.0/24 fd24:0:0:b::/64")];
    let routes = vec![route("10.244.1.0/24", "10.85.0.6"), route("fd24:0:0:b::/64", "fd85::6")];
    assert_eq!(plan(&others), Wanted { routes, ..Wanted::default() });
}

#[test]
fn nodes_elsewhere_are_behind_the_overlay_of_their_family() {
    let others = [
        node("far", "192.0.2.9 2001:db8::9", "10.244.2.0/24 fd24:0:0:c::/64"),
        node("near", "10.85.0.6", "10.244.1.0/24"),
        // Only the Node's own uplink is its segment.
        node("by-another-bridge", "10.99.0.7", "10.244.3.0/24"),
    ];
    let wanted = plan(&others);
    assert_eq!(wanted.routes, [route("10.244.1.0/24", "10.85.0.6")]);
    assert_eq!(wanted.unreachable, []);
    let [v4, v6] = &wanted.overlays[..] else { panic!("{:?}", wanted.overlays) };
    assert_eq!(
        peers(v4),
        ["by-another-bridge at 10.99.0.7 has 10.244.3.0/24", "far at 192.0.2.9 has 10.244.2.0/24"]
    );
    assert_eq!(peers(v6), ["far at 2001:db8::9 has fd24:0:0:c::/64"]);
    for (overlay, name, mac, local, address) in [
        (v4, "scute-vxlan", "02:53:0a:55:00:05", "10.85.0.5", "10.244.0.0/32"),
        (v6, "scute-vxlan6", "02:18:82:8d:dc:00", "fd85::5", "fd24:0:0:a::/128"),
    ] {
        let device = &overlay.device;
        assert_eq!((device.name.as_str(), device.mac.to_string().as_str()), (name, mac));
        assert_eq!(
            (device.local.to_string().as_str(), overlay.address.to_string().as_str()),
            (local, address)
        );
        assert_eq!((device.mtu, device.vni, device.port), (1430, VNI, PORT));
    }
}

#[test]
fn what_one_node_makes_of_another_is_what_that_one_makes_of_itself() {
    let far = node("far", "192.0.2.9 2001:db8::9", "10.244.2.0/24 fd24:0:0:c::/64");
    let there = [address("192.0.2.9/24", 4), address("2001:db8::9/64", 4)];
    let (here, there) = (plan([&far]), wanted(&far, [&me()], &there, 1430));
    let ends = |wanted: &Wanted| {
        let of = |overlay: &Overlay| (overlay.device.local, overlay.address.addr());
        wanted.overlays.iter().map(of).collect::<Vec<_>>()
    };
    let seen = |wanted: &Wanted| {
        let of = |peer: &scute_podnet::Peer| (peer.address, peer.pod_cidr.addr());
        wanted.overlays.iter().flat_map(|overlay| overlay.peers.iter().map(of)).collect::<Vec<_>>()
    };
    assert_eq!((ends(&here), ends(&there)), (seen(&there), seen(&here)));
}

#[test]
fn nodes_that_are_not_complete_yet_wait_silently() {
    let others = [node("new", "10.85.0.7", ""), node("newer", "", "10.244.4.0/24")];
    assert_eq!(plan(&others), Wanted::default());
}

#[test]
fn pods_of_a_family_that_this_node_has_not_are_nothing_to_it() {
    let me = node("a", "10.85.0.5", "10.244.0.0/24");
    let far = node("far", "192.0.2.9 2001:db8::9", "fd24:0:0:c::/64");
    assert_eq!(wanted(&me, [&far], &uplinks(), 1430), Wanted::default());
}

#[test]
fn no_route_cuts_a_node_off() {
    let third = node("c", "172.20.0.9", "10.244.7.0/24");
    for (cidr, with) in [
        ("10.85.0.0/16", "10.85.0.0/24 of Node a"),
        ("10.85.0.128/25", "10.85.0.0/24 of Node a"),
        ("0.0.0.0/0", "10.85.0.0/24 of Node a"),
        ("10.244.0.0/16", "10.244.0.0/24 of Node a"),
        // The overlay to Node c would lead into itself.
        ("172.20.0.0/24", "172.20.0.9/32 of Node c"),
    ] {
        for (name, ip) in [("b", "10.85.0.6"), ("far", "192.0.2.9")] {
            let wanted = plan([&node(name, ip, cidr), &third]);
            let others = |overlay: &Overlay| overlay.peers.iter().all(|peer| peer.node == "c");
            assert!(wanted.routes.is_empty() && wanted.overlays.iter().all(others), "{cidr}");
            let told: Vec<_> = wanted.unreachable.iter().map(ToString::to_string).collect();
            let want = format!("Pods of Node {name} ({cidr}) are unreachable: their range overlaps {with}");
            assert_eq!(told, [want]);
        }
    }
}

#[test]
fn a_node_that_claims_our_own_address_gets_none() {
    let wanted = plan([&node("twin", "10.85.0.5", "10.244.5.0/24")]);
    assert!(wanted.routes.is_empty() && wanted.overlays.is_empty());
    assert!(matches!(wanted.unreachable.as_slice(), [Unreachable::SameAddress { .. }]));
}

#[test]
fn without_its_own_address_on_an_interface_a_node_has_no_overlay() {
    let me = node("a", "203.0.113.5", "10.244.0.0/24");
    let wanted = wanted(&me, [&node("far", "192.0.2.9", "10.244.2.0/24")], &uplinks(), 1430);
    let told: Vec<_> = wanted.unreachable.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("first IPv4 InternalIP"), "{told:?}");
    assert_eq!((wanted.routes.len(), wanted.overlays.len()), (0, 0));
}

#[test]
fn packets_of_pods_leave_room_for_the_overlay() {
    let of = |uplink, cidrs: &str| mtu(uplink, &node("a", "", cidrs).pod_cidrs);
    assert_eq!(of(1500, "10.244.0.0/24"), 1450);
    assert_eq!(of(9000, "10.244.0.0/24 fd24::/64"), 8930);
    // IPv6 needs 1280: below, packets of the overlay are fragmented; and no packet is larger than the uplink takes.
    assert_eq!(of(1330, "fd24::/64"), 1280);
    assert_eq!(of(1000, "10.244.0.0/24"), 1000);
}

#[test]
fn changes_are_the_difference() {
    let (one, two, three) = (
        route("10.244.1.0/24", "10.85.0.6"),
        route("10.244.2.0/24", "10.85.0.7"),
        route("10.244.3.0/24", "10.85.0.8"),
    );
    let moved = route("10.244.2.0/24", "10.85.0.9");
    assert_eq!(routes(&[one, two, three], &[one, moved]), [Change::Remove(three), Change::Set(moved)]);
    assert_eq!(routes(&[one], &[one]), []);
}

#[test]
fn only_what_leaves_the_cluster_is_masqueraded() {
    let nodes = [me(), node("b", "10.85.0.6", "10.244.1.0/24"), node("far", "192.0.2.9", "10.244.9.0/24")];
    let rules = rules(&me(), &nodes, &[]);
    let texts = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let masquerades = rules.iter().filter_map(|rules| rules.masquerade.as_ref());
    let found: Vec<_> = masquerades.map(|m| format!("{} not to {}", m.own, texts(&m.direct))).collect();
    assert_eq!(
        found,
        [
            "10.244.0.0/24 not to 10.244.0.0/23 10.244.9.0/24 224.0.0.0/4",
            "fd24:0:0:a::/64 not to fd24:0:0:a::/64 ff00::/8"
        ]
    );
    assert!(rules.iter().all(|rules| rules.guard.is_none()), "nothing to guard");
}

#[test]
fn the_overlay_takes_packets_of_its_peers_only() {
    let nodes = [me(), node("b", "10.85.0.6", "10.244.1.0/24"), node("far", "192.0.2.9", "10.244.9.0/24")];
    let rules = rules(&me(), &nodes, &plan(&nodes).overlays);
    let from: Vec<_> =
        rules.iter().map(|rules| rules.guard.as_ref().map(|guard| guard.from.clone())).collect();
    assert_eq!(from, [Some(vec!["192.0.2.9".parse().unwrap()]), None]);
}

#[test]
fn the_cni_configuration_reads_well() {
    let cidrs: Vec<IpNet> = me().pod_cidrs;
    let text = serde_json::to_string_pretty(&conflist(&cidrs, 1450)).unwrap();
    insta::assert_snapshot!("conflist", text);
}

#[test]
fn the_manifests_read_well() {
    let objects = scute_podnet::manifests("scute.dev/scute:0.1.0", Some(("172.30.0.130", 6443)));
    insta::assert_snapshot!("manifests", serde_json::to_string_pretty(&objects).unwrap());
    let inside = serde_json::to_string(&scute_podnet::manifests("scute.dev/scute:0.1.0", None)).unwrap();
    assert!(!inside.contains("KUBERNETES_SERVICE_HOST"));
}

prop_compose! {
    fn any_route()(net in 0u8..6, gateway in 2u8..6) -> Route {
        route(&format!("10.244.{net}.0/24"), &format!("10.85.0.{gateway}"))
    }
}

proptest! {
    /// A model of the kernel: one route per destination.
    #[test]
    fn applying_the_changes_gives_what_is_wanted(
        seen in prop::collection::vec(any_route(), 0..6),
        want in prop::collection::vec(any_route(), 0..6),
    ) {
        let table = |routes: &[Route]| {
            routes.iter().map(|route| (route.destination, *route)).collect::<std::collections::BTreeMap<_, _>>()
        };
        let mut kernel = table(&seen);
        let seen: Vec<_> = kernel.values().copied().collect();
        for change in routes(&seen, &want) {
            match change {
                Change::Set(route) => { kernel.insert(route.destination, route); }
                Change::Remove(route) => prop_assert!(kernel.remove(&route.destination).is_some()),
            }
        }
        prop_assert_eq!(&kernel, &table(&want));
        let settled: Vec<_> = kernel.into_values().collect();
        prop_assert_eq!(routes(&settled, &want), vec![], "a second look changes nothing");
    }
}
