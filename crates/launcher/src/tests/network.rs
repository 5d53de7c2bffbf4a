//! `scute launcher network`, and the guest's view of it: the test is the guest, on the tap.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use scute_netlink::tap;
use serde_json::Value;

use super::pod::{MAC, Pod};
use crate::dhcp;
use crate::network::{BRIDGE, BRIDGE_ADDRESS, Learned};

/// Length of the virtio-net header before each frame of the tap.
const VNET: usize = 10;
pub const GUEST: [u8; 6] = [0x0a, 0x58, 0x0a, 0x55, 0x00, 0x09];
pub const POD_IP: Ipv4Addr = Ipv4Addr::new(10, 85, 0, 9);
const NEEDS_CHECKSUM: u8 = 1;

fn find<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    list.as_array()
        .unwrap()
        .iter()
        .find(|entry| entry[key] == value)
        .unwrap_or_else(|| panic!("no {value} in {list:#}"))
}

fn check_handed_over(pod: &Pod) {
    let links = pod.json(&["link"]);
    let port = find(&links, "ifname", "eth0-nic");
    assert_eq!(port["master"], "k6t-eth0");
    assert_ne!(port["address"], MAC);
    assert_eq!(port["linkinfo"]["info_slave_data"]["learning"], false);
    let tap = find(&links, "ifname", "tap0");
    assert_eq!((&tap["master"], &tap["mtu"]), (&"k6t-eth0".into(), &1450.into()));
    assert_eq!(tap["linkinfo"]["info_data"]["user"], 107);
    let bridge = find(&links, "ifname", "k6t-eth0");
    assert_eq!(bridge["mtu"], 1450);
    assert!(bridge["flags"].as_array().unwrap().contains(&"UP".into()));
    let addresses = pod.json(&["addr"]);
    let stand_in = find(&addresses, "ifname", "eth0");
    assert_eq!((&stand_in["linkinfo"]["info_kind"], &stand_in["address"]), (&"bridge".into(), &MAC.into()));
    assert_eq!(stand_in["addr_info"][0]["local"], "10.85.0.9");
    for name in ["eth0-nic", "tap0", "k6t-eth0"] {
        let addresses = find(&addresses, "ifname", name)["addr_info"].as_array().unwrap().clone();
        let wanted: &[&str] = if name == "k6t-eth0" { &["169.254.75.10"] } else { &[] };
        let found: Vec<_> = addresses.iter().map(|address| address["local"].as_str().unwrap()).collect();
        assert_eq!(found, wanted, "{name}");
    }
    let conf = |key: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/k6t-eth0/{key}");
        pod.inside(|| std::fs::read_to_string(path).unwrap().trim().to_owned())
    };
    assert_eq!((conf("arp_ignore"), conf("accept_local")), ("1".into(), "1".into()));
    let learned: Value = serde_json::from_slice(&std::fs::read(pod.at("run/network.json")).unwrap()).unwrap();
    assert_eq!(
        (&learned["address"], &learned["mac"], &learned["mtu"]),
        (&"10.85.0.9".into(), &MAC.into(), &1450.into())
    );
}

#[test]
fn the_pod_s_network_is_handed_over_once_and_again() {
    let pod = Pod::new();
    assert!(pod.network(&pod.spec()));
    check_handed_over(&pod);
    assert!(pod.network(&pod.spec()), "run again after success");
    check_handed_over(&pod);
}

/// Each half-way state that a kill can leave is taken on from.
#[test]
fn a_killed_hand_over_converges() {
    let undo: [(&str, &[&[&str]]); 4] = [
        ("no tap", &[&["link", "delete", "tap0"]]),
        ("no stand-in", &[&["link", "delete", "eth0"]]),
        ("no bridge", &[&["link", "delete", "k6t-eth0"]]),
        (
            "not renamed",
            &[
                &["link", "delete", "eth0"],
                &["link", "set", "eth0-nic", "down"],
                &["link", "set", "eth0-nic", "name", "eth0"],
            ],
        ),
    ];
    let pod = Pod::new();
    assert!(pod.network(&pod.spec()));
    for (state, commands) in undo {
        for command in commands {
            pod.ip(command);
        }
        assert!(pod.network(&pod.spec()), "{state}");
        check_handed_over(&pod);
    }
}

/// A sandbox that is made anew keeps the Pod's volumes: what was learned of the old one must not count.
#[test]
fn a_new_sandbox_is_learned_anew() {
    let pod = Pod::new();
    std::fs::write(pod.at("run/network.json"), r#"{"mac":"02:00:00:00:00:01","mtu":1,"address":"1.2.3.4","prefix":8,"routes":[],"nameservers":[],"search":[]}"#).unwrap();
    assert!(pod.network(&pod.spec()));
    check_handed_over(&pod);
}

/// Taking the interface down takes its routes: they must be known from the run that took it down.
#[test]
fn a_hand_over_killed_before_the_rename_keeps_its_routes() {
    let whole = Pod::new();
    assert!(whole.network(&whole.spec()));
    let pod = Pod::new();
    std::fs::copy(whole.at("run/network.json"), pod.at("run/network.json")).unwrap();
    pod.ip(&["link", "set", "eth0", "down"]);
    assert!(pod.network(&pod.spec()));
    check_handed_over(&pod);
    let learned = Learned::read(&pod.at("run")).unwrap();
    assert!(learned.routes.iter().any(|route| route.prefix == 0), "{:?}", learned.routes);
}

/// A guest without a way to its name server is told about in words, not found by searching.
#[test]
fn name_servers_that_the_guest_cannot_have_are_reported() {
    let pod = Pod::new();
    std::fs::write(pod.at("resolv.conf"), "nameserver fd00::a\nnameserver 10.86.0.10\n").unwrap();
    assert!(pod.network(&pod.spec()));
    assert_eq!(pod.ending(), serde_json::json!({"mac": MAC, "unreachableNameservers": ["fd00::a"]}));
}

#[test]
fn without_an_interface_the_message_says_so() {
    let pod = Pod::new();
    pod.unplug();
    assert!(!pod.network(&pod.spec()));
    assert_eq!(pod.ending()["reason"], "NetworkFailed");
    assert_eq!(pod.ending()["message"], "the Pod has no eth0 with an IPv4 address");
}

#[test]
fn a_vm_without_interfaces_leaves_the_pod_alone() {
    let pod = Pod::new();
    let mut spec = pod.spec();
    spec["interfaces"] = Value::Array(vec![]);
    assert!(pod.network(&spec));
    assert_eq!(find(&pod.json(&["addr"]), "ifname", "eth0")["addr_info"][0]["local"], "10.85.0.9");
}

/// The guest's end of the tap: frames behind virtio-net headers.
pub struct Wire {
    tap: File,
    frames: Receiver<Vec<u8>>,
}

impl Wire {
    fn new(tap: OwnedFd) -> Wire {
        rustix::io::ioctl_fionbio(&tap, false).unwrap();
        let tap = File::from(tap);
        let (sender, frames) = std::sync::mpsc::channel();
        let mut reader = tap.try_clone().unwrap();
        // It ends when the namespace, and with it the tap, is deleted.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Wire { tap, frames }
    }

    pub fn send(&mut self, frame: &[u8]) {
        self.tap.write_all(&[&[0; VNET], frame].concat()).unwrap();
    }

    /// The next frame that `wanted` takes, with its virtio-net header's flags. `ask` is repeated as clients do: a
    /// bridge drops what comes before its port is ready.
    fn ask<T>(
        &mut self,
        what: &str,
        ask: impl Fn(&mut Wire),
        wanted: impl Fn(&[u8]) -> Option<T>,
    ) -> (T, u8) {
        for _ in 0..60 {
            ask(self);
            let end = Instant::now() + Duration::from_secs(1);
            while let Ok(frame) = self.frames.recv_timeout(end.saturating_duration_since(Instant::now())) {
                if let Some(found) = wanted(&frame[VNET..]) {
                    return (found, frame[0]);
                }
            }
        }
        panic!("no {what}")
    }
}

pub fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A DHCP request in Ethernet, IP and UDP, as a client without an address sends it.
pub fn dhcp(round: u8, from: Ipv4Addr, mac: [u8; 6], options: &[&[u8]]) -> Vec<u8> {
    let mut bootp = vec![0; 236];
    bootp[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, round]);
    bootp[12..16].copy_from_slice(&from.octets());
    bootp[28..34].copy_from_slice(&mac);
    bootp.extend([99, 130, 83, 99]);
    bootp.extend(options.concat());
    bootp.push(255);
    let udp_length = 8 + bootp.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_length).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend(from.octets());
    ip.extend([255; 4]);
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    let mut frame = [&[0xff; 6], &mac[..], &[8, 0]].concat();
    frame.extend(ip);
    frame.extend([0, 68, 0, 67]);
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(bootp);
    frame
}

/// The answer of this round in a frame to port 68: its Ethernet destination, and the datagram from the IP header on.
fn dhcp_answer(round: u8, frame: &[u8]) -> Option<([u8; 6], Vec<u8>)> {
    let (ethernet, ip) = frame.split_at_checked(14)?;
    if ethernet[12..14] != [8, 0]
        || ip.get(9) != Some(&17)
        || ip.get(22..24) != Some(&[0, 68])
        || ip[35] != round
    {
        return None;
    }
    assert_eq!(checksum(&ip[..20]), 0);
    let pseudo = [&ip[12..20], &[0, 17], &ip[24..26], &ip[20..]].concat();
    assert_eq!(checksum(&pseudo), 0, "a client that reads raw packets drops this one");
    Some((ethernet[..6].try_into().unwrap(), ip.to_vec()))
}

fn option(ip: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut options = &ip[28 + 240..];
    while let [code, length, rest @ ..] = options {
        let value = &rest[..usize::from(*length)];
        if *code == wanted {
            return Some(value);
        }
        options = &rest[value.len()..];
    }
    None
}

/// Serves DHCP on the Pod's bridge until it is dropped, on a thread in the Pod's namespace.
struct Serving(Option<tokio::sync::oneshot::Sender<()>>, Option<std::thread::JoinHandle<()>>);

impl Serving {
    fn start(pod: &Pod) -> Serving {
        let lease = Learned::read(&pod.at("run")).unwrap().lease("vm-1");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let namespace = pod.namespace();
        let serve = move || {
            namespace.enter();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = dhcp::Server::bind(BRIDGE, BRIDGE_ADDRESS, lease).unwrap();
                bound.send(()).unwrap();
                tokio::select! { () = server.run() => {}, _ = stopped => {} }
            });
        };
        let thread = std::thread::spawn(serve);
        is_bound.recv().expect("the server listens");
        Serving(Some(stop), Some(thread))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.0.take());
        let _ = self.1.take().map(std::thread::JoinHandle::join);
    }
}

/// The test as guest, on the only queue of the tap.
pub fn as_guest(pod: &Pod) -> Wire {
    let tun = pod.at("run/tun");
    Wire::new(pod.inside(|| tap::open(&tun, "tap0", 1).unwrap().remove(0)))
}

pub fn one_queue(pod: &Pod) -> Value {
    let mut spec = pod.spec();
    spec["interfaces"][0]["multiqueue"] = false.into();
    spec
}

#[test]
fn the_guest_gets_the_pod_s_address_by_dhcp() {
    let pod = Pod::new();
    assert!(pod.network(&one_queue(&pod)));
    let mut wire = as_guest(&pod);
    let _serving = Serving::start(&pod);
    let nobody = Ipv4Addr::UNSPECIFIED;
    let ours = POD_IP.octets();
    let rounds: [(&str, Ipv4Addr, &[&[u8]], u8); 4] = [
        ("offer", nobody, &[&[53, 1, 1]], 2),
        ("acknowledgement", nobody, &[&[53, 1, 3], &[50, 4], &ours, &[54, 4], &BRIDGE_ADDRESS.octets()], 5),
        ("acknowledgement after a reboot", nobody, &[&[53, 1, 3], &[50, 4], &ours], 5),
        // The Pod's own address as sender: a packet that a careless stack takes for its own.
        ("acknowledgement when rebinding", POD_IP, &[&[53, 1, 3]], 5),
    ];
    for (round, (what, from, options, kind)) in (1..).zip(rounds) {
        let ask = |wire: &mut Wire| {
            // A stranger's question first: the answer that comes must be the guest's.
            wire.send(&dhcp(round, from, [2, 0, 0, 0, 0, 1], options));
            wire.send(&dhcp(round, from, GUEST, options));
        };
        let ((to, ip), flags) = wire.ask(what, ask, |frame| dhcp_answer(round, frame));
        assert_eq!(ip[28 + 28..28 + 34], GUEST, "{what}: about the guest");
        assert_eq!(option(&ip, 53), Some(&[kind][..]), "{what}");
        assert_eq!((to, flags & NEEDS_CHECKSUM), (GUEST, 0), "{what}: to the guest alone, with its checksum");
        assert_eq!((&ip[12..16], &ip[16..20]), (&BRIDGE_ADDRESS.octets()[..], &ours[..]), "{what}");
        assert_eq!(option(&ip, 121), Some(&[0, 10, 85, 0, 1][..]), "{what}");
        assert_eq!(option(&ip, 6), Some(&[10, 86, 0, 10][..]), "{what}");
        assert_eq!(option(&ip, 26), Some(&1450_u16.to_be_bytes()[..]), "{what}");
        assert_eq!(option(&ip, 12), Some(&b"vm-1"[..]), "{what}");
    }
}

/// Only the guest says that it has the Pod's address, and node and guest reach each other with it.
#[test]
fn the_node_reaches_the_guest_at_the_pod_s_address() {
    let pod = Pod::new();
    assert!(pod.network(&one_queue(&pod)));
    let mut wire = as_guest(&pod);
    let node: UdpSocket = pod.on_node(|| UdpSocket::bind((Ipv4Addr::new(10, 85, 0, 1), 0)).unwrap());
    node.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let asked =
        |frame: &[u8]| (frame[12..14] == [8, 6] && frame[38..42] == POD_IP.octets()).then(|| frame.to_vec());
    // An earlier question may have failed for good by now: then this says so, and asks anew.
    let send = |_: &mut Wire| drop(node.send_to(b"ping", (POD_IP, 7)));
    let (question, _) = wire.ask("ARP question of the node", send, asked);
    let neighbours = pod.node_ip(&["neigh", "show", "10.85.0.9"]);
    assert!(!neighbours.contains("lladdr"), "somebody else answered for the guest: {neighbours}");
    let (node_mac, node_ip) = (&question[22..28], &question[28..32]);
    let answer =
        [node_mac, &GUEST, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &GUEST, &POD_IP.octets(), node_mac, node_ip]
            .concat();
    let ping = |frame: &[u8]| (frame[12..14] == [8, 0] && frame.ends_with(b"ping")).then(|| frame.to_vec());
    let answered = |wire: &mut Wire| {
        wire.send(&answer);
        send(wire);
    };
    let (mut frame, _) = wire.ask("datagram of the node", answered, ping);
    assert_eq!(frame[..6], GUEST);
    // Sent back: addresses and ports swapped, which changes neither checksum.
    for (a, b, length) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        for at in 0..length {
            frame.swap(a + at, b + at);
        }
    }
    frame[40..42].fill(0);
    wire.send(&frame);
    let mut heard = [0; 16];
    let (length, from) = node.recv_from(&mut heard).expect("the guest's answer");
    assert_eq!((&heard[..length], from.ip()), (&b"ping"[..], POD_IP.into()));
}
