"""What Debian 12's cloud-init (22.4) lacks for network data of servers: bonds and VLANs in its files for
systemd-networkd, and cards that come late or are members of a bond already."""

import os
import subprocess

from cloudinit import util
from cloudinit.net import networkd
from cloudinit.sources.helpers import openstack

# Keys of Linux's bonding driver, as OpenStack and cloud-init have them, in systemd's words; numbers are milliseconds.
BOND = {
    "mode": "Mode",
    "xmit_hash_policy": "TransmitHashPolicy",
    "lacp_rate": "LACPTransmitRate",
    "ad_select": "AdSelect",
    "min_links": "MinLinks",
    "miimon": "MIIMonitorSec",
    "updelay": "UpDelaySec",
    "downdelay": "DownDelaySec",
    "arp_interval": "ARPIntervalSec",
    "arp_ip_target": "ARPIPTargets",
    "arp_validate": "ARPValidate",
    "arp_all_targets": "ARPAllTargets",
    "fail_over_mac": "FailOverMACPolicy",
    "primary_reselect": "PrimaryReselectPolicy",
    "num_grat_arp": "GratuitousARP",
    "num_unsol_na": "GratuitousARP",
    "resend_igmp": "ResendIGMP",
    "all_slaves_active": "AllSlavesActive",
    "packets_per_slave": "PacketsPerSlave",
    "lp_interval": "LearnPacketIntervalSec",
}
SECONDS = "Sec"


def text(key, value):
    """A bonding parameter's value in systemd's form."""
    if isinstance(value, (list, tuple)):
        return " ".join(str(one) for one in value)
    return f"{value}ms" if BOND[key].endswith(SECONDS) and str(value).isdigit() else str(value)


def bond(iface):
    """The [Bond] section of a bond."""
    lines = []
    for name, value in iface.items():
        key = name.replace("-", "_").removeprefix("bond_")
        if name.startswith("bond") and key in BOND:
            lines.append(f"{BOND[key]}={text(key, value)}")
    return ["[Bond]", *sorted(lines)]


def netdev(iface):
    """The .netdev file of a bond or a VLAN, or nothing."""
    kind = iface.get("type")
    if kind not in ("bond", "vlan"):
        return None
    lines = ["[NetDev]", f"Name={iface['name']}", f"Kind={kind}"]
    if iface.get("mac_address"):
        lines.append(f"MACAddress={iface['mac_address']}")
    lines += bond(iface) if kind == "bond" else ["[VLAN]", f"Id={iface['vlan_id']}"]
    return "\n".join(lines) + "\n"


def belongs(iface, interfaces):
    """What cloud-init's .network file of a link does not say: the bond that it is in, the VLANs on it."""
    match, network = [], []
    if iface.get("bond-master"):
        network.append(f"Bond={iface['bond-master']}")
        # In the bond it has the bond's address.
        match = ["[Match]", "MACAddress=", f"PermanentMACAddress={iface['mac_address']}"]
        if iface.get("bond_primary") == iface["name"]:
            network.append("PrimarySlave=yes")
    network += [f"VLAN={v['name']}" for v in interfaces if v.get("vlan-raw-device") == iface["name"]]
    return "\n".join([*match, "[Network]", *network]) + "\n" if network else None


class Renderer(networkd.Renderer):
    """cloud-init's, with files for what it leaves out."""

    def render_network_state(self, network_state, templates=None, target=None):
        super().render_network_state(network_state, templates, target)
        interfaces = list(network_state.iter_interfaces())
        for iface in interfaces:
            stem = os.path.join(self.network_conf_dir, f"10-cloud-init-{iface['name']}")
            for file, content in (
                (f"{stem}.netdev", netdev(iface)),
                (f"{stem}.network.d/links.conf", belongs(iface, interfaces)),
            ):
                if content:
                    util.write_file(file, content)


def read(path):
    """The line in a file of sysfs, or nothing."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip().lower()
    except OSError:
        return None


def cards():
    """Names of the cards by the addresses that they were made with: those in a bond share one while it is up."""
    found = {}
    for card in os.scandir("/sys/class/net"):
        if os.path.exists(f"{card.path}/device"):
            made = read(f"{card.path}/bonding_slave/perm_hwaddr") or read(f"{card.path}/address")
            found[made] = card.name
    return found


def wanted(network_data):
    """Addresses of the cards that network data names."""
    links = [link for link in network_data.get("links", []) if link.get("type") not in ("bond", "vlan")]
    return {link["ethernet_mac_address"].lower() for link in links if link.get("ethernet_mac_address")}


def convert(network_json=None, known_macs=None, _upstreams=openstack.convert_net_json):
    """OpenStack's network data in cloud-init's form, once its cards are there."""
    if network_json and known_macs is None:
        known_macs = cards()
        if not wanted(network_json) <= known_macs.keys():
            subprocess.run(["systemctl", "start", "systemd-udev-settle.service"], check=False)
            known_macs = cards()
    return _upstreams(network_json, known_macs=known_macs)


def install():
    """Puts this in the places of cloud-init's own."""
    networkd.Renderer = Renderer
    openstack.convert_net_json = convert
