//! Who takes which slot: items under rules first, tightest group first; then everyone else.

use std::collections::BTreeMap;

use super::{At, Rule, Slots, State};

/// What a group has taken so far.
#[derive(Clone, Debug, Default)]
struct Taken {
    hosts: BTreeMap<usize, u32>,
    /// Rack: domain that owns it, and how many members.
    racks: BTreeMap<u32, (u32, u32)>,
}

/// Gives every item that waits a slot, or room elsewhere, or a closed host.
pub fn assign(state: &mut State<'_>, mut slots: Slots) {
    let mut member: Vec<Option<(usize, u32)>> = vec![None; state.items.len()];
    for (g, group) in state.groups.iter().enumerate() {
        group.members.iter().for_each(|(i, domain)| member[*i] = Some((g, *domain)));
    }
    let mut rules = Rules { member, taken: vec![Taken::default(); state.groups.len()] };
    for item in 0..state.items.len() {
        if let Some(at) = state.at[item] {
            rules.took(state, item, at.host);
        }
    }
    let mut waiting: Vec<usize> = (0..state.items.len()).filter(|i| state.at[*i].is_none()).collect();
    waiting.sort_by_key(|i| {
        let size = rules.member[*i].map_or(0, |(g, _)| state.groups[g].members.len());
        (std::cmp::Reverse(size), rules.member[*i], state.items[*i], *i)
    });
    let mut homeless = Vec::new();
    for item in waiting {
        let found = rules.slot(state, &slots, item).or_else(|| rules.swap(state, &mut slots, item));
        match found {
            Some(host) => {
                let nodes = slots[state.items[item]].get_mut(&host).and_then(Vec::pop);
                if slots[state.items[item]].get(&host).is_some_and(Vec::is_empty) {
                    slots[state.items[item]].remove(&host);
                }
                let put = nodes.is_some_and(|nodes| state.put(item, At { host, nodes }));
                if put { rules.took(state, item, host) } else { homeless.push(item) }
            }
            None => homeless.push(item),
        }
    }
    for item in homeless {
        let open = rules.room(state, item, true);
        let found = open.or_else(|| rules.eject(state, item)).or_else(|| rules.room(state, item, false));
        if let Some(at) = found
            && state.put(item, at)
        {
            rules.took(state, item, at.host);
        }
    }
}

/// Hosts above which no one is asked to make room: the search is quadratic.
const MOST_HOSTS_TO_EJECT: usize = 2000;

struct Rules {
    member: Vec<Option<(usize, u32)>>,
    taken: Vec<Taken>,
}

impl Rules {
    fn allows(&self, state: &State<'_>, item: usize, host: usize) -> bool {
        let Some((g, domain)) = self.member[item] else { return true };
        match state.groups[g].rule {
            Rule::Together => true,
            Rule::Apart | Rule::ApartRacks => !self.taken[g].hosts.contains_key(&host),
            Rule::Domains => {
                let rack = state.instances[host].rack;
                self.taken[g].racks.get(&rack).is_none_or(|(owner, _)| *owner == domain)
            }
        }
    }

    /// Whether a rack is new to the group (good for spreading) or its own already (good for domains).
    fn rack_rank(&self, state: &State<'_>, item: usize, host: usize) -> bool {
        let Some((g, _)) = self.member[item] else { return false };
        let known = self.taken[g].racks.contains_key(&state.instances[host].rack);
        match state.groups[g].rule {
            Rule::ApartRacks => !known,
            Rule::Domains => known,
            Rule::Together | Rule::Apart => false,
        }
    }

    fn took(&mut self, state: &State<'_>, item: usize, host: usize) {
        if let Some((g, domain)) = self.member[item] {
            *self.taken[g].hosts.entry(host).or_default() += 1;
            self.taken[g].racks.entry(state.instances[host].rack).or_insert((domain, 0)).1 += 1;
        }
    }

    fn left(&mut self, state: &State<'_>, item: usize, host: usize) {
        if let Some((g, _)) = self.member[item] {
            let taken = &mut self.taken[g];
            if let Some(n) = taken.hosts.get_mut(&host) {
                *n -= 1;
                if *n == 0 {
                    taken.hosts.remove(&host);
                }
            }
            let rack = state.instances[host].rack;
            if let Some((_, n)) = taken.racks.get_mut(&rack) {
                *n -= 1;
                if *n == 0 {
                    taken.racks.remove(&rack);
                }
            }
        }
    }

    /// A host with a free slot of the item's shape: the best rack, then the most slots left.
    fn slot(&self, state: &State<'_>, slots: &Slots, item: usize) -> Option<usize> {
        let free = &slots[state.items[item]];
        if self.member[item].is_none() {
            return free.keys().next().copied();
        }
        free.iter()
            .filter(|(host, _)| self.allows(state, item, **host))
            .max_by_key(|(host, places)| {
                (self.rack_rank(state, item, **host), places.len(), std::cmp::Reverse(**host))
            })
            .map(|(host, _)| *host)
    }

    /// Moves an item of the same shape to a free slot, so that its own becomes one that this item may take.
    fn swap(&mut self, state: &mut State<'_>, slots: &mut Slots, item: usize) -> Option<usize> {
        let shape = state.items[item];
        if slots[shape].is_empty() {
            return None;
        }
        let others: Vec<(usize, At)> = (0..state.items.len())
            .filter(|o| state.items[*o] == shape)
            .filter_map(|o| state.at[o].map(|at| (o, at)))
            .filter(|(o, at)| {
                self.allows(state, item, at.host)
                    && self.member[*o].is_none_or(|(g, _)| state.groups[g].rule != Rule::Together)
            })
            .collect();
        for (other, at) in others {
            self.left(state, other, at.host);
            let Some(host) = self.slot(state, slots, other).filter(|h| *h != at.host) else {
                self.took(state, other, at.host);
                continue;
            };
            let nodes = slots[shape].get_mut(&host).and_then(Vec::pop);
            if slots[shape].get(&host).is_some_and(Vec::is_empty) {
                slots[shape].remove(&host);
            }
            let Some(nodes) = nodes.filter(|n| state.left[host].room(state.shape(other), *n) > 0) else {
                self.took(state, other, at.host);
                continue;
            };
            let moved = state.shape(other);
            state.left[at.host].give(moved, at.nodes, 1);
            state.put(other, At { host, nodes });
            self.took(state, other, host);
            slots[shape].entry(at.host).or_default().push(at.nodes);
            return Some(at.host);
        }
        None
    }

    /// Makes room on an open host by moving one item without rules to another open host.
    fn eject(&mut self, state: &mut State<'_>, item: usize) -> Option<At> {
        if state.instances.len() > MOST_HOSTS_TO_EJECT {
            return None;
        }
        let shape = state.shape(item);
        let movable: Vec<(usize, At)> = (0..state.items.len())
            .filter(|o| {
                self.member[*o].is_none() && !matches!(state.shape(*o).fit, crate::pack::Fit::Whole(_))
            })
            .filter_map(|o| state.at[o].map(|at| (o, at)))
            .filter(|(_, at)| state.left[at.host].admits(shape) && self.allows(state, item, at.host))
            .collect();
        for (other, at) in movable {
            let moved = state.shape(other);
            let mut freed = state.left[at.host].clone();
            freed.give(moved, at.nodes, 1);
            let Some(place) = shape.places(&freed).into_iter().find(|p| freed.room(shape, *p) > 0) else {
                continue;
            };
            let goal = (0..state.instances.len()).filter(|h| *h != at.host && state.open[*h]).find_map(|h| {
                let left = &state.left[h];
                moved
                    .places(left)
                    .into_iter()
                    .find(|p| left.room(moved, *p) > 0)
                    .map(|nodes| At { host: h, nodes })
            });
            if let Some(goal) = goal {
                state.left[at.host] = freed;
                state.at[other] = None;
                state.put(other, goal);
                return Some(At { host: at.host, nodes: place });
            }
        }
        None
    }

    /// Room beside the slots: on an open host, or on the closed one that costs least.
    fn room(&self, state: &State<'_>, item: usize, open: bool) -> Option<At> {
        let shape = state.shape(item);
        let fits = |host: usize| -> Option<[u8; 2]> {
            let left = &state.left[host];
            if shape.takes(left) && !state.open[host] {
                return Some([0, 0]);
            }
            shape.places(left).into_iter().find(|p| left.room(shape, *p) > 0)
        };
        let allowed = |h: &usize| state.open[*h] == open && self.allows(state, item, *h);
        let mut hosts: Vec<usize> = (0..state.instances.len()).filter(allowed).collect();
        hosts.sort_by_key(|h| (state.left[*h].cost, !self.rack_rank(state, item, *h), *h));
        hosts.into_iter().find_map(|host| fits(host).map(|nodes| At { host, nodes }))
    }
}
