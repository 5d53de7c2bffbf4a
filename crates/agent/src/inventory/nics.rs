//! Network ports.

use scute_netlink::Netlink;

use super::sysfs::Folder;
use crate::protocol::Nic;

/// All ports with a device behind them; `live`: with the addresses that they have now.
pub fn read(sys: &Folder, live: bool) -> Vec<Nic> {
    let addresses = if live { addresses() } else { Vec::new() };
    sys.folders("class/net").into_iter().filter_map(|port| nic(&port, &addresses)).collect()
}

fn nic(port: &Folder, addresses: &[(u32, String)]) -> Option<Nic> {
    if !port.has("device") {
        return None;
    }
    let pci = pci(&port.real_of("device"));
    let id = |name: &str| pci.as_ref().map(|pci| pci.text(name)).unwrap_or_default();
    let index: Option<u32> = port.number("ifindex");
    let megabits: i64 = port.number("speed").unwrap_or_default();
    let own = addresses.iter().filter(|(link, _)| Some(*link) == index).map(|(_, address)| address.clone());
    Some(Nic {
        name: port.name(),
        mac: port.text("address").to_lowercase(),
        addresses: own.collect(),
        model: format!("{} {}", id("vendor"), id("device")).trim().to_owned(),
        speed_gbps: u32::try_from(megabits / 1000).unwrap_or_default(),
        carrier: port.text("carrier") == "1",
        pci_address: pci.as_ref().map(Folder::name).unwrap_or_default(),
        numa_node: pci.and_then(|pci| pci.number("numa_node")).unwrap_or(-1),
    })
}

/// The PCI device of a device, which may be one on a bus behind it.
pub fn pci(device: &Folder) -> Option<Folder> {
    let is_address =
        |name: &str| name.len() == 12 && name.as_bytes()[4] == b':' && name.as_bytes()[10] == b'.';
    let of_path = |path: &std::path::Path| Folder::new(path.to_owned());
    device.path().ancestors().map(of_path).find(|folder| is_address(&folder.name()))
}

fn addresses() -> Vec<(u32, String)> {
    let found = Netlink::open().and_then(|mut netlink| netlink.addresses());
    let found = found.inspect_err(|error| tracing::warn!(%error, "addresses are not known"));
    let global = |net: &ipnet::IpNet| match net.addr() {
        std::net::IpAddr::V4(address) => !address.is_loopback(),
        std::net::IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_loopback(),
    };
    let found = found.unwrap_or_default().into_iter().filter(|address| global(&address.net));
    found.map(|address| (address.link, address.net.addr().to_string())).collect()
}
