//! What limits each class of hosts, in words, with the change of rules that would free most hosts.

use super::compare::Variant;
use super::sizes;
use crate::blueprint::{Amount, Binding, Blueprint, HostPlan, HostRole};
use crate::input::{Demand, Fleet};
use crate::render::{gib, many, threads};

/// Fleets above this are not planned again for advice.
const MOST_HOSTS_FOR_ADVICE: usize = 250;
/// Variants tried for advice.
const MOST_VARIANTS: usize = 12;

/// Sentences for every class in use.
pub fn explain(fleet: &Fleet, demand: &Demand, plan: &Blueprint) -> Vec<Binding> {
    let mut classes: Vec<&str> = plan.hosts.iter().map(|h| h.class.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    let mut advice = advice(fleet, demand, plan);
    let mut found = Vec::new();
    for class in classes {
        for role in [HostRole::Vm, HostRole::Metal] {
            let hosts: Vec<&HostPlan> =
                plan.hosts.iter().filter(|h| h.class == class && h.role == role).collect();
            if !hosts.is_empty() {
                let binding = match role {
                    HostRole::Metal => metal(class, &hosts, plan),
                    _ => vm(class, &hosts, plan),
                };
                found.push(binding);
            }
        }
    }
    // Advice is about the whole plan: it stands with the class that has most hosts.
    if let (Some(text), Some(most)) = (advice.take(), found.iter_mut().max_by_key(|b| b.hosts)) {
        most.words = format!("{}. {text}", most.words);
    }
    found
}

fn vm(class: &str, hosts: &[&HostPlan], plan: &Blueprint) -> Binding {
    let sum = |f: fn(&HostPlan) -> Amount| hosts.iter().fold(Amount::default(), |s, h| s.plus(f(h)));
    let (used, capacity, stranded) = (sum(|h| h.used), sum(|h| h.capacity), sum(|h| h.stranded));
    let percent = used.percent_of(capacity);
    let (resource, top) = most(percent);
    let n = hosts.len() as i64;
    let free = capacity.minus(used);
    let idle = match resource {
        "cpu" => format!("{} of memory stand free beside it", gib(free.memory)),
        "memory" => format!("{} threads stand free beside it", threads(free.cpu)),
        _ => format!("{} threads and {} stand free beside it", threads(free.cpu), gib(free.memory)),
    };
    let standard = &plan.standard_size;
    let trapped = if standard.is_empty() || n == 0 {
        String::new()
    } else {
        let (cpu, memory) = (threads(stranded.cpu / n), gib(stranded.memory / n));
        format!("; a host strands {cpu} threads and {memory} that no further {standard} can use")
    };
    let words = if top < 60 {
        format!("nothing binds yet: {resource} at {top} % is the fullest on {}", many(n, "host"))
    } else {
        format!("{} on {} at {top} %; {idle}{trapped}", word(resource), many(n, "host"))
    };
    Binding { class: class.to_owned(), hosts: n as u32, resource: resource.to_owned(), percent, words }
}

/// On metal the tenant's own kubelet decides: what its Pods ask against what the servers have.
fn metal(class: &str, hosts: &[&HostPlan], plan: &Blueprint) -> Binding {
    let names: Vec<&str> = hosts.iter().flat_map(|h| &h.placements).map(|p| p.tenant.as_str()).collect();
    let pools = plan.tenants.iter().filter(|t| names.contains(&t.name.as_str())).flat_map(|t| &t.pools);
    let pools: Vec<_> = pools.filter(|p| p.material == crate::blueprint::Material::Metal).collect();
    let asked = pools.iter().fold(Amount::default(), |s, p| s.plus(p.requested));
    let have =
        pools.iter().fold(Amount::default(), |s, p| s.plus(p.allocatable.times(i64::from(p.replicas))));
    let percent = asked.percent_of(have);
    let (resource, top) = most(percent);
    let n = hosts.len() as i64;
    let words = if asked == Amount::default() {
        format!("{} wanted as such", many(n, "metal Node"))
    } else if resource == "pods" {
        format!(
            "the Pod limit binds on {}: {} Pods a Node are {} % of its CPU and {} % of its memory",
            many(n, "metal Node"),
            asked.pods / n.max(1),
            percent.cpu,
            percent.memory
        )
    } else {
        format!("{} on {} at {top} %", word(resource), many(n, "metal Node"))
    };
    Binding { class: class.to_owned(), hosts: n as u32, resource: resource.to_owned(), percent, words }
}

fn most(percent: Amount) -> (&'static str, i64) {
    percent.named().into_iter().max_by_key(|(_, v)| *v).unwrap_or(("cpu", 0))
}

fn word(resource: &str) -> &'static str {
    match resource {
        "cpu" => "CPU binds",
        "memory" => "memory binds",
        "pods" => "the Pod limit of the server's kubelet binds",
        _ => "GPUs bind",
    }
}

/// The change that frees most hosts; `None` when none does.
fn advice(fleet: &Fleet, demand: &Demand, plan: &Blueprint) -> Option<String> {
    if fleet.hosts.len() > MOST_HOSTS_FOR_ADVICE || !plan.unplaced.is_empty() {
        return None;
    }
    let have = plan.totals.used + plan.totals.spare;
    let mut best: Option<(u32, String)> = None;
    for (variant, text) in variants(fleet, demand, plan) {
        let other = super::quick(fleet, &variant, plan.seed);
        let need = other.totals.used + other.totals.spare;
        let worse = !other.unplaced.is_empty() || other.notes.len() > plan.notes.len();
        if !worse && need < have && best.as_ref().is_none_or(|(b, _)| need < *b) {
            best = Some((need, text));
        }
    }
    best.map(|(need, text)| format!("{text} would free {}", many(i64::from(have - need), "host")))
}

fn variants(fleet: &Fleet, demand: &Demand, plan: &Blueprint) -> Vec<(Demand, String)> {
    let mut all: Vec<(Demand, String)> = Vec::new();
    let fixed = !demand.policy.shapes.is_empty();
    if fixed {
        for size in sizes::candidates(fleet, &demand.policy) {
            if !demand.policy.shapes.contains(&size) {
                let mut d = demand.clone();
                d.policy.shapes.push(size);
                all.push((d, format!("a {size} size beside the allowed ones")));
            }
        }
        // The largest first: they waste least, and the list is cut.
        all.reverse();
        all.truncate(MOST_VARIANTS);
    }
    let pods = plan.tenants.iter().flat_map(|t| &t.pools).any(|p| p.binds == "pods")
        || plan
            .hosts
            .iter()
            .any(|h| h.role == HostRole::Vm && h.capacity.pods > 0 && h.used.pods * 10 > h.capacity.pods * 9);
    if pods && demand.policy.max_pods < 250 {
        all.push((
            Variant::MaxPods(250).apply(demand),
            "250 Pods a Node (with a /23 Pod CIDR where 254 do not suffice)".to_owned(),
        ));
    }
    let sharing = demand.policy.sharing;
    if !sharing.dedicated_cpus && sharing.cpu_overcommit < 4.0 {
        let twice = sharing.cpu_overcommit * 2.0;
        all.push((Variant::Overcommit(twice).apply(demand), format!("{twice} virtual CPUs to a thread")));
    }
    if demand.tenants.iter().any(|t| t.nodes_on == crate::input::NodeKind::Metal) {
        all.push((Variant::Mixed.apply(demand), "VM Nodes for the tenants that ask for metal".to_owned()));
    }
    all
}
