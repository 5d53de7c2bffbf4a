//! Two tenants whose Pods have the same addresses, on one site: what its bridge lets pass goes through the site's
//! connection tracking (`bridge-nf-call-iptables`, which Services need), where both are one connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

use super::pod::{Namespace, run};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 5), 40000);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 2, 7), 8080);

/// Of kube-proxy and of a machine's own firewall: new connections are looked at, what is out of order is dropped.
const RULES: &str = "table ip site {
    chain forward {
        type filter hook forward priority 0
        ct state invalid drop
        ct state new counter
    }
}";

/// A site's network namespace with a bridge, and those of Nodes behind it; they go when it is dropped.
struct Site {
    name: String,
    nodes: Vec<String>,
}

impl Site {
    fn new() -> Site {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("scute-ts-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &name]);
        let site = Site { name, nodes: Vec::new() };
        run("ip", &["-n", &site.name, "link", "add", "cni0", "up", "type", "bridge"]);
        let inside = Namespace::open(&site.name);
        inside.run(|| std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1").unwrap());
        site.inside(&["nft", RULES]);
        site
    }

    fn inside(&self, command: &[&str]) -> String {
        run("ip", &[&["netns", "exec", &self.name], command].concat())
    }

    /// A Node of this address, on which a Pod has `pod` and which reaches those of the other Node by `peer`.
    fn node(&mut self, address: &str, pod: &SocketAddrV4, others: &str, peer: &str) -> Namespace {
        let name = format!("{}-{}", self.name, self.nodes.len());
        let port = format!("port{}", self.nodes.len());
        run("ip", &["netns", "add", &name]);
        self.nodes.push(name.clone());
        let veth = ["link", "add", &port, "master", "cni0", "up", "type", "veth"];
        run("ip", &[&["-n", &self.name], &veth[..], &["peer", "name", "eth0", "netns", &name]].concat());
        let ip = |args: &[&str]| run("ip", &[&["-n", &name], args].concat());
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "set", "eth0", "up"]);
        ip(&["addr", "add", address, "dev", "eth0"]);
        ip(&["addr", "add", &pod.ip().to_string(), "dev", "lo"]);
        ip(&["route", "add", others, "via", peer]);
        Namespace::open(&name)
    }

    /// Both Nodes of a tenant, with the connection that one's Pod has made to the other's.
    fn tenant(&mut self, first: &str, second: &str) -> (TcpStream, TcpStream) {
        let client = self.node(&format!("{first}/16"), &CLIENT, "10.244.2.0/24", second);
        let server = self.node(&format!("{second}/16"), &SERVER, "10.244.1.0/24", first);
        let listener = server.run(|| TcpListener::bind(SERVER).unwrap());
        let client = client.run(|| {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(Duration::from_secs(20)))
                .unwrap();
            bind(&socket, &CLIENT).unwrap();
            connect(&socket, &SERVER).unwrap();
            TcpStream::from(socket)
        });
        (client, listener.accept().unwrap().0)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for name in self.nodes.iter().chain([&self.name]) {
            let _ = std::process::Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

/// A word there and back.
fn talk((client, server): &(TcpStream, TcpStream), word: [u8; 5]) {
    let mut heard = [0; 5];
    for (mut from, mut to) in [(client, server), (server, client)] {
        to.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        from.write_all(&word).unwrap();
        to.read_exact(&mut heard).unwrap();
        assert_eq!(heard, word);
    }
}

#[test]
fn tenants_with_equal_pod_ranges_do_not_disturb_each_other() {
    let mut site = Site::new();
    let one = site.tenant("10.85.0.12", "10.85.0.13");
    talk(&one, *b"one 1");
    let other = site.tenant("10.85.0.14", "10.85.0.15");
    for _ in 0..3 {
        talk(&other, *b"two n");
        talk(&one, *b"one n");
    }
    let rules = site.inside(&["nft", "list", "table", "ip", "site"]);
    assert!(rules.contains("counter packets 1 "), "to the site both are one connection: {rules}");
    // The end of one, the rude one too, is not that of the other.
    let reset = Some(Duration::ZERO);
    sockopt::set_socket_linger(&other.0, reset).unwrap();
    drop(other);
    for _ in 0..3 {
        talk(&one, *b"still");
    }
}
