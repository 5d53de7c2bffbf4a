//! The site's place on the network: a named network namespace, a veth to it, and the host's routes.
//! In: a layout and an address plan. Out: links and routes. Never: touches an interface of another name.

use crate::{
    Layout,
    addresses::{AddressRange, Addresses, Taken},
};
use ipnet::Ipv4Net;
use scute_processes::command::{CommandError, run};
use serde::Deserialize;
use std::{net::Ipv4Addr, path::PathBuf};

/// Where `ip netns` keeps its handles.
pub const NETNS: &str = "/run/netns";

/// The path of the site's namespace.
pub fn netns_path(layout: &Layout) -> PathBuf {
    PathBuf::from(NETNS).join(layout.netns())
}

/// Makes namespace, veth, addresses and routes anew, after removing what an earlier run left.
pub fn create(layout: &Layout, addresses: &Addresses) -> Result<(), CommandError> {
    remove(layout, addresses)?;
    let ns = layout.netns();
    run("ip", &["netns", "add", &ns], None)?;
    run("ip", &["-batch", "-"], Some(&host_link(&ns, addresses)))?;
    run("ip", &["-n", &ns, "-batch", "-"], Some(&node_side(addresses)))?;
    run("ip", &["-batch", "-"], Some(&host_routes(addresses)))?;
    Ok(())
}

/// Changes the host's routes from one plan of a running site to another.
pub fn reroute(from: &Addresses, to: &Addresses) -> Result<(), CommandError> {
    let (gone, come) = changed_routes(from, to);
    // One that somebody else removed is gone as well.
    _ = run("ip", &["-force", "-batch", "-"], Some(&gone));
    run("ip", &["-batch", "-"], Some(&come)).map(drop)
}

/// Removes namespace and veth; the routes go with the link. What is not there is fine.
pub fn remove(layout: &Layout, addresses: &Addresses) -> Result<(), CommandError> {
    let link = addresses.host_interface();
    if PathBuf::from("/sys/class/net").join(&link).exists() {
        run("ip", &["link", "del", &link], None)?;
    }
    remove_namespace(layout)
}

/// Removes what CNI and kube-proxy left in the machine's own network: the bridge of Pods and the tables of Services.
pub fn remove_from_host() {
    // Each may not be there, and without `nft` there can be no table of kube-proxy's.
    _ = run("ip", &["link", "del", "cni0"], None);
    for family in ["ip", "ip6"] {
        _ = run("nft", &["delete", "table", family, "kube-proxy"], None);
    }
}

/// Removes the folder of namespaces when it is empty: `ip netns` makes it, as a mount of itself.
pub fn forget_namespaces_folder() {
    if std::fs::read_dir(NETNS).is_ok_and(|mut entries| entries.next().is_none()) {
        // In use by somebody, or not a mount: then it stays, which hurts nobody.
        _ = rustix::mount::unmount(NETNS, rustix::mount::UnmountFlags::DETACH);
        _ = std::fs::remove_dir(NETNS);
    }
}

/// Removes the namespace, and with it the link, whatever its number is.
pub fn remove_namespace(layout: &Layout) -> Result<(), CommandError> {
    if netns_path(layout).exists() {
        run("ip", &["netns", "del", &layout.netns()], None)?;
    }
    Ok(())
}

fn host_link(ns: &str, addresses: &Addresses) -> String {
    let link = addresses.host_interface();
    let (host, prefix) = (addresses.host(), addresses.link.prefix_len());
    format!(
        "link add {link} type veth peer name eth0 netns {ns}\n\
         addr add {host}/{prefix} dev {link}\n\
         link set {link} alias {ns} up\n"
    )
}

fn node_side(addresses: &Addresses) -> String {
    let (node, prefix, host) = (addresses.node, addresses.link.prefix_len(), addresses.host());
    format!(
        "link set lo up\n\
         addr add {node}/{prefix} dev eth0\n\
         link set eth0 up\n\
         route add default via {host}\n"
    )
}

fn host_routes(addresses: &Addresses) -> String {
    addresses.routed().iter().map(|net| route("add", net, addresses)).collect()
}

/// What has to go, and what has to come.
fn changed_routes(from: &Addresses, to: &Addresses) -> (String, String) {
    let (old, new) = (from.routed(), to.routed());
    let gone = old.iter().filter(|net| !new.contains(net)).map(|net| route("del", net, from));
    let come = new.iter().filter(|net| !old.contains(net)).map(|net| route("replace", net, to));
    (gone.collect(), come.collect())
}

fn route(verb: &str, net: &Ipv4Net, addresses: &Addresses) -> String {
    let (node, link) = (addresses.node, addresses.host_interface());
    format!("route {verb} {net} via {node} dev {link}\n")
}

#[derive(Deserialize)]
struct Route {
    dst: String,
    #[serde(default)]
    dev: Option<String>,
    #[serde(default)]
    prefsrc: Option<Ipv4Addr>,
}

#[derive(Deserialize)]
struct Interface {
    ifname: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    local: Ipv4Addr,
    prefixlen: u8,
}

/// Ranges that the machine's own routes and addresses use. Routes by `scute*` links belong to sites, which are asked
/// separately, so that what a crashed site left is not in the way of its next start.
pub fn taken() -> Result<Vec<Taken>, CommandError> {
    let routes: Vec<Route> = parse(&run("ip", &["-j", "-4", "route", "show", "table", "main"], None)?);
    let links: Vec<Interface> = parse(&run("ip", &["-j", "-4", "addr", "show"], None)?);
    let by_route = routes.into_iter().filter_map(|route| {
        let dev = route.dev.unwrap_or_default();
        let range: AddressRange = route.dst.parse().ok()?;
        (!is_ours(&dev)).then(|| Taken { by: format!("the route of {dev}"), range })
    });
    let by_address = links.into_iter().filter(|link| !is_ours(&link.ifname) && link.ifname != "lo").flat_map(
        |Interface { ifname, addr_info }| {
            addr_info.into_iter().filter_map(move |a| {
                let range = Ipv4Net::new(a.local, a.prefixlen).ok()?.into();
                Some(Taken { by: format!("the network of {ifname}"), range })
            })
        },
    );
    Ok(by_route.chain(by_address).collect())
}

/// The machine's own address and network: the ones that its default route leaves by.
pub fn host_address() -> Result<Option<(Ipv4Addr, Ipv4Net)>, CommandError> {
    let routes: Vec<Route> = parse(&run("ip", &["-j", "-4", "route", "show", "default"], None)?);
    let Some(route) = routes.into_iter().next() else { return Ok(None) };
    let dev = route.dev.unwrap_or_default();
    let links: Vec<Interface> = parse(&run("ip", &["-j", "-4", "addr", "show", "dev", &dev], None)?);
    let address = links
        .iter()
        .flat_map(|link| &link.addr_info)
        .find(|a| route.prefsrc.is_none_or(|source| source == a.local));
    Ok(address.and_then(|a| Some((a.local, Ipv4Net::new(a.local, a.prefixlen).ok()?.trunc()))))
}

fn is_ours(link: &str) -> bool {
    link.strip_prefix("scute").is_some_and(|n| n.parse::<u8>().is_ok())
}

/// Entries of another shape (`ip` prints empty objects for filtered interfaces) are left out.
fn parse<T: for<'de> Deserialize<'de>>(json: &str) -> Vec<T> {
    let values: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::AddressWishes;

    #[test]
    fn the_host_routes_everything_of_the_site_by_the_node() {
        let plan = Addresses::of(1, &AddressWishes::default());
        let routes = host_routes(&plan);
        assert!(routes.contains("route add 10.87.0.0/16 via 172.30.1.2 dev scute1\n"), "{routes}");
        assert!(routes.contains("route add 10.88.0.0/16 via 172.30.1.2 dev scute1\n"), "{routes}");
        assert!(routes.contains("route add 172.30.1.128/26 via 172.30.1.2 dev scute1\n"), "{routes}");
    }

    #[test]
    fn another_pool_changes_its_own_routes_only() {
        let of = |pools: &[&str]| {
            let pools = pools.iter().map(|pool| pool.parse().unwrap()).collect();
            Addresses::of(1, &AddressWishes { pools, ..AddressWishes::default() })
        };
        let (gone, come) = changed_routes(&of(&["10.9.0.4", "10.9.0.8"]), &of(&["10.9.0.8", "10.9.0.16"]));
        assert_eq!(gone, "route del 10.9.0.4/32 via 172.30.1.2 dev scute1\n");
        assert_eq!(come, "route replace 10.9.0.16/32 via 172.30.1.2 dev scute1\n");
    }

    #[test]
    fn only_numbered_links_are_ours() {
        assert!(is_ours("scute0") && is_ours("scute63"));
        assert!(!is_ours("scutes") && !is_ours("eth0") && !is_ours("scute"));
    }
}
