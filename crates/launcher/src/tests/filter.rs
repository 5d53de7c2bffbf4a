//! What a guest may send: real frames on the tap, and a listener on the node.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use serde_json::json;

use super::network::{GUEST, POD_IP, Wire, as_guest, checksum, dhcp, one_queue};
use super::pod::Pod;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 85, 0, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 85, 0, 10);
const STRANGER: [u8; 6] = [0x0a, 0x58, 0x0a, 0x55, 0x00, 0x0a];
const EVERYBODY: [u8; 6] = [0xff; 6];

/// Everything that reaches the node.
struct Listener(OwnedFd);

impl Listener {
    fn new(pod: &Pod) -> Listener {
        const EVERY_PROTOCOL: u32 = (3_u16.to_be()) as u32;
        let protocol = Protocol::from_raw(EVERY_PROTOCOL.try_into().unwrap());
        let open = || {
            socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol)).unwrap()
        };
        let socket = pod.on_node(open);
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(500))).unwrap();
        Listener(socket)
    }

    /// Whether `frame` comes before `marker` does.
    fn hears(&self, frame: &[u8], marker: &[u8]) -> Option<bool> {
        let mut heard = false;
        let mut buffer = [0; 4096];
        loop {
            let Ok((length, _)) = recv(&self.0, &mut buffer[..], RecvFlags::empty()) else { return None };
            heard |= buffer[..length].starts_with(frame);
            if buffer[..length].starts_with(marker) {
                return Some(heard);
            }
        }
    }
}

/// A guest, and a node that listens.
struct Scene {
    _pod: Pod,
    wire: Wire,
    listener: Listener,
    sent: u16,
}

impl Scene {
    fn new(behind: &[&str]) -> Scene {
        let pod = Pod::new();
        let mut spec = one_queue(&pod);
        spec["interfaces"][0]["behind"] = json!(behind);
        assert!(pod.network(&spec));
        let (wire, listener) = (as_guest(&pod), Listener::new(&pod));
        Scene { _pod: pod, wire, listener, sent: 0 }
    }

    /// Sends `frame`, and one that is known to pass behind it, until that one arrives: a bridge drops what comes before
    /// its port is ready.
    fn passes(&mut self, frame: &[u8]) -> bool {
        for _ in 0..60 {
            self.sent += 1;
            let marker =
                udp(GUEST, POD_IP, GATEWAY, (9, 9), &[&b"marker"[..], &self.sent.to_be_bytes()].concat());
            self.wire.send(frame);
            self.wire.send(&marker);
            if let Some(heard) = self.listener.hears(frame, &marker) {
                return heard;
            }
        }
        panic!("the guest cannot send at all")
    }
}

fn ethernet(from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&EVERYBODY[..], &from, &kind.to_be_bytes(), payload].concat()
}

fn arp(operation: u8, from: [u8; 6], sender: ([u8; 6], Ipv4Addr), about: Ipv4Addr) -> Vec<u8> {
    let (mac, address) = sender;
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    ethernet(from, 0x0806, &[&head[..], &mac, &address.octets(), &[0; 6], &about.octets()].concat())
}

fn udp(mac: [u8; 6], from: Ipv4Addr, to: Ipv4Addr, ports: (u16, u16), text: &[u8]) -> Vec<u8> {
    let length = 8 + text.len() as u16;
    let mut ip = [&[0x45, 0][..], &(20 + length).to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0]].concat();
    ip.extend(from.octets());
    ip.extend(to.octets());
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    ip.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat());
    ip.extend(text);
    ethernet(mac, 0x0800, &ip)
}

/// The frame, as one of another protocol over IP.
fn of_protocol(number: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[14 + 9] = number;
    frame[14 + 10..14 + 12].fill(0);
    let sum = checksum(&frame[14..14 + 20]).to_be_bytes();
    frame[14 + 10..14 + 12].copy_from_slice(&sum);
    frame
}

/// An ICMPv6 message of this type, from a link-local address.
fn icmp6(kind: u8) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 16, 58, 255];
    packet.extend([&[0xfe, 0x80][..], &[0; 13], &[9]].concat());
    packet.extend([&[0xff, 0x02][..], &[0; 13], &[1]].concat());
    packet.extend([kind, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    ethernet(GUEST, 0x86dd, &packet)
}

#[test]
fn a_guest_speaks_in_its_own_name() {
    let mut scene = Scene::new(&[]);
    let nobody = Ipv4Addr::UNSPECIFIED;
    for (what, frame) in [
        ("a question", arp(1, GUEST, (GUEST, POD_IP), GATEWAY)),
        ("an answer", arp(2, GUEST, (GUEST, POD_IP), GATEWAY)),
        ("whether its address is free", arp(1, GUEST, (GUEST, nobody), POD_IP)),
        ("a datagram", udp(GUEST, POD_IP, GATEWAY, (4000, 53), b"?")),
        ("the embedded overlay, and Calico's VXLAN", udp(GUEST, POD_IP, NEIGHBOUR, (49152, 4789), b"vxlan")),
        ("Flannel's and Cilium's VXLAN", udp(GUEST, POD_IP, NEIGHBOUR, (49152, 8472), b"vxlan")),
        ("IP in IP", of_protocol(4, udp(GUEST, POD_IP, NEIGHBOUR, (0, 0), b"packet"))),
        ("the question for an address", dhcp(1, nobody, GUEST, &[&[53, 1, 1]])),
    ] {
        assert!(scene.passes(&frame), "{what} must pass");
    }
}

#[test]
fn a_guest_does_not_speak_in_another_name() {
    let mut scene = Scene::new(&["10.0.0.0/8"]);
    let nobody = Ipv4Addr::UNSPECIFIED;
    let mut tagged = ethernet(GUEST, 0x8100, &[0, 5, 8, 6]);
    tagged.extend(&arp(1, GUEST, (GUEST, POD_IP), GATEWAY)[14..]);
    let bridge_protocol = [&[1, 0x80, 0xc2, 0, 0, 0][..], &GUEST, &[0, 38, 0x42, 0x42, 3], &[0; 35]].concat();
    for (what, frame) in [
        ("another MAC", udp(STRANGER, POD_IP, GATEWAY, (4000, 53), b"?")),
        ("a question from another MAC", arp(1, STRANGER, (GUEST, POD_IP), GATEWAY)),
        ("the gateway's address in an answer", arp(2, GUEST, (GUEST, GATEWAY), POD_IP)),
        ("a neighbour's address in a question", arp(1, GUEST, (GUEST, NEIGHBOUR), GATEWAY)),
        ("another MAC in an answer", arp(2, GUEST, (STRANGER, POD_IP), GATEWAY)),
        ("an answer of nobody", arp(2, GUEST, (GUEST, nobody), GATEWAY)),
        ("a neighbour's address", udp(GUEST, NEIGHBOUR, GATEWAY, (4000, 53), b"?")),
        ("an address from elsewhere", udp(GUEST, Ipv4Addr::new(192, 0, 2, 1), GATEWAY, (53, 4000), b"!")),
        ("nobody's datagram", udp(GUEST, nobody, Ipv4Addr::BROADCAST, (4000, 53), b"?")),
        ("a lease", udp(GUEST, POD_IP, Ipv4Addr::BROADCAST, (67, 68), b"offer")),
        ("an IPv6 router", icmp6(134)),
        ("an IPv6 neighbour", icmp6(136)),
        ("a tagged frame", tagged),
        ("what bridges say to each other", bridge_protocol),
    ] {
        assert!(!scene.passes(&frame), "{what} must not pass");
    }
}

/// A tenant's Node sends the packets of its Pods with their own addresses.
#[test]
fn ranges_behind_the_guest_are_its_own_too() {
    let mut scene = Scene::new(&["10.244.0.0/16"]);
    let datagram = |from| udp(GUEST, from, GATEWAY, (4000, 53), b"?");
    assert!(scene.passes(&datagram(Ipv4Addr::new(10, 244, 3, 7))));
    assert!(!scene.passes(&datagram(Ipv4Addr::new(10, 245, 0, 1))));
}
