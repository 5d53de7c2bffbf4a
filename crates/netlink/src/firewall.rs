//! The rules of a machine with Pods: their packets leave the cluster with the machine's address and go to each other with
//! their own, and tunnels take packets of the cluster's machines only.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::NetlinkError;
use crate::nftables::{self, Chain, Family, Field, Hook, Nftables, Rule, Set, Table, Verdict};

/// All rules of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The family.
    pub family: Family,
    /// What is masqueraded.
    pub masquerade: Option<Masquerade>,
    /// Who may send by a tunnel.
    pub guard: Option<Guard>,
}

/// What is masqueraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// The range of the Pods here.
    pub own: IpNet,
    /// Where their packets go with their own address: every range of Pods in the cluster, and multicast.
    pub direct: Vec<IpNet>,
}

/// A VXLAN that takes packets of some machines only: the protocol itself takes those of anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The UDP port.
    pub port: u16,
    /// The VXLAN network identifier. Other ones at the port are left alone.
    pub vni: u32,
    /// Whose packets are taken.
    pub from: Vec<IpAddr>,
}

const UDP: u8 = 17;
const UDP_DESTINATION: Field = Field::Transport(2);
/// The 24 bits of the identifier, 4 bytes behind the start of the VXLAN header.
const VNI: Field = Field::Transport(12);
const NODES: &str = "nodes";

/// Keeps rules in tables of one name, one for each family.
#[derive(Debug)]
pub struct Firewall {
    nftables: Nftables,
    table: &'static str,
}

impl Firewall {
    /// Opens a connection for the calling thread's network namespace. All that is in the tables `table` is ours.
    pub fn open(table: &'static str) -> Result<Self, NetlinkError> {
        Ok(Self { nftables: Nftables::open()?, table })
    }

    /// Puts `rules` in the place of the family's table, in one transaction.
    pub fn replace(&mut self, rules: &Rules) -> Result<(), NetlinkError> {
        let Rules { family, masquerade, guard } = rules;
        let masquerade = masquerade.iter().map(|masquerade| Chain {
            name: "postrouting",
            hook: Hook::SourceNat,
            policy: Verdict::Accept,
            rules: masqueraded(*family, masquerade),
        });
        let guarded = guard.iter().map(|guard| Chain {
            name: "input",
            hook: Hook::Input,
            policy: Verdict::Accept,
            rules: guarded(*family, guard),
        });
        let sets = guard.iter().map(|guard| Set { name: NODES, members: guard.from.clone() });
        self.nftables.replace(&Table {
            family: *family,
            name: self.table,
            sets: sets.collect(),
            chains: masquerade.chain(guarded).collect(),
        })
    }

    /// Whether the family's table is there: somebody may have flushed all rules.
    pub fn has_table(&mut self, family: Family) -> Result<bool, NetlinkError> {
        self.nftables.has_table(family, self.table)
    }
}

/// `saddr OWN daddr DIRECT accept` for each, then `saddr OWN masquerade`.
fn masqueraded(family: Family, masquerade: &Masquerade) -> Vec<Rule> {
    let own = || Rule::new().within(nftables::source(family), &masquerade.own);
    let direct = masquerade.direct.iter();
    let direct = direct.map(|net| own().within(nftables::destination(family), net).then(Verdict::Accept));
    direct.chain([own().masquerade()]).collect()
}

/// `udp dport PORT vni VNI saddr @nodes accept`, then the same `drop` for anybody.
fn guarded(family: Family, guard: &Guard) -> Vec<Rule> {
    let [_, vni @ ..] = guard.vni.to_be_bytes();
    let tunnelled = || Rule::new().protocol(UDP).is(UDP_DESTINATION, &guard.port.to_be_bytes()).is(VNI, &vni);
    let known = tunnelled().among(nftables::source(family), family, NODES).then(Verdict::Accept);
    vec![known, tunnelled().then(Verdict::Drop)]
}
