//! Machines on one segment, each in a network namespace of its own: one of them has the address, whatever happens to the others.

#[path = "../../netlink/tests/namespace/mod.rs"]
mod namespace;

use std::net::Ipv4Addr;
use std::time::Duration;

use namespace::Namespace;
use scute_vip::{Config, Segment, VipError, run_on};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);
/// Room for a busy machine; two seconds are enough on an idle one.
const PATIENCE: Duration = Duration::from_secs(30);

fn config() -> Config {
    Config {
        address: ADDRESS,
        interface: None,
        router: None,
        api_server: "127.0.0.1:1".parse().unwrap(),
        ca: "/nonexistent".into(),
    }
}

/// A bridge, and a neighbour on it that only looks.
struct Room {
    middle: Namespace,
}

/// What runs, and how it is told to end.
type Running = (JoinHandle<Result<(), VipError>>, oneshot::Sender<()>);

struct Machine {
    namespace: Namespace,
    wire: String,
    healthy: watch::Sender<bool>,
    running: Option<Running>,
}

impl Room {
    fn new(name: &str) -> Self {
        let middle = Namespace::new(name);
        middle.ip("link add room type bridge mcast_snooping 0");
        middle.ip("address add 10.77.0.1/24 dev room");
        middle.ip("link set room up");
        Self { middle }
    }

    fn machine(&self, number: u8) -> Machine {
        let namespace =
            Namespace::new(&format!("{}{number}", self.middle.name().rsplit('-').next().unwrap()));
        let wire = format!("m{number}");
        self.middle.ip(&format!("link add {wire} type veth peer name up0 netns {}", namespace.name()));
        self.middle.ip(&format!("link set {wire} master room up"));
        namespace.ip(&format!("address add 10.77.0.{number}/24 dev up0"));
        namespace.ip("link set up0 up");
        let mut machine = Machine { namespace, wire, healthy: watch::channel(false).0, running: None };
        machine.start();
        machine
    }

    /// What the neighbour believes to be the address's MAC.
    fn believed(&self) -> String {
        // Whoever asks learns; who is told by the way learns too.
        let neighbours = self.middle.ip("neighbour show dev room");
        let line = neighbours.lines().find(|line| line.starts_with(&format!("{ADDRESS} ")));
        line.and_then(|line| line.split("lladdr ").nth(1))
            .map(|rest| rest[..17].to_owned())
            .unwrap_or_default()
    }
}

impl Machine {
    fn start(&mut self) {
        let runtime = tokio::runtime::Handle::current();
        let segment = self.namespace.inside(|| {
            let _inside = runtime.enter();
            Segment::open(&config()).unwrap()
        });
        let (stop, stopped) = oneshot::channel();
        let healthy = self.healthy.subscribe();
        let running = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            run_on(segment, &config(), healthy, stop).await
        });
        self.running = Some((running, stop));
    }

    fn has_it(&self) -> bool {
        self.namespace.ip("address show dev up0").contains(&format!(" {ADDRESS}/32 "))
    }

    fn mac(&self) -> String {
        let shown = self.namespace.ip("link show dev up0");
        shown.split("link/ether ").nth(1).unwrap()[..17].to_owned()
    }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        // The kernel's tables are what counts; nobody tells of them in another namespace.
        sleep(Duration::from_millis(50)).await;
    }
}

fn holder(machines: &[&Machine]) -> Option<usize> {
    let holders: Vec<_> = (0..machines.len()).filter(|at| machines[*at].has_it()).collect();
    if let [one] = holders[..] { Some(one) } else { None }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_machine_has_the_address_whatever_happens_to_the_others() {
    let room = Room::new("vip");
    let mut first = room.machine(31);
    until("one alone has it before its API server answers", || first.has_it()).await;
    let mut second = room.machine(32);
    // What a process that was killed has left goes when it is started again.
    second.running.take().unwrap().0.abort();
    second.namespace.ip(&format!("address add {ADDRESS}/32 dev up0"));
    second.start();
    until("one has it", || holder(&[&first, &second]) == Some(0)).await;
    room.middle.ip(&format!("neighbour replace {ADDRESS} lladdr 02:00:00:00:00:99 dev room nud reachable"));

    second.healthy.send_replace(true);
    until("it goes to the one whose API server answers", || holder(&[&first, &second]) == Some(1)).await;
    until("the neighbours know", || room.believed() == second.mac()).await;
    first.healthy.send_replace(true);

    // An orderly end.
    let (running, stop) = second.running.take().unwrap();
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert!(!second.has_it());
    until("the other has it", || first.has_it()).await;
    second.start();

    // The cable is pulled: both have it, and one gives it up when they hear each other again.
    room.middle.ip(&format!("link set {} down", first.wire));
    until("the second has it", || second.has_it()).await;
    room.middle.ip(&format!("link set {} up", first.wire));
    until("one of them", || holder(&[&first, &second]) == Some(1)).await;

    // A process that dies says nothing: what it has left is taken away when it is started again.
    second.running.take().unwrap().0.abort();
    until("the first takes over", || first.has_it()).await;
    second.start();
    until("one has it", || holder(&[&first, &second]) == Some(0)).await;
    let (running, stop) = first.running.take().unwrap();
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_of_no_network_is_refused_with_the_networks_that_there_are() {
    let room = Room::new("none");
    let runtime = tokio::runtime::Handle::current();
    let open = |config: Config| {
        room.middle.inside(|| {
            let _inside = runtime.enter();
            Segment::open(&config).map(drop).unwrap_err().to_string()
        })
    };
    let elsewhere = open(Config { address: Ipv4Addr::new(10, 78, 0, 20), ..config() });
    assert_eq!(elsewhere, "10.78.0.20 is in no network of this machine (10.77.0.1/24)");
    let on = open(Config { interface: Some("eno1".into()), ..config() });
    assert!(on.starts_with("10.77.0.20 is in no network of interface eno1"), "{on}");
    room.middle.ip("link add twin type bridge");
    room.middle.ip("address add 10.77.0.2/24 dev twin");
    assert!(open(config()).ends_with("say which interface"));
}
