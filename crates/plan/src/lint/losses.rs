//! Losses played through on what a blueprint writes down, and nothing else: each server, each set of `k`, each rack with
//! the spares in it is taken away, and everything that lay there must find room on what is left.

use std::collections::{BTreeMap, BTreeSet};

use crate::blueprint::{Amount, Blueprint, HostPlan, HostRole, Material, Placement, Purpose};
use crate::input::{Demand, Isolation, Survive};

use super::blueprint::{family, is_metal_for, numa};

/// So many losses of several servers are played through; beyond it those of the fullest are.
const MOST_LOSSES: usize = 3000;
/// Servers that are asked for room in all: a check of a large fleet ends, too.
const MOST_VISITS: usize = 20_000_000;

/// Servers that are asked for room in all where first fit finds none, in a search through every way.
const MOST_TRIES: usize = 300_000;

/// The first loss that leaves something without room: the servers lost, and what it is. A loss of which this can be
/// neither shown nor refuted is not one.
pub fn homeless(b: &Blueprint, demand: &Demand) -> Option<(Vec<String>, String)> {
    let play = Play::new(b, avoids(demand));
    let mut tries = MOST_TRIES;
    let sets = sets(b, demand.policy.survive);
    let most = (MOST_VISITS / b.hosts.len().max(1)).max(1);
    sets.into_iter().take(most).find_map(|lost| {
        let name = play.without(&lost, &mut tries)?;
        Some((lost.iter().map(|h| b.hosts[*h].name.clone()).collect(), name))
    })
}

/// What has fewer members than a quorum once `hosts` servers, or a rack, are lost: its name, members, and how many go.
pub fn without_quorum(b: &Blueprint, survive: Survive) -> Vec<(String, usize, usize)> {
    let mut members: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for host in &b.hosts {
        let etcd = |p: &&Placement| match p.purpose {
            Purpose::Datastore | Purpose::Management => true,
            Purpose::ControlPlane => p.material != Material::Pod,
            Purpose::Worker | Purpose::Surge => false,
        };
        for p in host.placements.iter().filter(etcd) {
            members.entry(family(&p.name)).or_default().push(&host.rack);
        }
    }
    let worst = |racks: &[&str]| {
        let in_rack = racks.iter().map(|r| racks.iter().filter(|o| *o == r).count()).max().unwrap_or(0);
        let by_hosts = (survive.hosts as usize).min(racks.len());
        if survive.rack { in_rack.max(by_hosts) } else { by_hosts }
    };
    let all = members.into_iter().filter(|(_, racks)| racks.len() > 1);
    all.map(|(name, racks)| (name.to_owned(), racks.len(), worst(&racks)))
        .filter(|(_, members, lost)| members - lost <= members / 2)
        .collect()
}

/// Sets of servers that are lost at once.
fn sets(b: &Blueprint, survive: Survive) -> Vec<Vec<usize>> {
    let racks: BTreeSet<&str> =
        b.hosts.iter().filter(|h| !h.placements.is_empty()).map(|h| h.rack.as_str()).collect();
    let whole = |rack: &str| (0..b.hosts.len()).filter(|h| b.hosts[*h].rack == rack).collect::<Vec<_>>();
    let mut sets: Vec<Vec<usize>> =
        if survive.rack { racks.into_iter().map(whole).collect() } else { Vec::new() };
    let mut used: Vec<usize> = (0..b.hosts.len()).filter(|h| b.hosts[*h].role != HostRole::Free).collect();
    used.sort_by_key(|h| std::cmp::Reverse(b.hosts[*h].used.memory));
    let k = (survive.hosts as usize).min(used.len());
    if k > 0 {
        // In the order of their last member, so that what is left out is about the emptiest.
        let mut last: Vec<Vec<usize>> = vec![Vec::new()];
        let mut taken: Vec<Vec<usize>> = Vec::new();
        for host in used {
            let with: Vec<Vec<usize>> =
                last.iter().filter(|s| s.len() < k).map(|s| [&s[..], &[host]].concat()).collect();
            taken.extend(with.iter().filter(|s| s.len() == k).cloned());
            if taken.len() >= MOST_LOSSES && k > 1 {
                break;
            }
            last.extend(with.into_iter().filter(|s| s.len() < k));
        }
        sets.extend(taken);
    }
    sets
}

/// Tenants that must not meet, by name, both ways; a dedicated one avoids all.
struct Avoids {
    alone: BTreeSet<String>,
    pairs: BTreeSet<(String, String)>,
}

fn avoids(demand: &Demand) -> Avoids {
    let mut avoids = Avoids { alone: BTreeSet::new(), pairs: BTreeSet::new() };
    for tenant in &demand.tenants {
        match &tenant.isolation {
            Isolation::Shared => {}
            Isolation::Dedicated => {
                avoids.alone.insert(tenant.name.clone());
            }
            Isolation::NeverWith(others) => {
                for other in others {
                    avoids.pairs.insert((tenant.name.clone(), other.clone()));
                    avoids.pairs.insert((other.clone(), tenant.name.clone()));
                }
            }
        }
    }
    avoids
}

impl Avoids {
    /// Whether both may lie on one server. Control planes that are Pods keep away from dedicated tenants' only; room for
    /// rolling is empty while servers are missing.
    fn meet(&self, a: &Placement, b: &Placement) -> bool {
        let alone = |p: &Placement| p.material != Material::Pod && self.alone.contains(&p.tenant);
        let guests = a.material != Material::Pod && b.material != Material::Pod;
        let apart =
            alone(a) || alone(b) || guests && self.pairs.contains(&(a.tenant.clone(), b.tenant.clone()));
        [a, b].iter().any(|p| p.purpose == Purpose::Surge) || a.tenant == b.tenant || !apart
    }
}

struct Play<'a> {
    b: &'a Blueprint,
    avoids: Avoids,
    /// Servers that may take something: those with least room first, and those without GPUs before.
    fullest: Vec<Room<'a>>,
    plain: Vec<Room<'a>>,
}

/// What is left of a server.
#[derive(Clone)]
struct Room<'a> {
    /// Its place in the blueprint.
    at: usize,
    host: &'a HostPlan,
    nodes: Vec<Amount>,
    pods: i64,
    on: Vec<&'a Placement>,
}

impl<'a> Play<'a> {
    fn new(b: &'a Blueprint, avoids: Avoids) -> Play<'a> {
        let hosts = b.hosts.iter().enumerate();
        let able = hosts.filter(|(_, h)| matches!(h.role, HostRole::Vm | HostRole::Spare));
        let mut fullest: Vec<Room<'a>> = able.map(|(at, h)| Room::of(at, h)).collect();
        fullest.sort_by_key(Room::memory);
        let mut plain = fullest.clone();
        plain.sort_by_key(|r| r.host.capacity.gpus > 0);
        Play { b, avoids, fullest, plain }
    }

    /// Plays one loss; the name of what finds no room in any of the orders tried, when no other way finds it either.
    fn without(&self, lost: &[usize], tries: &mut usize) -> Option<String> {
        // Room for rolling is not replaced: nobody rolls while servers are missing.
        let lies = lost.iter().flat_map(|h| &self.b.hosts[*h].placements);
        let moved: Vec<&Placement> = lies.filter(|p| p.purpose != Purpose::Surge).collect();
        let mut failed = None;
        for by_size in [true, false] {
            for rooms in [&self.fullest, &self.plain] {
                let name = self.place(moved.clone(), lost, by_size, rooms)?;
                failed = failed.or(Some(name));
            }
        }
        failed.filter(|_| self.somehow(moved, lost, tries) == Some(false))
    }

    /// Whether there is any way to place all of it; `None` when the tries are used up before that is known.
    fn somehow(&self, mut moved: Vec<&'a Placement>, lost: &[usize], tries: &mut usize) -> Option<bool> {
        let mut rooms: Vec<Room<'a>> =
            self.fullest.iter().filter(|room| !lost.contains(&room.at)).cloned().collect();
        *tries = tries.checked_sub(moved.len() * rooms.len())?;
        // What has fewest rooms to choose from goes first; what is alike stays together.
        moved.sort_by_cached_key(|p| {
            let able = rooms.iter().filter(|room| !self.ways(room, p).is_empty()).count();
            (able, std::cmp::Reverse(p.takes.named().map(|(_, v)| v)), p.tenant.clone(), p.name.clone())
        });
        self.search(&moved, &mut rooms, 0, tries)
    }

    /// Places the first, and then the others, in rooms not before `from`, which is where one just like it went.
    fn search(
        &self,
        moved: &[&'a Placement],
        rooms: &mut [Room<'a>],
        from: usize,
        tries: &mut usize,
    ) -> Option<bool> {
        let Some((p, rest)) = moved.split_first() else { return Some(true) };
        let alike = rest.first().is_some_and(|next| {
            let kind =
                |p: &'a Placement| (&p.tenant, p.purpose, p.material, family(&p.name), p.takes, &p.size);
            kind(next) == kind(p)
        });
        for r in from..rooms.len() {
            *tries = tries.checked_sub(1)?;
            // Of empty rooms that are alike, one stands for all.
            if rooms[from..r].iter().any(|other| other.is_twin(&rooms[r])) {
                continue;
            }
            for way in self.ways(&rooms[r], p) {
                let before = rooms[r].clone();
                rooms[r].put(p, way);
                let found = self.search(rest, rooms, if alike { r } else { 0 }, tries);
                rooms[r] = before;
                if found != Some(false) {
                    return found;
                }
            }
        }
        Some(false)
    }

    /// First fit on the rooms in their order. `by_size`: the largest first, else those with GPUs before.
    fn place(
        &self,
        mut moved: Vec<&'a Placement>,
        lost: &[usize],
        by_size: bool,
        rooms: &[Room<'a>],
    ) -> Option<String> {
        moved.sort_by_key(|p| {
            let gpus = if by_size { 0 } else { p.takes.gpus };
            let size = std::cmp::Reverse((gpus, p.takes.cpu, p.takes.memory, p.takes.gpus));
            (p.material != Material::Metal, size)
        });
        // Rooms that took something; the others are as they were.
        let mut changed: BTreeMap<usize, Room<'a>> = BTreeMap::new();
        let homeless = moved.into_iter().find(|p| {
            !rooms.iter().enumerate().filter(|(_, room)| !lost.contains(&room.at)).any(|(r, room)| {
                match changed.get_mut(&r) {
                    Some(room) => self.takes(room, p),
                    // Cheap to see, and most often so: nothing is left there.
                    None if room.host.role != HostRole::Spare && !room.may_fit(p) => false,
                    None => {
                        let mut room = room.clone();
                        let taken = self.takes(&mut room, p);
                        taken.then(|| changed.insert(r, room)).is_some()
                    }
                }
            })
        });
        homeless.map(|p| p.name.clone())
    }

    /// Puts it there, when it may lie there and fits.
    fn takes(&self, room: &mut Room<'a>, p: &'a Placement) -> bool {
        let way = room.ways(p).next().filter(|_| self.may(room, p));
        way.map(|way| room.put(p, way)).is_some()
    }

    /// Everywhere in a room where it may lie and fits.
    fn ways(&self, room: &Room<'a>, p: &'a Placement) -> Vec<Way> {
        if self.may(room, p) { room.ways(p).collect() } else { Vec::new() }
    }

    /// Whether it may lie there beside what does, if it fits.
    fn may(&self, room: &Room<'a>, p: &'a Placement) -> bool {
        let replica = |o: &&Placement| {
            o.purpose == p.purpose
                && matches!(p.purpose, Purpose::ControlPlane | Purpose::Datastore | Purpose::Management)
                && family(&o.name) == family(&p.name)
        };
        if p.material == Material::Metal {
            return room.on.is_empty() && is_metal_for(room.host, p);
        }
        let whole = room.on.iter().any(|o| o.material == Material::Metal);
        !whole && !room.on.iter().any(replica) && room.on.iter().all(|o| self.avoids.meet(o, p))
    }
}

/// The NUMA nodes on which something lies (twice the same where it is not split), or the whole server.
type Way = Option<[usize; 2]>;

impl<'a> Room<'a> {
    fn of(at: usize, host: &'a HostPlan) -> Room<'a> {
        let nodes = host.numa.iter().zip(numa(host)).map(|(have, used)| have.minus(used)).collect();
        Room {
            at,
            host,
            nodes,
            pods: host.capacity.pods - host.used.pods,
            on: host.placements.iter().collect(),
        }
    }

    fn memory(&self) -> i64 {
        self.nodes.iter().map(|n| n.memory).sum()
    }

    /// Whether there is room in all, wherever it lies.
    fn may_fit(&self, p: &Placement) -> bool {
        let left = self.nodes.iter().fold(Amount::default(), |sum, n| sum.plus(*n));
        let enough = left.cpu >= p.takes.cpu && left.memory >= p.takes.memory && left.gpus >= p.takes.gpus;
        enough && self.pods >= p.takes.pods
    }

    /// Where it fits.
    fn ways(&self, p: &Placement) -> impl Iterator<Item = Way> {
        let metal = p.material == Material::Metal;
        let split = p.numa.len() > 1;
        let part = part(p);
        let able = move |n: &usize| {
            let n = self.nodes[*n];
            n.cpu >= part.cpu && n.memory >= part.memory && n.gpus >= part.gpus
        };
        let nodes = if !metal && self.pods >= p.takes.pods { self.nodes.len() } else { 0 };
        let parts = (0..nodes).filter(able).flat_map(move |a| {
            let others = if split { a + 1..nodes } else { a..a + 1 };
            others.filter(able).map(move |b| Some([a, b]))
        });
        metal.then_some(None).into_iter().chain(parts)
    }

    fn put(&mut self, p: &'a Placement, way: Way) {
        if let Some([a, b]) = way {
            let part = part(p);
            self.nodes[a] = self.nodes[a].minus(part);
            if a != b {
                self.nodes[b] = self.nodes[b].minus(part);
            }
            self.pods -= p.takes.pods;
        }
        self.on.push(p);
    }

    /// Whether both are empty and alike.
    fn is_twin(&self, other: &Room<'_>) -> bool {
        let looks = |room: &Room<'_>| (room.pods, room.host.hardware);
        self.on.is_empty() && other.on.is_empty() && looks(self) == looks(other) && self.nodes == other.nodes
    }
}

/// What it takes of each NUMA node on which it lies.
fn part(p: &Placement) -> Amount {
    let parts = p.numa.len().max(1) as i64;
    p.takes.zip(p.takes, |v, _| (v + parts - 1) / parts)
}
