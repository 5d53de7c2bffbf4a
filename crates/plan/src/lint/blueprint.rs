//! The separate check of a blueprint: reads only what is written down, and recounts all of it.
//!
//! It shares no code with the packer; the property tests use it as their oracle.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Level, Place, losses};
use crate::blueprint::{Amount, Blueprint, HostPlan, HostRole, Material, Placement, Purpose};
use crate::input::{ControlPlane, Demand, Isolation};
use crate::model::nodes::NodeSize;

/// Everything that contradicts itself, the demand, or what must survive.
pub fn check(b: &Blueprint, demand: &Demand) -> Vec<Finding> {
    let mut found = Check { b, found: Vec::new() };
    found.hosts();
    found.names();
    found.isolation(demand);
    found.tenants(demand);
    found.apart();
    found.sums();
    found.survival(demand);
    found.found
}

struct Check<'a> {
    b: &'a Blueprint,
    found: Vec<Finding>,
}

impl Check<'_> {
    fn say(&mut self, rule: &'static str, object: String, field: &str, message: String) {
        let fix = match rule {
            "survival" => "keep another host empty, or ask for less",
            _ => "plan again; a blueprint edited by hand must stay consistent",
        };
        let place = Place { file: "blueprint".to_owned(), line: 0, object, field: field.to_owned() };
        let level = Level::Error;
        self.found.push(Finding { rule, level, message, fix: fix.to_owned(), places: vec![place] });
    }

    /// What lies on a host fits, in all and by NUMA node; its role is what lies on it.
    fn hosts(&mut self) {
        for h in &self.b.hosts {
            let title = format!("host {}", h.name);
            let sum = h.placements.iter().fold(Amount::default(), |s, p| s.plus(p.takes));
            if sum != h.used {
                self.say(
                    "blueprint",
                    title.clone(),
                    "used",
                    format!("{} says it uses {:?} and holds {sum:?}", h.name, h.used),
                );
            }
            for ((name, used), (_, have)) in sum.named().into_iter().zip(h.capacity.named()) {
                if used > have {
                    self.say(
                        "capacity",
                        title.clone(),
                        name,
                        format!("{name} of {}: {used} of {have}", h.name),
                    );
                }
            }
            for (node, used) in numa(h).into_iter().enumerate() {
                let have = h.numa.get(node).copied().unwrap_or_default();
                if used.cpu > have.cpu || used.memory > have.memory || used.gpus > have.gpus {
                    self.say(
                        "capacity",
                        title.clone(),
                        "numa",
                        format!("NUMA node {node} of {} holds more than it has", h.name),
                    );
                }
            }
            for p in h.placements.iter().filter(|p| p.material == Material::Metal && !is_metal_for(h, p)) {
                let message =
                    format!("{} asks for a server of at least {}, {} is smaller", p.name, p.size, h.name);
                self.say("capacity", title.clone(), "placements", message);
            }
            let metal = h.placements.iter().filter(|p| p.material == Material::Metal).count();
            let right = match h.role {
                HostRole::Free | HostRole::Spare => h.placements.is_empty(),
                HostRole::Metal => metal == 1 && h.placements.len() == 1,
                HostRole::Vm => metal == 0 && !h.placements.is_empty(),
            };
            if !right {
                self.say(
                    "blueprint",
                    title,
                    "role",
                    format!("{} is {:?} and holds {} things", h.name, h.role, h.placements.len()),
                );
            }
        }
    }

    fn names(&mut self) {
        let mut seen = BTreeSet::new();
        for h in &self.b.hosts {
            for name in std::iter::once(&h.name).chain(h.placements.iter().map(|p| &p.name)) {
                if !seen.insert(name.clone()) {
                    self.say("duplicate", format!("host {}", h.name), "name", format!("{name} exists twice"));
                }
            }
        }
    }

    /// Workers (and own control-plane VMs) of tenants that share no host, or not with each other.
    fn isolation(&mut self, demand: &Demand) {
        for h in &self.b.hosts {
            let on: BTreeSet<&str> = guests(h).map(|p| p.tenant.as_str()).collect();
            for tenant in demand.tenants.iter().filter(|t| on.contains(t.name.as_str())) {
                let broken = match &tenant.isolation {
                    Isolation::Shared => None,
                    Isolation::Dedicated => {
                        h.placements.iter().find(|p| p.tenant != tenant.name && p.purpose != Purpose::Surge)
                    }
                    Isolation::NeverWith(others) => guests(h).find(|p| others.contains(&p.tenant)),
                };
                if let Some(other) = broken {
                    let message = format!("{} and {} share {}", tenant.name, other.name, h.name);
                    self.say("blueprint", format!("host {}", h.name), "placements", message);
                }
            }
        }
    }

    /// Every Node that was planned lies somewhere or is called unplaced, and the Nodes hold the tenant's Pods.
    fn tenants(&mut self, demand: &Demand) {
        let mut lying: BTreeMap<(&str, Purpose), u32> = BTreeMap::new();
        for p in self.b.hosts.iter().flat_map(|h| &h.placements) {
            *lying.entry((&p.tenant, p.purpose)).or_default() += 1;
        }
        let mut missing: BTreeMap<&str, u32> = BTreeMap::new();
        self.b.unplaced.iter().for_each(|u| *missing.entry(&u.tenant).or_default() += u.count);
        let mut said = Vec::new();
        for (t, tenant) in self.b.tenants.iter().zip(&demand.tenants) {
            let nodes: u32 = t.pools.iter().map(|p| p.replicas).sum();
            let have = lying.get(&(t.name.as_str(), Purpose::Worker)).copied().unwrap_or(0);
            let control = lying.get(&(t.name.as_str(), Purpose::ControlPlane)).copied().unwrap_or(0);
            let lacks = missing.get(t.name.as_str()).copied().unwrap_or(0);
            let want = nodes + if tenant.control_plane == ControlPlane::None { 0 } else { t.replicas };
            if have + control + lacks < want {
                said.push((
                    t.name.clone(),
                    format!(
                        "{} has {} of {want} Nodes and control-plane replicas, and {lacks} are said to lack",
                        t.name,
                        have + control
                    ),
                ));
            }
            let factor = tenant.peak * (1.0 + demand.policy.growth / 100.0);
            let pods: i64 =
                tenant.pods.iter().map(|p| (f64::from(p.count) * factor - 1e-9).ceil() as i64).sum();
            let slots: i64 = t
                .pools
                .iter()
                .filter(|p| p.requested.pods > 0)
                .map(|p| p.allocatable.pods * i64::from(p.replicas))
                .sum();
            if lacks == 0 && pods > slots {
                said.push((t.name.clone(), format!("{} has {pods} Pods and {slots} slots for them", t.name)));
            }
            for p in t.pools.iter().filter(|_| lacks == 0) {
                let have = p.allocatable.times(i64::from(p.replicas));
                if p.requested.cpu > have.cpu
                    || p.requested.memory > have.memory
                    || p.requested.gpus > have.gpus
                {
                    said.push((t.name.clone(), format!("pool {} requests more than its Nodes give", p.name)));
                }
            }
        }
        for (tenant, message) in said {
            self.say("capacity", format!("tenant {tenant}"), "pools", message);
        }
    }

    /// Replicas of one control plane, and members of one datastore, on different hosts.
    fn apart(&mut self) {
        for h in &self.b.hosts {
            let mut seen = BTreeSet::new();
            for p in &h.placements {
                let group = match p.purpose {
                    Purpose::ControlPlane => p.tenant.clone(),
                    Purpose::Datastore | Purpose::Management => family(&p.name).to_owned(),
                    Purpose::Worker | Purpose::Surge => continue,
                };
                if !seen.insert((p.purpose, group)) {
                    self.say(
                        "blueprint",
                        format!("host {}", h.name),
                        "placements",
                        format!("two replicas of {} on {}", family(&p.name), h.name),
                    );
                }
            }
        }
    }

    fn sums(&mut self) {
        let t = &self.b.totals;
        let count = |role| self.b.hosts.iter().filter(|h| h.role == role).count() as u32;
        let used = count(HostRole::Vm) + count(HostRole::Metal);
        let shares: i64 = self.b.shares.iter().map(|s| s.millihosts).sum();
        let parts =
            self.b.shares.iter().all(|s| s.used + s.stranded + s.control_plane + s.reserve == s.millihosts);
        let paid = self.b.hosts.iter().filter(|h| h.role != HostRole::Free);
        let price: f64 = paid.map(|h| h.price).sum();
        // A plan that says which loss it does not survive may do with less.
        let lossy = self.b.notes.iter().any(|n| n.contains("is not survived"));
        let wrong = [
            (
                used != t.used || count(HostRole::Spare) != t.spare || count(HostRole::Free) != t.free,
                "roles do not add up to the totals",
            ),
            (shares != self.b.hosts.len() as i64 * 1000, "shares do not sum to the servers"),
            (!parts, "the parts of a share do not sum to it"),
            ((price - t.price).abs() > price * 1e-9, "prices of servers do not sum to the total"),
            (
                self.b.unplaced.is_empty() && !lossy && t.have() < t.at_least - 1e-6,
                "less than the bound says any plan needs",
            ),
        ];
        for (_, message) in wrong.iter().filter(|(w, _)| *w) {
            self.say("blueprint", "blueprint".to_owned(), "totals", (*message).to_owned());
        }
    }

    /// Whatever the policy says may be lost is lost.
    fn survival(&mut self, demand: &Demand) {
        let admits = |words: &str| self.b.notes.iter().any(|n| n.contains(words));
        if !self.b.unplaced.is_empty() {
            return;
        }
        if !admits("keeps no quorum") {
            for (name, members, lost) in losses::without_quorum(self.b, demand.policy.survive) {
                let message = format!("{name} loses {lost} of its {members} members at once, and its quorum");
                self.say("survival", format!("members of {name}"), "placements", message);
            }
        }
        if admits("is not survived") {
            return;
        }
        if let Some((hosts, name)) = losses::homeless(self.b, demand) {
            let message = format!("when {} is lost, {name} finds no room", hosts.join(", "));
            self.say("survival", format!("host {}", hosts[0]), "placements", message);
        }
    }
}

/// Sizes are written to a hundredth of a GiB; in MiB.
const ROUNDING: i64 = 6;

/// Whether the hardware is what a metal Node asks for.
pub(super) fn is_metal_for(host: &HostPlan, metal: &Placement) -> bool {
    let has = host.hardware;
    NodeSize::parse(&metal.size).is_ok_and(|least| {
        has.cpu >= least.cpus * 1000 && has.memory + ROUNDING >= least.memory.0 && has.gpus >= least.gpus
    })
}

/// A name without its number.
pub(super) fn family(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(f, _)| f)
}

/// VMs and metal of tenants: what isolation is about.
fn guests(h: &HostPlan) -> impl Iterator<Item = &Placement> {
    h.placements.iter().filter(|p| p.material != Material::Pod && !p.tenant.is_empty())
}

/// What is used of each NUMA node.
pub(super) fn numa(h: &HostPlan) -> Vec<Amount> {
    let mut nodes = vec![Amount::default(); h.numa.len()];
    for p in h.placements.iter().filter(|p| p.material != Material::Metal) {
        let on: Vec<usize> =
            if p.numa.is_empty() { vec![0] } else { p.numa.iter().map(|n| usize::from(*n)).collect() };
        let parts = on.len() as i64;
        let part = p.takes.zip(p.takes, |v, _| (v + parts - 1) / parts);
        on.into_iter().filter(|n| *n < h.numa.len()).for_each(|n| nodes[n] = nodes[n].plus(part));
    }
    nodes
}
