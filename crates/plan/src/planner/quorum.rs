//! Whether what needs a quorum keeps one through every loss. Room elsewhere does not help: a lost member is started anew
//! without its data, and without a quorum no new one is admitted.

use std::collections::BTreeMap;

use super::Scene;
use super::wishes::Wish;
use crate::blueprint::{Material, Purpose};
use crate::input::Demand;
use crate::model::controlplane::quorum;
use crate::pack::groups::Placed;

/// What ends such a note: the linter reads it as an admission.
pub const ADMITTED: &str = "keeps no quorum";

/// A note for each that loses its quorum when what the policy names is lost.
pub fn broken(scene: &Scene<'_>, placed: &Placed) -> Vec<String> {
    let Scene { fleet: _, demand, hosts, wishes, items, groups } = *scene;
    let survive = demand.policy.survive;
    let mut notes = Vec::new();
    for group in groups {
        let Some(first) = group.members.first().map(|(i, _)| &items[*i]) else { continue };
        let wish = &wishes.wishes[first.wish];
        if !needs_quorum(wish, wishes.infos[first.shape].material) {
            continue;
        }
        let members = group.members.len() as u32;
        let spare = members - quorum(members);
        let name = name(wish, demand);
        if survive.hosts > spare {
            notes.push(format!(
                "of {members} members of {name} the loss of {} hosts may take {}: it {ADMITTED}; {}",
                survive.hosts,
                survive.hosts.min(members),
                more(wish, survive.hosts)
            ));
        }
        let mut by_rack: BTreeMap<u32, u32> = BTreeMap::new();
        for at in group.members.iter().filter_map(|(i, _)| placed.at[*i]) {
            *by_rack.entry(hosts.instances[at.host].rack).or_default() += 1;
        }
        let worst = by_rack.into_iter().max_by_key(|(rack, n)| (*n, std::cmp::Reverse(*rack)));
        if let Some((rack, lost)) = worst.filter(|(_, n)| survive.rack && *n > spare) {
            notes.push(format!(
                "rack {} holds {lost} of {members} members of {name}: without it, it {ADMITTED}; a quorum needs VM hosts in three racks",
                hosts.racks[rack as usize]
            ));
        }
    }
    notes
}

/// etcd is part of it.
fn needs_quorum(wish: &Wish, material: Material) -> bool {
    match wish.purpose {
        Purpose::Datastore | Purpose::Management => true,
        Purpose::ControlPlane => material != Material::Pod,
        Purpose::Worker | Purpose::Surge => false,
    }
}

fn name(wish: &Wish, demand: &Demand) -> String {
    match wish.tenant {
        Some(t) => format!("{}'s control plane", demand.tenants[t].name),
        None if wish.purpose == Purpose::Management => "the management cluster".to_owned(),
        None => wish.part.clone(),
    }
}

fn more(wish: &Wish, losses: u32) -> String {
    let wanted = crate::model::controlplane::etcd_members(losses);
    match wish.purpose {
        Purpose::Management => format!("managementReplicas: {wanted} does"),
        _ => format!("{wanted} members would"),
    }
}
