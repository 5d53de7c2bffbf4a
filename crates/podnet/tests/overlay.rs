//! Three Nodes, two on one segment and one behind a router: their agents on a real API server, the kernel's VXLAN and
//! routers between, and a Pod on each.

#[path = "../../netlink/tests/namespace/mod.rs"]
mod namespace;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use namespace::Namespace;
use scute_netlink::{Firewall, Monitor, Netlink};
use scute_podnet::{Config, Kernel, TABLE, run_with};
use scute_testkit::until;
use serde_json::json;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);
/// What the segments take, and what Pods get of it.
const SEGMENT_MTU: usize = 1500;
const POD_MTU: usize = SEGMENT_MTU - 70;

/// A Node with a Pod, each in a network namespace of its own.
struct Machine {
    name: &'static str,
    node: Namespace,
    pod: Namespace,
    addresses: [&'static str; 2],
    /// The third part of its ranges of Pods, 10.244.N.0/24 and fd24:0:0:N::/64.
    number: u8,
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(
        name: &'static str,
        number: u8,
        addresses: [&'static str; 2],
        router: &Namespace,
        segment: &str,
        gateways: [&str; 2],
    ) -> Self {
        let (node, pod) = (Namespace::new(name), Namespace::new(&format!("{name}-pod")));
        let dir = tempfile::tempdir().unwrap();
        let machine = Self { name, node, pod, addresses, number, dir };
        let (node, pod) = (&machine.node, &machine.pod);
        let [v4, v6] = addresses;
        forward(node);
        router.ip(&format!("link add name {name} type veth peer name up0 netns {}", node.name()));
        router.ip(&format!("link set dev {name} master {segment} up"));
        node.ip(&format!("addr add {v4}/24 dev up0"));
        node.ip(&format!("addr add {v6}/64 dev up0 nodad"));
        node.ip("link set up0 up");
        for gateway in gateways {
            node.ip(&format!("route add default via {gateway}"));
        }
        node.ip(&format!("link add cni0 type veth peer name eth0 netns {}", pod.name()));
        machine.pods_mtu(POD_MTU);
        node.ip("link set cni0 up");
        pod.ip("link set eth0 up");
        for (end, link, namespace) in [(1, "cni0", node), (2, "eth0", pod)] {
            namespace.ip(&format!("addr add 10.244.{number}.{end}/24 dev {link}"));
            namespace.ip(&format!("addr add fd24:0:0:{number}::{end}/64 dev {link} nodad"));
        }
        pod.ip(&format!("route add default via 10.244.{number}.1"));
        pod.ip(&format!("route add default via fd24:0:0:{number}::1"));
        machine
    }

    /// What its Pod takes for the largest packet.
    fn pods_mtu(&self, mtu: usize) {
        self.node.ip(&format!("link set cni0 mtu {mtu}"));
        self.pod.ip(&format!("link set eth0 mtu {mtu}"));
    }

    fn pod_addresses(&self) -> [IpAddr; 2] {
        let number = u16::from(self.number);
        [[10, 244, self.number, 2].into(), Ipv6Addr::new(0xfd24, 0, 0, number, 0, 0, 0, 2).into()]
    }

    /// The agent of the Node, on its namespace's kernel.
    fn agent(&self, client: &Client) -> JoinHandle<()> {
        let (netlink, firewall, news) = self.node.inside(|| {
            (Netlink::open().unwrap(), Firewall::open(TABLE).unwrap(), Monitor::subscribe().unwrap())
        });
        let kernel = Kernel { netlink, firewall, monitor: Monitor::of(news).unwrap() };
        for (file, folder) in [("ip_forward", "ipv4"), ("forwarding", "ipv6/conf/all")] {
            let folder = self.dir.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), "1\n").unwrap();
        }
        let config = Config {
            conf_dir: self.dir.path().join("net.d"),
            proc_sys_net: self.dir.path().into(),
            ..Config::new(self.name)
        };
        let client = client.clone();
        tokio::spawn(async move { run_with(client, kernel, config).await.expect("the agent runs on") })
    }

    fn routes(&self) -> Vec<String> {
        let shown = self.node.ip("route show proto 83") + &self.node.ip("-6 route show proto 83");
        let mut lines: Vec<_> = shown
            .lines()
            .map(|line| line.replace(" metric 1024", "").replace(" pref medium", "").trim().to_owned())
            .collect();
        lines.sort();
        lines
    }

    async fn routes_become(&self, want: &[String]) {
        let mut want = want.to_vec();
        want.sort();
        until(&format!("{} has {want:#?}", self.name), || async { (self.routes() == want).then_some(()) })
            .await;
    }

    /// How many packets of this machine were cut in pieces.
    fn fragments(&self) -> u64 {
        let count = |text: &str, name: &str| -> u64 {
            let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
            // /proc/net/snmp has names above values, snmp6 a name before each.
            let above = rows.windows(2).find_map(|pair| {
                let at = pair[0].iter().position(|found| *found == name)?;
                pair[1].get(at)?.parse().ok()
            });
            let before = || rows.iter().find(|row| row[0] == name).and_then(|row| row[1].parse().ok());
            above.or_else(before).expect(name)
        };
        let of = |namespace: &Namespace| {
            namespace.inside(|| {
                let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
                count(&read("snmp"), "FragCreates") + count(&read("snmp6"), "Ip6FragCreates")
            })
        };
        of(&self.node) + of(&self.pod)
    }

    fn has(&self, device: &str) -> bool {
        self.node.ip("-o link show").contains(&format!(" {device}: "))
    }

    /// The number of an interface: another one after it was made anew.
    fn index(&self, device: &str) -> String {
        self.node.ip(&format!("-o link show {device}")).split(':').next().unwrap().to_owned()
    }
}

fn forward(namespace: &Namespace) {
    namespace.inside(|| {
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(format!("/proc/sys/net/{file}"), "1").unwrap();
        }
    });
}

fn direct(to: &Machine) -> [String; 2] {
    let [v4, v6] = to.addresses;
    let number = to.number;
    [format!("10.244.{number}.0/24 via {v4} dev up0"), format!("fd24:0:0:{number}::/64 via {v6} dev up0")]
}

fn tunnelled(number: u8) -> [String; 2] {
    [
        format!("10.244.{number}.0/24 via 10.244.{number}.0 dev scute-vxlan onlink"),
        format!("fd24:0:0:{number}::/64 via fd24:0:0:{number}:: dev scute-vxlan6 onlink"),
    ]
}

/// One datagram of this size there and back, each seen with its sender's own address.
fn datagrams(from: &Namespace, source: IpAddr, to: &Namespace, target: IpAddr, size: usize) {
    let open = |namespace: &Namespace, address: IpAddr| {
        let socket = namespace.inside(|| UdpSocket::bind((address, 7777)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let (one, other) = (open(from, source), open(to, target));
    let mut buffer = vec![0; size + 1];
    for (sender, receiver) in [(&one, &other), (&other, &one)] {
        sender.send_to(&vec![7; size], receiver.local_addr().unwrap()).unwrap();
        let (length, seen) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((length, seen), (size, sender.local_addr().unwrap()), "{source} and {target}");
    }
}

/// A megabyte by TCP: the kernel fills packets as far as it may.
fn stream(from: &Namespace, source: IpAddr, to: &Namespace, target: IpAddr) {
    const SIZE: usize = 1 << 20;
    let listener = to.inside(|| TcpListener::bind((target, 7778)).unwrap());
    let sent = from.inside(|| {
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(target, 7778), PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(&vec![7; SIZE])
        })
    });
    let (mut stream, peer) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    sent.join().unwrap().unwrap();
    assert_eq!((received.len(), peer.ip()), (SIZE, source), "{source} to {target}");
}

/// Every Pod reaches every other one, with datagrams and segments as large as Pods' packets may be.
fn all_meet(machines: &[&Machine]) {
    for (at, from) in machines.iter().enumerate() {
        for to in &machines[at + 1..] {
            for (source, target) in from.pod_addresses().into_iter().zip(to.pod_addresses()) {
                let headers = if source.is_ipv4() { 20 + 8 } else { 40 + 8 };
                datagrams(&from.pod, source, &to.pod, target, POD_MTU - headers);
                stream(&from.pod, source, &to.pod, target);
                stream(&to.pod, target, &from.pod, source);
            }
        }
    }
}

async fn join(nodes: &Api<Node>, name: &str, addresses: [&str; 2], number: u8) {
    let ranges = [format!("10.244.{number}.0/24"), format!("fd24:0:0:{number}::/64")];
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
    }))
    .unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let addresses = addresses.map(|address| json!({"type": "InternalIP", "address": address}));
    let status = json!({"status": {"addresses": addresses}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_nodes_on_two_segments_meet() {
    let server = scute_testkit::server().await;
    let client = server.client().await;
    let nodes: Api<Node> = Api::all(client.clone());

    let router = Namespace::new("router");
    forward(&router);
    for (segment, addresses) in
        [("one", ["10.85.0.1/24", "fd85::1/64"]), ("two", ["192.0.2.1/24", "2001:db8::1/64"])]
    {
        router.ip(&format!("link add {segment} type bridge"));
        router.ip(&format!("link set {segment} up"));
        router.ip(&format!("addr add {} dev {segment}", addresses[0]));
        router.ip(&format!("addr add {} dev {segment} nodad", addresses[1]));
    }
    let of_one = |name, number, addresses| {
        Machine::new(name, number, addresses, &router, "one", ["10.85.0.1", "fd85::1"])
    };
    let a = of_one("a", 1, ["10.85.0.5", "fd85::5"]);
    let b = of_one("b", 2, ["10.85.0.6", "fd85::6"]);
    let far = ["192.0.2.9", "2001:db8::9"];
    let c = Machine::new("c", 3, far, &router, "two", ["192.0.2.1", "2001:db8::1"]);
    // Somebody else's tunnel by the same port, which stays as it is.
    a.node.ip("link add others type vxlan id 99 dstport 4789 local 10.85.0.5");
    let agents: Vec<_> = [&a, &b, &c].iter().map(|machine| machine.agent(&client)).collect();
    for machine in [&a, &b, &c] {
        join(&nodes, machine.name, machine.addresses, machine.number).await;
    }

    // Neighbours by plain routes, the others by the overlay.
    a.routes_become(&[direct(&b), tunnelled(3)].concat()).await;
    b.routes_become(&[direct(&a), tunnelled(3)].concat()).await;
    c.routes_become(&[tunnelled(1), tunnelled(2)].concat()).await;
    let conflist = fs::read(c.dir.path().join("net.d/10-scute.conflist")).unwrap();
    let conflist: serde_json::Value = serde_json::from_slice(&conflist).unwrap();
    assert_eq!(conflist["plugins"][0]["mtu"], json!(POD_MTU));
    all_meet(&[&a, &b, &c]);
    assert_eq!([&a, &b, &c].map(Machine::fragments), [0, 0, 0], "full packets fit into one of the segment's");
    // What is for a Node itself comes by the overlay as well, and is answered by it.
    let own = [10, 244, 1, 0].into();
    datagrams(&a.node, own, &c.pod, c.pod_addresses()[0], 1000);

    // A Pod that was started with larger packets is told by its Node; nothing is lost.
    c.pods_mtu(SEGMENT_MTU);
    for (source, target) in c.pod_addresses().into_iter().zip(a.pod_addresses()) {
        stream(&c.pod, source, &a.pod, target);
    }

    // A restart changes nothing; what was lost or left while no agent ran is mended.
    let index = a.index("scute-vxlan");
    let before = a.routes();
    agents[0].abort();
    a.node.ip("link del scute-vxlan6");
    a.node.ip("neigh del 10.244.3.0 dev scute-vxlan");
    bridge(&a.node, "fdb add 02:53:01:02:03:04 dev scute-vxlan dst 192.0.2.77");
    let agent = a.agent(&client);
    a.routes_become(&before).await;
    until("the entry of before is gone", || async {
        (!a.node.fdb("scute-vxlan").contains("192.0.2.77")).then_some(())
    })
    .await;
    assert_eq!(a.index("scute-vxlan"), index);
    all_meet(&[&a, &c]);

    // Its entries go with a Node, the device with the last one.
    join(&nodes, "d", ["192.0.2.10", "2001:db8::10"], 4).await;
    a.routes_become(&[direct(&b), tunnelled(3), tunnelled(4)].concat()).await;
    nodes.delete("d", &DeleteParams::default()).await.unwrap();
    a.routes_become(&[direct(&b), tunnelled(3)].concat()).await;
    let entries = a.node.fdb("scute-vxlan");
    assert!(entries.contains("192.0.2.9") && !entries.contains("192.0.2.10"), "{entries}");
    assert!(!a.node.ip("neigh show dev scute-vxlan").contains("10.244.4.0"));
    all_meet(&[&a, &c]);
    nodes.delete("c", &DeleteParams::default()).await.unwrap();
    a.routes_become(&direct(&b)).await;
    until("the devices are gone", || async {
        (!a.has("scute-vxlan") && !a.has("scute-vxlan6") && a.has("others")).then_some(())
    })
    .await;

    [&agent, &agents[1], &agents[2]].iter().for_each(|agent| agent.abort());
    for name in ["a", "b"] {
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

fn bridge(namespace: &Namespace, arguments: &str) {
    let done = std::process::Command::new("bridge")
        .args(["-n", namespace.name()])
        .args(arguments.split(' '))
        .status()
        .unwrap();
    assert!(done.success(), "bridge {arguments}");
}

/// A name that is taken is told, and left to whoever has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_told() {
    let server = scute_testkit::server().await;
    let client = server.client().await;
    let nodes: Api<Node> = Api::all(client.clone());
    let router = Namespace::new("taken-router");
    router.ip("link add one type bridge");
    router.ip("link set one up");
    router.ip("addr add 10.85.0.1/24 dev one");
    router.ip("addr add fd85::1/64 dev one nodad");
    let addresses = ["10.85.0.5", "fd85::5"];
    let machine = Machine::new("taken", 1, addresses, &router, "one", ["10.85.0.1", "fd85::1"]);
    machine.node.ip("link add scute-vxlan type bridge");
    let agent = machine.agent(&client);
    join(&nodes, "taken", addresses, 1).await;
    join(&nodes, "taken-far", ["192.0.2.9", "2001:db8::9"], 3).await;
    // The other family has its overlay.
    machine.routes_become(&tunnelled(3)[1..]).await;
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::all(client.clone());
    let note = until("an Event that names the interface", || async {
        let notes =
            events.list(&Default::default()).await.unwrap().items.into_iter().filter_map(|event| event.note);
        notes.into_iter().find(|note| note.contains("scute-vxlan"))
    })
    .await;
    assert_eq!(
        note,
        "Pods of Node taken-far (10.244.3.0/24) are unreachable: no overlay to its network segment: the interface \
         scute-vxlan is there already, as a bridge, which is not this agent's; remove or rename it"
    );
    assert!(machine.node.ip("-d link show scute-vxlan").contains("bridge"));
    agent.abort();
    for name in ["taken", "taken-far"] {
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }
}
