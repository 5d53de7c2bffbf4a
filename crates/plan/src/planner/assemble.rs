//! Writes a solved plan down as a blueprint.

use std::collections::BTreeMap;

use super::classes::{capacity, hardware};
use super::{Solved, shares};
use crate::blueprint::{
    Amount, Blueprint, HostPlan, HostRole, Material, Placement, Pool, Purpose, TenantPlan, Totals, Unplaced,
};
use crate::input::{ControlPlane, Demand, Fleet, HugePages, Isolation, Policy, Survive};
use crate::model::nodes::Allocatable;

/// Format of the data.
const VERSION: u32 = 1;

/// The blueprint of a solved plan, without the sentences about what binds.
pub fn blueprint(solved: &Solved, fleet: &Fleet, demand: &Demand, seed: u64) -> Blueprint {
    let mut placements: Vec<Vec<Placement>> = vec![Vec::new(); fleet.hosts.len()];
    for (i, at) in solved.placed.at.iter().enumerate() {
        if let Some(at) = at {
            placements[at.host].push(placement(solved, demand, i, at.nodes));
        }
    }
    let mut hosts: Vec<HostPlan> = placements
        .into_iter()
        .enumerate()
        .map(|(h, placements)| host(solved, fleet, demand, h, placements))
        .collect();
    let (standard_size, standard) = standard(&hosts);
    strand(&mut hosts, standard);
    let tenants = tenants(solved, demand);
    let totals = totals(solved, &demand.policy, &hosts, &tenants);
    let mut blueprint = Blueprint {
        version: VERSION,
        seed,
        totals,
        max_pods: demand.policy.max_pods,
        survives: match (solved.lossy, solved.quorate) {
            (true, _) => String::new(),
            (false, true) => survives(demand.policy.survive),
            (false, false) => format!("{} but for a quorum (see the notes)", survives(demand.policy.survive)),
        },
        standard_size,
        binding: Vec::new(),
        tenants,
        shares: Vec::new(),
        hosts,
        unplaced: unplaced(solved, demand),
        notes: solved.notes.clone(),
    };
    blueprint.shares = shares::shares(&blueprint);
    blueprint
}

/// The name of the nth thing of a wish: the same in every plan of the same demand.
pub fn name(wishes: &super::Wishes, demand: &Demand, wish: usize, ordinal: u32) -> String {
    let wish = &wishes.wishes[wish];
    let number = (ordinal + 1).to_string();
    let tenant = wish.tenant.map_or("", |t| demand.tenants[t].name.as_str());
    [tenant, &wish.part, &number].iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join("-")
}

fn placement(solved: &Solved, demand: &Demand, item: usize, nodes: [u8; 2]) -> Placement {
    let it = &solved.items[item];
    let wish = &solved.wishes.wishes[it.wish];
    let info = &solved.wishes.infos[it.shape];
    let tenant = wish.tenant.map_or(String::new(), |t| demand.tenants[t].name.clone());
    let name = name(&solved.wishes, demand, it.wish, it.ordinal);
    let mut numa = nodes.to_vec();
    numa.dedup();
    let keep = demand.policy.numa && info.material != Material::Metal;
    Placement {
        name,
        tenant,
        purpose: wish.purpose,
        material: info.material,
        size: info.size.clone(),
        takes: info.takes,
        guest_memory: info.node.filter(|_| info.material == Material::Vm).map_or(0, |n| n.memory.0),
        numa: if keep { numa } else { Vec::new() },
    }
}

fn host(
    solved: &Solved,
    fleet: &Fleet,
    demand: &Demand,
    h: usize,
    mut placements: Vec<Placement>,
) -> HostPlan {
    let host = &fleet.hosts[h];
    placements.sort_by(|a, b| {
        (a.purpose, &a.tenant)
            .cmp(&(b.purpose, &b.tenant))
            .then_with(|| crate::input::natural(&a.name).cmp(&crate::input::natural(&b.name)))
    });
    let metal = placements.iter().any(|p| p.material == Material::Metal);
    let role = match (placements.is_empty(), solved.spare.contains(&h)) {
        (true, true) => HostRole::Spare,
        (true, false) => HostRole::Free,
        (false, _) if metal => HostRole::Metal,
        (false, _) => HostRole::Vm,
    };
    let keep = if metal { demand.policy.guest() } else { demand.policy.host() };
    let capacity = capacity(host, &keep);
    if let [only] = placements.as_mut_slice()
        && metal
    {
        only.takes = capacity;
    }
    let used = placements.iter().fold(Amount::default(), |sum, p| sum.plus(p.takes));
    let kind = &solved.hosts.types[solved.hosts.instances[h].kind].0;
    let numa = kind.nodes.iter().map(|n| Amount { cpu: n[0], memory: n[1], pods: 0, gpus: n[2] });
    HostPlan {
        name: host.name.clone(),
        class: host.class.clone(),
        rack: host.rack.clone(),
        role,
        hardware: hardware(host, &keep),
        capacity,
        used,
        stranded: Amount::default(),
        numa: numa.collect(),
        hugepages: hugepages(demand.policy.hugepages, kind.nodes.len(), &placements),
        nic_gbits: host.nic_gbits,
        price: host.price,
        power: host.power,
        placements,
    }
}

/// Guests' memory by NUMA node, rounded up to pages.
fn hugepages(pages: Option<HugePages>, nodes: usize, placements: &[Placement]) -> Vec<i64> {
    let step = match pages {
        None => return Vec::new(),
        Some(HugePages::Mi2) => 2,
        Some(HugePages::Gi1) => 1024,
    };
    let mut pools = vec![0; nodes];
    for p in placements.iter().filter(|p| p.material == Material::Vm) {
        let on = if p.numa.is_empty() { vec![0] } else { p.numa.clone() };
        for node in &on {
            let part = p.guest_memory / on.len() as i64;
            pools[usize::from(*node)] += (part + step - 1) / step * step;
        }
    }
    pools
}

/// The commonest worker VM: its size and what it takes.
fn standard(hosts: &[HostPlan]) -> (String, Amount) {
    let mut counts: BTreeMap<(&str, [i64; 4]), u32> = BTreeMap::new();
    let all = hosts.iter().flat_map(|h| &h.placements);
    for p in all.filter(|p| p.material == Material::Vm && p.purpose == Purpose::Worker) {
        *counts.entry((&p.size, p.takes.named().map(|(_, v)| v))).or_default() += 1;
    }
    let best = counts.into_iter().max_by_key(|((size, _), n)| (*n, std::cmp::Reverse(*size)));
    best.map_or((String::new(), Amount::default()), |((size, [cpu, memory, pods, gpus]), _)| {
        (size.to_owned(), Amount { cpu, memory, pods, gpus })
    })
}

/// Stranded is what stays free on a VM host once as many more of the commonest VM as fit were added.
fn strand(hosts: &mut [HostPlan], standard: Amount) {
    for host in hosts.iter_mut().filter(|h| h.role == HostRole::Vm) {
        let free = host.capacity.minus(host.used);
        let fit = free.named().into_iter().zip(standard.named()).filter(|(_, (_, need))| *need > 0);
        let n = fit.map(|((_, have), (_, need))| have / need).min().unwrap_or(0).max(0);
        host.stranded = free.minus(standard.times(n));
    }
}

fn tenants(solved: &Solved, demand: &Demand) -> Vec<TenantPlan> {
    let hosted: Vec<usize> = (0..demand.tenants.len())
        .filter(|t| demand.tenants[*t].control_plane == ControlPlane::Hosted)
        .collect();
    let pools: Vec<Vec<Pool>> = (0..demand.tenants.len()).map(|t| pools(solved, demand, t)).collect();
    let nodes = |t: &usize| pools[*t].iter().map(|p| i64::from(p.replicas)).sum::<i64>();
    let stores = crate::model::controlplane::datastores(&hosted.iter().map(nodes).collect::<Vec<_>>());
    demand
        .tenants
        .iter()
        .enumerate()
        .map(|(t, tenant)| TenantPlan {
            name: tenant.name.clone(),
            pools: pools[t].clone(),
            control_plane: match tenant.control_plane {
                ControlPlane::Hosted => "hosted",
                ControlPlane::Vm => "vm",
                ControlPlane::Metal => "metal",
                ControlPlane::None => "none",
            }
            .to_owned(),
            replicas: match tenant.control_plane {
                ControlPlane::None => 0,
                ControlPlane::Hosted => tenant.replicas,
                ControlPlane::Vm | ControlPlane::Metal => {
                    if tenant.replicas > 1 {
                        3
                    } else {
                        1
                    }
                }
            },
            datastore: hosted.iter().position(|h| *h == t).map(|i| format!("datastore-{}", stores[i] + 1)),
            isolation: match &tenant.isolation {
                Isolation::Shared => "shared".to_owned(),
                Isolation::Dedicated => "dedicated".to_owned(),
                Isolation::NeverWith(others) => {
                    format!("never with {}", others.iter().cloned().collect::<Vec<_>>().join(", "))
                }
            },
            metal_image: pools[t]
                .iter()
                .any(|p| p.material == Material::Metal)
                .then(|| tenant.metal_image.as_ref().or(demand.policy.metal_image.as_ref()).cloned())
                .flatten(),
        })
        .collect()
}

fn pools(solved: &Solved, demand: &Demand, tenant: usize) -> Vec<Pool> {
    let mut found = Vec::new();
    for (w, wish) in solved.wishes.wishes.iter().enumerate() {
        if wish.tenant != Some(tenant) || wish.purpose != Purpose::Worker {
            continue;
        }
        let members: Vec<_> = solved.items.iter().filter(|i| i.wish == w).collect();
        let Some(first) = members.first() else { continue };
        let info = &solved.wishes.infos[first.shape];
        let Some(node) = info.node else { continue };
        let allocatable = node.allocatable(&demand.policy.guest());
        let requested = wish.pods.iter().fold(Amount::default(), |sum, p| {
            let one = Amount { cpu: p.cpu.0, memory: p.memory.0, pods: 1, gpus: p.gpus };
            sum.plus(one.times(i64::from(p.count)))
        });
        found.push(Pool {
            name: format!("{}-{}", demand.tenants[tenant].name, wish.part),
            material: info.material,
            size: info.size.clone(),
            replicas: members.len() as u32,
            allocatable: amount(allocatable),
            requested,
            limits_percent: limits(&wish.pods, allocatable, members.len() as i64),
            binds: binds(requested, amount(allocatable)),
        });
    }
    found
}

fn amount(a: Allocatable) -> Amount {
    Amount { cpu: a.cpu.0, memory: a.memory.0, pods: a.pods, gpus: a.gpus }
}

fn limits(pods: &[crate::model::nodes::PodKind], node: Allocatable, nodes: i64) -> Option<i64> {
    let limited = pods.iter().any(|p| p.memory_limit.is_some());
    let sum: i64 = pods.iter().map(|p| p.memory_limit.unwrap_or(p.memory).0 * i64::from(p.count)).sum();
    (limited && node.memory.0 * nodes > 0).then(|| sum * 100 / (node.memory.0 * nodes))
}

/// The resource that needs most Nodes.
fn binds(requested: Amount, node: Amount) -> String {
    let need = |(have, want): &((&str, i64), (&'static str, i64))| {
        if have.1 > 0 { want.1 as f64 / have.1 as f64 } else { 0.0 }
    };
    let all = node.named().into_iter().zip(requested.named());
    let most = all.max_by(|a, b| need(a).total_cmp(&need(b)));
    most.filter(|m| need(m) > 0.0).map_or(String::new(), |((_, _), (name, _))| name.to_owned())
}

fn totals(solved: &Solved, policy: &Policy, hosts: &[HostPlan], tenants: &[TenantPlan]) -> Totals {
    let count = |roles: &[HostRole]| hosts.iter().filter(|h| roles.contains(&h.role)).count() as u32;
    let used = count(&[HostRole::Vm, HostRole::Metal]);
    let spare = count(&[HostRole::Spare]);
    let busy: Vec<&HostPlan> =
        hosts.iter().filter(|h| matches!(h.role, HostRole::Vm | HostRole::Metal)).collect();
    let sum = |f: fn(&HostPlan) -> Amount| busy.iter().fold(Amount::default(), |s, h| s.plus(f(h)));
    let paid = hosts.iter().filter(|h| h.role != HostRole::Free);
    let mut totals = Totals {
        hosts: hosts.len() as u32,
        used,
        spare,
        free: count(&[HostRole::Free]),
        objective: policy.objective,
        at_least: solved.floor.at_least,
        gap_percent: 0.0,
        bound_note: String::new(),
        impossible: solved.floor.impossible,
        percent: sum(|h| h.used).percent_of(sum(|h| h.capacity)),
        stranded: sum(|h| h.stranded),
        nodes: tenants.iter().flat_map(|t| &t.pools).map(|p| p.replicas).sum(),
        price: paid.clone().map(|h| h.price).sum(),
        power: paid.map(|h| h.power).sum(),
    };
    totals.bound_note = unseen(solved, policy.survive, totals.proven_best());
    if totals.at_least > 0.0 {
        totals.gap_percent = ((totals.have() / totals.at_least - 1.0) * 1000.0).round().max(0.0) / 10.0;
    }
    totals
}

/// Why the bound may lie below what is possible.
fn unseen(solved: &Solved, survive: Survive, met: bool) -> String {
    if met || solved.floor.impossible {
        return String::new();
    }
    let lost = if survive.rack || survive.hosts > 0 {
        "; after a loss it may pack anew what shares servers, the plan moves only what was lost"
    } else {
        ""
    };
    let note = if solved.note.is_empty() { String::new() } else { format!("; {}", solved.note) };
    format!("the bound may split VMs across servers{lost}{note}")
}

fn survives(survive: Survive) -> String {
    match (survive.hosts, survive.rack) {
        (0, false) => "no loss".to_owned(),
        (0, true) => "any one rack".to_owned(),
        (k, false) => format!("any {k} host{}", if k == 1 { "" } else { "s" }),
        (k, true) => format!("any {k} host{} or any one rack", if k == 1 { "" } else { "s" }),
    }
}

fn unplaced(solved: &Solved, demand: &Demand) -> Vec<Unplaced> {
    let mut counts: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    for (i, at) in solved.placed.at.iter().enumerate() {
        if at.is_none() {
            *counts.entry((solved.items[i].wish, solved.items[i].shape)).or_default() += 1;
        }
    }
    let mut all = solved.wishes.unplaced.clone();
    all.extend(counts.into_iter().map(|((w, s), count)| {
        let (wish, info) = (&solved.wishes.wishes[w], &solved.wishes.infos[s]);
        let what = match (wish.purpose, info.material) {
            (Purpose::ControlPlane, Material::Pod) => format!("control-plane replica ({})", info.size),
            (_, Material::Pod) => format!("replica of {} ({})", wish.part, info.size),
            (_, Material::Vm) => format!("VM {} of {}", info.size, wish.part),
            (_, Material::Metal) => format!("server of at least {} for {}", info.size, wish.part),
        };
        let members = solved.items.iter().filter(|i| i.wish == w).count();
        let hosts = solved.hosts.instances.len();
        let why = if wish.rule.is_some() && members > hosts {
            format!("replicas lie on different hosts, {members} are wanted, and the fleet has {hosts}")
        } else if solved.floor.impossible {
            "proven: the fleet cannot hold the demand; add hosts, or ask for less".to_owned()
        } else if wish.rule.is_some() {
            "its replicas must lie on different hosts, and no further host has room".to_owned()
        } else {
            "no host has room left".to_owned()
        };
        Unplaced {
            tenant: wish.tenant.map_or(String::new(), |t| demand.tenants[t].name.clone()),
            what,
            count,
            why,
        }
    }));
    all
}
