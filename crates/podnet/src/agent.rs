//! The agent's loop: Nodes and the kernel's news in, CNI configuration, routes and the overlay out.

use crate::{
    Change, NodeFacts, Overlay, TunnelError, Unreachable, Wanted, conflist, facts, overlay, plan, tunnels,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use scute_kit::{EventType, Notice, chain, post_event, said};
use scute_netlink::{Firewall, LocalAddress, Monitor, Netlink, NetlinkError, Route, Rules};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// After a failed change: the kernel says that it failed, not when it would succeed.
const RETRY: Duration = Duration::from_secs(5);

/// Name of the tables of rules, in the families `ip` and `ip6`. All that is in them is ours.
pub const TABLE: &str = "scute-podnet";

/// Who the agent's Events are from, and their field manager.
const CONTROLLER: &str = "scute-podnet";

/// What one agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Node that it runs on.
    pub node_name: String,
    /// Where the container runtime looks for CNI configuration.
    pub conf_dir: PathBuf,
    /// The Node's `/proc/sys/net`.
    pub proc_sys_net: PathBuf,
}

impl Config {
    /// For the Node of this name, with everybody's paths.
    pub fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            conf_dir: "/etc/cni/net.d".into(),
            proc_sys_net: "/proc/sys/net".into(),
        }
    }
}

/// Why the agent ended, or could not do its work this time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Pod's service account is unusable.
    #[error("no access to the API server from within the cluster")]
    InCluster(#[source] kube::config::InClusterError),
    /// No client from that configuration.
    #[error("no client for the API server")]
    Client(#[source] kube::Error),
    /// The kernel's tables.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A device of the overlay.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// This Node's own address is on none of its interfaces.
    #[error("none of the Node's InternalIPs {0:?} is on an interface")]
    NoUplink(Vec<std::net::IpAddr>),
    /// Forwarding could not be switched on.
    #[error("switching on {0} failed")]
    Forwarding(PathBuf, #[source] io::Error),
    /// The CNI configuration could not be written.
    #[error("writing the CNI configuration in {0} failed")]
    Conflist(PathBuf, #[source] io::Error),
}

/// Runs the agent in a Pod, with its service account and in its network namespace. Returns only when it cannot start
/// or lost the kernel.
pub async fn run(config: Config) -> Result<(), Error> {
    let cluster = kube::Config::incluster_env().map_err(Error::InCluster)?;
    let client = Client::try_from(cluster).map_err(Error::Client)?;
    let kernel =
        Kernel { netlink: Netlink::open()?, firewall: Firewall::open(TABLE)?, monitor: Monitor::open()? };
    run_with(client, kernel, config).await
}

/// Connections to the kernel, all of one network namespace.
pub struct Kernel {
    /// Addresses, routes and the overlay.
    pub netlink: Netlink,
    /// Masquerading, and who may send by the overlay.
    pub firewall: Firewall,
    /// News of both.
    pub monitor: Monitor,
}

/// Runs the agent with a given client and connections to the kernel.
pub async fn run_with(client: Client, kernel: Kernel, config: Config) -> Result<(), Error> {
    let Kernel { netlink, firewall, monitor } = kernel;
    let nodes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default()).default_backoff();
    let mut nodes = std::pin::pin!(nodes);
    let mut agent = Agent {
        client,
        config,
        netlink,
        firewall,
        nodes: BTreeMap::new(),
        rules: Vec::new(),
        told: BTreeSet::new(),
    };
    let mut listed = false;
    let mut retry = None;
    loop {
        let look = tokio::select! {
            event = nodes.next() => agent.take(event, &mut listed),
            changed = monitor.changed() => changed.map(|()| true)?,
            () = due(retry) => true,
        };
        // Before the first list is complete, routes of Nodes that are only not listed yet would be removed.
        if !look || !listed {
            continue;
        }
        retry = match agent.converge().await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the Pod network is not as it should be"
                );
                Some(tokio::time::Instant::now() + RETRY)
            }
        };
    }
}

async fn due(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Agent {
    client: Client,
    config: Config,
    netlink: Netlink,
    firewall: Firewall,
    nodes: BTreeMap<String, NodeFacts>,
    /// Those in the kernel, as far as we know.
    rules: Vec<Rules>,
    told: BTreeSet<Unreachable>,
}

impl Agent {
    /// Takes in one event of the watch; true if something that matters changed.
    fn take(
        &mut self,
        event: Option<Result<watcher::Event<Node>, watcher::Error>>,
        listed: &mut bool,
    ) -> bool {
        match event {
            Some(Ok(watcher::Event::Init)) => {
                *listed = false;
                self.nodes.clear();
                false
            }
            Some(Ok(watcher::Event::InitApply(node))) => self.put(facts(&node)),
            Some(Ok(watcher::Event::InitDone)) => {
                *listed = true;
                true
            }
            Some(Ok(watcher::Event::Apply(node))) => self.put(facts(&node)),
            Some(Ok(watcher::Event::Delete(node))) => self.nodes.remove(&facts(&node).name).is_some(),
            // The watcher backs off and lists again by itself.
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "watching Nodes failed");
                false
            }
            None => false,
        }
    }

    fn put(&mut self, node: NodeFacts) -> bool {
        let same = self.nodes.get(&node.name) == Some(&node);
        self.nodes.insert(node.name.clone(), node);
        !same
    }

    /// Observes, plans and applies once. Without a Pod range of its own yet there is nothing to do.
    async fn converge(&mut self) -> Result<(), Error> {
        let Some(me) = self.nodes.get(&self.config.node_name).cloned() else { return Ok(()) };
        if me.pod_cidrs.is_empty() || me.internal_ips.is_empty() {
            return Ok(());
        }
        let addresses = self.netlink.addresses()?;
        let mtu = overlay::mtu(self.uplink_mtu(&me, &addresses)?, &me.pod_cidrs);
        let Wanted { mut routes, overlays, mut unreachable } =
            plan::wanted(&me, self.nodes.values(), &addresses, mtu);
        forward(&self.config.proc_sys_net, &me)?;
        let ruled = self.rule(plan::rules(&me, self.nodes.values(), &overlays));
        let tunnelled = match &ruled {
            Ok(()) => self.tunnel(&overlays, &mut routes, &mut unreachable),
            // A guard that may be missing is none: without the rules there is no overlay.
            Err(error) => {
                let why = chain(error);
                unreachable.extend(overlays.iter().flat_map(|overlay| overlay.unreachable(&why)));
                tunnels::remove_others(&mut self.netlink, &[]).map_err(Error::from)
            }
        };
        // Routes before the CNI configuration: a Pod that starts on it finds its way at once.
        let seen = self.netlink.routes()?;
        let routed = self.apply(&plan::routes(&seen, &routes));
        self.write_conflist(&me, mtu)?;
        self.tell(&me.name, unreachable).await;
        routed.and(ruled).and(tunnelled)
    }

    /// The overlay's devices and the routes by way of them; where one cannot be had, the Nodes behind it are unreachable.
    fn tunnel(
        &mut self,
        overlays: &[Overlay],
        routes: &mut Vec<Route>,
        unreachable: &mut Vec<Unreachable>,
    ) -> Result<(), Error> {
        let mut first = tunnels::remove_others(&mut self.netlink, overlays).map_err(Error::from);
        for overlay in overlays {
            match tunnels::set(&mut self.netlink, overlay) {
                Ok(through) => routes.extend(through),
                Err(error) => {
                    unreachable.extend(overlay.unreachable(&chain(&error)));
                    first = first.and(Err(error.into()));
                }
            }
        }
        first
    }

    fn uplink_mtu(&mut self, me: &NodeFacts, addresses: &[LocalAddress]) -> Result<u32, Error> {
        let own = |address: &&LocalAddress| me.internal_ips.contains(&address.net.addr());
        let uplinks: BTreeSet<_> = addresses.iter().filter(own).map(|address| address.link).collect();
        let links = self.netlink.links()?.into_iter().filter(|link| uplinks.contains(&link.index));
        links.map(|link| link.mtu).min().ok_or_else(|| Error::NoUplink(me.internal_ips.clone()))
    }

    /// Every change is tried: one that fails must not keep the others away. The first failure is returned.
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        let mut first = Ok(());
        for change in changes {
            let done = match change {
                Change::Set(route) => self.netlink.set_route(route),
                Change::Remove(route) => self.netlink.remove_route(route),
            };
            match done {
                Ok(()) => tracing::info!(?change, "route changed"),
                Err(error) => first = first.and(Err(error.into())),
            }
        }
        first
    }

    fn rule(&mut self, wanted: Vec<Rules>) -> Result<(), Error> {
        for rules in &wanted {
            if !self.rules.contains(rules) || !self.firewall.has_table(rules.family)? {
                self.firewall.replace(rules)?;
                let peers = rules.guard.as_ref().map(|guard| guard.from.len());
                tracing::info!(family = ?rules.family, ?peers, "rules replaced");
            }
        }
        self.rules = wanted;
        Ok(())
    }

    fn write_conflist(&self, me: &NodeFacts, mtu: u32) -> Result<(), Error> {
        let dir = &self.config.conf_dir;
        let content = conflist::conflist(&me.pod_cidrs, mtu);
        if conflist::write(dir, &content).map_err(|error| Error::Conflist(dir.clone(), error))? {
            tracing::info!(dir = %dir.display(), pod_cidrs = ?me.pod_cidrs, mtu, "CNI configuration written");
        }
        Ok(())
    }

    /// An Event on this Node for each Node that it cannot reach, once as long as that lasts.
    async fn tell(&mut self, me: &str, unreachable: Vec<Unreachable>) {
        let now: BTreeSet<_> = unreachable.into_iter().collect();
        let node = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(me.to_owned()),
            // As the kubelet does: `kubectl describe node` looks for the name in place of a uid.
            uid: Some(me.to_owned()),
            ..ObjectReference::default()
        };
        for reason in now.difference(&self.told) {
            tracing::warn!(%reason, "no route");
            let notice = Notice {
                controller: CONTROLLER,
                instance: me,
                kind: EventType::Warning,
                reason: "PodsUnreachable",
                note: &reason.to_string(),
            };
            // The log has it as well: a lost Event is no reason to fail.
            if let Err(error) = post_event(&self.client, node.clone(), notice, jiff::Timestamp::now()).await {
                tracing::warn!(error = said(&error), "event not written");
            }
        }
        self.told = now;
    }
}

/// Lets the kernel pass on packets between Pods and the Node's network, for each family that Pods have.
fn forward(proc_sys_net: &Path, me: &NodeFacts) -> Result<(), Error> {
    for (v4, file) in [(true, "ipv4/ip_forward"), (false, "ipv6/conf/all/forwarding")] {
        if !me.pod_cidrs.iter().any(|cidr| cidr.addr().is_ipv4() == v4) {
            continue;
        }
        let path = proc_sys_net.join(file);
        let on = std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1");
        if !on {
            std::fs::write(&path, "1\n").map_err(|error| Error::Forwarding(path, error))?;
        }
    }
    Ok(())
}
