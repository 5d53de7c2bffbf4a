//! Which routes a Node gets, on paper.

use ipnet::IpNet;
use proptest::prelude::*;
use scute_netlink::{LocalAddress, Route};
use scute_podnet::{Change, NodeFacts, OffSegment, PROTOCOL, conflist, masquerades, routes, wanted};

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
    Route { destination: destination.parse().unwrap(), gateway, link: 2, protocol: PROTOCOL }
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

#[test]
fn neighbours_get_a_route_in_each_family() {
    let others = [me(), node("b", "10.85.0.6 fd85::6", "10.244.1.0/24 fd24:0:0:b::/64")];
    let wanted = wanted(&me(), &others, &uplinks());
    let want = [route("10.244.1.0/24", "10.85.0.6"), route("fd24:0:0:b::/64", "fd85::6")];
    assert_eq!((wanted.routes.as_slice(), wanted.off_segment.len()), (want.as_slice(), 0));
}

#[test]
fn nodes_elsewhere_are_named() {
    let elsewhere = node("far", "192.0.2.9", "10.244.2.0/24");
    let by_another_bridge = node("near", "10.99.0.7", "10.244.3.0/24");
    let wanted = wanted(&me(), [&elsewhere, &by_another_bridge], &uplinks());
    assert_eq!(wanted.routes, []);
    let named: Vec<_> = wanted.off_segment.iter().map(ToString::to_string).collect();
    assert!(named[0].contains("Node far (10.244.2.0/24)") && named[1].contains("Node near"), "{named:?}");
}

#[test]
fn nodes_that_are_not_complete_yet_wait_silently() {
    let others = [node("new", "10.85.0.7", ""), node("newer", "", "10.244.4.0/24")];
    assert_eq!(wanted(&me(), &others, &uplinks()), Default::default());
}

#[test]
fn no_route_cuts_this_node_off() {
    for cidr in ["10.85.0.0/16", "10.85.0.128/25", "0.0.0.0/0", "10.244.0.0/16"] {
        let wanted = wanted(&me(), [&node("b", "10.85.0.6", cidr)], &uplinks());
        assert_eq!(wanted.routes, [], "{cidr}");
        assert!(matches!(wanted.off_segment.as_slice(), [OffSegment::Overlaps { .. }]), "{cidr}");
    }
}

#[test]
fn a_node_that_claims_our_own_address_gets_none() {
    let wanted = wanted(&me(), [&node("twin", "10.85.0.5", "10.244.5.0/24")], &uplinks());
    assert_eq!(wanted.routes, []);
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
    let nodes = [me(), node("b", "10.85.0.6", "10.244.1.0/24")];
    let found = masquerades(&me(), &nodes);
    let texts = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let found: Vec<_> = found.iter().map(|m| format!("{} not to {}", m.own, texts(&m.direct))).collect();
    assert_eq!(
        found,
        [
            "10.244.0.0/24 not to 10.244.0.0/24 10.244.1.0/24 224.0.0.0/4",
            "fd24:0:0:a::/64 not to fd24:0:0:a::/64 ff00::/8"
        ]
    );
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
