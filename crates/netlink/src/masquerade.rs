//! Masquerading: packets of Pods leave the cluster with their machine's address, and go to each other with their own.

use ipnet::IpNet;

use crate::NetlinkError;
use crate::nftables::{self, Chain, Family, Hook, Nftables, Rule, Table, Verdict};

/// What is masqueraded in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// The range of the Pods here.
    pub own: IpNet,
    /// Where their packets go with their own address: every range of Pods in the cluster, and multicast.
    pub direct: Vec<IpNet>,
}

/// Keeps masquerading in tables of one name, one for each family.
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

    /// Puts `masquerade` in the place of the family's table, in one transaction.
    pub fn replace(&mut self, masquerade: &Masquerade) -> Result<(), NetlinkError> {
        self.nftables.replace(&Table {
            family: Family::of(&masquerade.own),
            name: self.table,
            chains: vec![Chain {
                name: "postrouting",
                hook: Hook::SourceNat,
                policy: Verdict::Accept,
                rules: rules(masquerade),
            }],
        })
    }

    /// Whether the table is there for the family of `net`: somebody may have flushed all rules.
    pub fn has_table(&mut self, net: &IpNet) -> Result<bool, NetlinkError> {
        self.nftables.has_table(Family::of(net), self.table)
    }
}

/// `saddr OWN daddr DIRECT accept` for each, then `saddr OWN masquerade`.
fn rules(masquerade: &Masquerade) -> Vec<Rule> {
    let family = Family::of(&masquerade.own);
    let own = || Rule::new().within(nftables::source(family), &masquerade.own);
    let direct = masquerade.direct.iter();
    let direct = direct.map(|net| own().within(nftables::destination(family), net).then(Verdict::Accept));
    direct.chain([own().masquerade()]).collect()
}
