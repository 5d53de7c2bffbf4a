//! What a demand comes to on a fleet before anything is placed: alternatives of sizes, what they cost at least, and the
//! items of each choice.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::wishes::{self, Choice, Wishes, Writer};
use super::{Draft, Item, classes, company, floor};
use crate::blueprint::{Blueprint, Material, Purpose};
use crate::input::{Demand, Fleet, Isolation};
use crate::pack::groups::Group;
use crate::pack::{self, Problem};

/// What is wanted and what it takes at least; sizes are still to be chosen.
pub(crate) struct Outline<'a> {
    fleet: &'a Fleet,
    demand: &'a Demand,
    hosts: classes::Hosts,
    company: company::Companies,
    floor: floor::Floor,
    /// Nodes of tenants with their alternatives.
    workers: Wishes,
    /// Of each wish, the one that the relaxation takes.
    relaxed: Vec<Choice>,
    /// Hosts that the relaxation opens.
    opened: i64,
}

impl<'a> Outline<'a> {
    pub(crate) fn new(fleet: &'a Fleet, demand: &'a Demand) -> Outline<'a> {
        let hosts = classes::classify(fleet, &demand.policy);
        let company = company::companies(&demand.tenants);

        // What every legal plan must do at least: free choice of sizes, the smallest control planes that can result.
        let mut writer = Writer::new(fleet, demand, &hosts, &company.certain);
        writer.workers();
        let count = |w: &wishes::Wish| w.options.iter().map(|c| c.count).min();
        let fewest = nodes_by_tenant(&writer.clone().finish(), demand.tenants.len(), count);
        writer.control_planes(&fewest, 1);
        let loosest = writer.finish();
        let (problem, demand_of) = problem(&loosest, &hosts);
        let relaxed = pack::pack(&problem);
        let parts = floor::parts(&problem, &loosest, demand, &demand_of);
        let floor = floor::at_least(&problem, relaxed.bound, &parts, demand, &hosts);

        let mut writer = Writer::new(fleet, demand, &hosts, &company.kept);
        writer.workers();
        let workers = writer.finish();
        let taken = workers.wishes.iter().enumerate().map(|(w, wish)| {
            let best = loosest.wishes[w].options[relaxed.chosen[demand_of[w]]];
            let same = wish
                .options
                .iter()
                .find(|o| workers.infos[o.shape] == loosest.infos[best.shape] && o.count == best.count);
            same.copied().unwrap_or(wish.options[0])
        });
        let taken = taken.collect();
        let opened = relaxed.hosts() as i64;
        Outline { fleet, demand, hosts, company, floor, workers, relaxed: taken, opened }
    }

    /// Choices of sizes to try: what the relaxation takes, and the same with whole hosts counted for tenants that share
    /// with nobody.
    pub(crate) fn choices(&self) -> Vec<Vec<Choice>> {
        let alone = |wish: &wishes::Wish, taken: &Choice| {
            let tenant = wish.tenant.map(|t| &self.demand.tenants[t].isolation);
            if tenant != Some(&Isolation::Dedicated) {
                return *taken;
            }
            let dear = |c: &&Choice| self.whole_hosts(**c);
            wish.options
                .iter()
                .min_by(|a, b| dear(a).partial_cmp(&dear(b)).unwrap_or(Ordering::Equal))
                .copied()
                .unwrap_or(*taken)
        };
        let whole = self.workers.wishes.iter().zip(&self.relaxed).map(|(w, c)| alone(w, c)).collect();
        let mut all = vec![self.relaxed.clone(), whole];
        all.dedup();
        all
    }

    /// What the hosts of a choice cost when nothing else lies on them, room for rolling included: in whole, and in parts.
    fn whole_hosts(&self, choice: Choice) -> (f64, f64) {
        let shape = &self.workers.shapes[choice.shape];
        let rolling = u32::from(self.demand.policy.surge > 0 && !matches!(shape.fit, pack::Fit::Whole(_)));
        let wanted = f64::from(choice.count + rolling);
        let on = |(host, _): &(pack::HostType, u32)| {
            let mut left = host.clone();
            let mut fits = i64::from(shape.takes(host));
            for at in shape.places(host) {
                let room = left.room(shape, at);
                fits += room;
                left.take(shape, at, room);
            }
            (fits > 0)
                .then(|| (wanted / fits as f64).ceil() * f64::from(host.cost))
                .map(|c| (c, wanted / fits as f64))
        };
        let all = self.hosts.types.iter().filter_map(on);
        all.fold((f64::INFINITY, f64::INFINITY), |a, b| if b < a { b } else { a })
    }

    /// The choice as it is, but pools of an older plan stay as they are where the demand still allows it.
    pub(crate) fn kept(&self, old: &Blueprint) -> Vec<Choice> {
        let wishes = self.workers.wishes.iter().zip(&self.relaxed);
        wishes.map(|(wish, taken)| kept(old, self.demand, &self.workers, wish).unwrap_or(*taken)).collect()
    }

    /// All that is to be placed for a choice of sizes.
    pub(crate) fn draft(&self, mut picked: Vec<Choice>) -> Draft {
        let mut writer = Writer::new(self.fleet, self.demand, &self.hosts, &self.company.kept);
        writer.workers();
        let mut at = picked.iter();
        let tenants = self.demand.tenants.len();
        let counts = nodes_by_tenant(&self.workers, tenants, |_| at.next().map(|c| c.count));
        writer.control_planes(&counts, self.opened);
        writer.surge(&picked);
        let wishes = writer.finish();
        picked.extend(wishes.wishes[picked.len()..].iter().map(|w| w.options[0]));
        let (items, groups) = items(&wishes, &picked);
        let loose = self.company.kept != self.company.certain;
        let note = if loose { "tenants that avoid each other are not in the bound" } else { "" };
        Draft { hosts: self.hosts.clone(), wishes, items, groups, floor: self.floor, note: note.to_owned() }
    }
}

/// The alternative of a wish that an older plan took.
fn kept(old: &Blueprint, demand: &Demand, wishes: &Wishes, wish: &wishes::Wish) -> Option<Choice> {
    let tenant = &demand.tenants[wish.tenant?].name;
    let name = format!("{tenant}-{}", wish.part);
    let pool = old.tenants.iter().find(|t| t.name == *tenant)?.pools.iter().find(|p| p.name == name)?;
    let of =
        |material: Material| wish.options.iter().filter(move |c| wishes.infos[c.shape].material == material);
    let same = of(pool.material).find(|c| wishes.infos[c.shape].size == pool.size);
    // A server is kept whatever size was asked for, as long as it is large enough.
    same.or_else(|| of(Material::Metal).next().filter(|_| pool.material == Material::Metal)).copied()
}

/// Nodes of each tenant, where `count` says how many a worker wish has.
fn nodes_by_tenant(
    wishes: &Wishes,
    tenants: usize,
    mut count: impl FnMut(&wishes::Wish) -> Option<u32>,
) -> Vec<i64> {
    let mut nodes = vec![0; tenants];
    for wish in wishes.wishes.iter().filter(|w| w.purpose == Purpose::Worker) {
        let n = count(wish).unwrap_or(0);
        if let Some(t) = wish.tenant {
            nodes[t] += i64::from(n);
        }
    }
    nodes
}

/// The packing problem, and the demand that each wish went into: wishes with the same alternatives decide together.
fn problem(wishes: &Wishes, hosts: &classes::Hosts) -> (Problem, Vec<usize>) {
    let mut demands: Vec<(Vec<Choice>, u32)> = Vec::new();
    let of = wishes
        .wishes
        .iter()
        .map(|wish| match demands.iter().position(|(o, _)| *o == wish.options) {
            Some(d) => {
                demands[d].1 += 1;
                d
            }
            None => {
                demands.push((wish.options.clone(), 1));
                demands.len() - 1
            }
        })
        .collect();
    let demands = demands
        .into_iter()
        .map(|(o, n)| pack::Demand { options: o.into_iter().map(|c| (c.shape, c.count * n)).collect() })
        .collect();
    let (hosts, shapes) = (hosts.types.clone(), wishes.shapes.clone());
    (Problem { hosts, most: most(wishes), shapes, demands }, of)
}

/// Of each shape, what one host may hold at most: replicas lie apart, and nothing is there more often than wanted.
fn most(wishes: &Wishes) -> Vec<u32> {
    let mut most = vec![0; wishes.shapes.len()];
    for wish in &wishes.wishes {
        let shapes: BTreeMap<usize, u32> = wish.options.iter().map(|o| (o.shape, o.count)).collect();
        for (shape, count) in shapes {
            most[shape] += if wish.rule.is_some() { 1 } else { count };
        }
    }
    most
}

fn items(wishes: &Wishes, picked: &[Choice]) -> (Vec<Item>, Vec<Group>) {
    let (mut items, mut groups) = (Vec::new(), Vec::new());
    for (w, (wish, choice)) in wishes.wishes.iter().zip(picked).enumerate() {
        let first = items.len();
        items.extend((0..choice.count).map(|ordinal| Item { wish: w, ordinal, shape: choice.shape }));
        if let Some(rule) = wish.rule.filter(|_| choice.count > 1) {
            groups.push(Group { rule, members: (first..items.len()).map(|i| (i, 0)).collect() });
        }
    }
    (items, groups)
}
