//! The site's place on the network: a named network namespace, a veth to it, and the host's routes.
//! In: a layout and an address plan. Out: links and routes. Never: touches an interface that is not the site's by its
//! alias or its addresses.

use super::portmap;
use crate::{
    Layout,
    addresses::{AddressRange, Addresses, Taken},
    node::cni,
};
use ipnet::Ipv4Net;
use scute_processes::command::{CommandError, run};
use serde::Deserialize;
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Where `ip netns` keeps its handles.
pub const NETNS: &str = "/run/netns";

/// The path of the site's namespace.
pub fn netns_path(layout: &Layout) -> PathBuf {
    PathBuf::from(NETNS).join(layout.netns())
}

/// Why the site's network is not there.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// `ip` refused.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Somebody else has the link's name.
    #[error("the link {link} is there already and not this site's{}; remove it, or the site that made it", owner(.alias))]
    Foreign {
        /// The link.
        link: String,
        /// Its alias, by which a site marks its own.
        alias: String,
    },
}

fn owner(alias: &str) -> String {
    if alias.is_empty() { String::new() } else { format!(" but of {alias}") }
}

/// How long the kernel may take to remove a link whose other end is gone.
const GOING: Duration = Duration::from_secs(5);

/// Makes namespace, veth, addresses and routes anew, after removing what an earlier run left.
pub fn create(layout: &Layout, addresses: &Addresses) -> Result<(), NetworkError> {
    remove(layout, addresses)?;
    let ns = layout.netns();
    free(&addresses.host_interface(), &ns)?;
    run("ip", &["netns", "add", &ns], None)?;
    run("ip", &["-batch", "-"], Some(&host_link(&ns, addresses)))?;
    run("ip", &["-n", &ns, "-batch", "-"], Some(&node_side(addresses)))?;
    run("ip", &["-batch", "-"], Some(&host_routes(addresses)))?;
    Ok(())
}

/// Waits until nobody has the link's name: one of a start that broke off goes with its namespace, a moment later.
fn free(link: &str, ours: &str) -> Result<(), NetworkError> {
    let until = Instant::now() + GOING;
    while let Some(alias) = alias(link) {
        if Instant::now() > until || !(alias.is_empty() || alias == ours) {
            return Err(NetworkError::Foreign { link: link.to_owned(), alias });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The alias of a link; `None` when there is no such link.
fn alias(link: &str) -> Option<String> {
    let path = Path::new("/sys/class/net").join(link).join("ifalias");
    std::fs::read_to_string(path).ok().map(|alias| alias.trim().to_owned())
}

/// Changes the host's routes from one plan of a running site to another.
pub fn reroute(from: &Addresses, to: &Addresses) -> Result<(), CommandError> {
    let (gone, come) = changed_routes(from, to);
    // One that somebody else removed is gone as well.
    _ = run("ip", &["-force", "-batch", "-"], Some(&gone));
    run("ip", &["-batch", "-"], Some(&come)).map(drop)
}

/// Removes namespace and veth; the routes go with the link. What is not there is fine, and what is another's stays.
pub fn remove(layout: &Layout, addresses: &Addresses) -> Result<(), CommandError> {
    let link = addresses.host_interface();
    if alias(&link).is_some_and(|alias| alias == layout.netns()) {
        run("ip", &["link", "del", &link], None)?;
    }
    remove_namespace(layout)
}

/// Removes what CNI and kube-proxy left in the machine's own network: the bridge of the site's Pods, their forwarded
/// ports, and the tables of its Services. Another Kubernetes may be there: what has not the site's addresses is left alone.
pub fn remove_from_host(addresses: &Addresses) {
    let bridge = addresses.host_interface();
    let has = |address: Ipv4Addr| {
        let links: Vec<Interface> =
            parse(&run("ip", &["-j", "-4", "addr", "show", "dev", &bridge], None).unwrap_or_default());
        links.iter().flat_map(|link| &link.addr_info).any(|a| a.local == address)
    };
    if Path::new("/sys/class/net").join(&bridge).join("bridge").exists() && has(addresses.pods_gateway()) {
        _ = run("ip", &["link", "del", &bridge], None);
    }
    portmap::remove_left(cni::NETWORK);
    // Without `nft` there is no telling whose they are.
    let rules = run("nft", &["list", "table", "ip", "kube-proxy"], None).unwrap_or_default();
    if names_address(&rules, addresses.api_service()) {
        for family in ["ip", "ip6"] {
            _ = run("nft", &["delete", "table", family, "kube-proxy"], None);
        }
    }
}

/// Whether an address stands in a text, and not as a part of another one.
fn names_address(text: &str, address: Ipv4Addr) -> bool {
    let part = |c: char| c.is_ascii_digit() || c == '.';
    text.split(|c: char| !part(c)).any(|word| word == address.to_string())
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
    gateway: Option<Ipv4Addr>,
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

/// Where a machine is in its network.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its own address.
    pub address: Ipv4Addr,
    /// The network.
    pub network: Ipv4Net,
    /// The addresses in it that are known to be somebody's: the machine's and its gateway's.
    pub there: Vec<Taken>,
}

/// The machine's own address and network: the ones that its default route leaves by.
pub fn host_place() -> Result<Option<Place>, CommandError> {
    let routes: Vec<Route> = parse(&run("ip", &["-j", "-4", "route", "show", "default"], None)?);
    let Some(route) = routes.into_iter().next() else { return Ok(None) };
    let dev = route.dev.unwrap_or_default();
    let links: Vec<Interface> = parse(&run("ip", &["-j", "-4", "addr", "show", "dev", &dev], None)?);
    let own: Vec<_> = links.iter().flat_map(|link| &link.addr_info).collect();
    let Some(found) = own.iter().find(|a| route.prefsrc.is_none_or(|source| source == a.local)) else {
        return Ok(None);
    };
    let address = |a: &&Address| Taken { by: format!("an address of {dev}"), range: a.local.into() };
    let gateway = route.gateway.map(|ip| Taken { by: "the gateway".to_owned(), range: ip.into() });
    let network = Ipv4Net::new(found.local, found.prefixlen).map(|net| net.trunc());
    Ok(network.ok().map(|network| Place {
        address: found.local,
        network,
        there: own.iter().map(address).chain(gateway).collect(),
    }))
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

    #[test]
    fn another_clusters_tables_are_not_taken_for_ours() {
        let rules = "elements = { 10.86.0.1 . tcp . 443 : goto service-X, 10.86.0.10 . udp . 53 : goto y }";
        assert!(names_address(rules, Ipv4Addr::new(10, 86, 0, 1)));
        assert!(!names_address(&rules.replace("10.86.0.1 ", "110.86.0.1 "), Ipv4Addr::new(10, 86, 0, 1)));
        assert!(!names_address("", Ipv4Addr::new(10, 86, 0, 1)));
    }

    /// In a network namespace that ends with its thread; root, as everything that makes links.
    #[test]
    fn a_link_of_another_site_is_neither_removed_nor_taken() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (stays, refused) = std::thread::spawn(|| {
            let unshare = rustix::thread::UnshareFlags::NEWNET | rustix::thread::UnshareFlags::NEWNS;
            // SAFETY: this thread shares no file descriptors with others that it would lose.
            unsafe { rustix::thread::unshare_unsafe(unshare) }.unwrap();
            // What /sys shows is of the namespace in which it was mounted.
            let flags = rustix::mount::MountFlags::empty();
            let change =
                rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
            rustix::mount::mount_change("/", change).unwrap();
            rustix::mount::mount("sysfs", "/sys", "sysfs", flags, None).unwrap();
            let layout = Layout::new(crate::SiteName::new("test-b").unwrap(), PathBuf::from("/nowhere"));
            let plan = Addresses::of(3, &AddressWishes::default());
            let link = "link add scute3 type bridge\nlink set scute3 alias scute-test-a\n";
            run("ip", &["-batch", "-"], Some(link)).unwrap();
            remove(&layout, &plan).unwrap();
            (alias("scute3"), free("scute3", "scute-test-b").unwrap_err().to_string())
        })
        .join()
        .unwrap();
        assert_eq!(stays.as_deref(), Some("scute-test-a"));
        assert!(refused.contains("the link scute3 is there already and not this site's but of scute-test-a"));
    }
}
