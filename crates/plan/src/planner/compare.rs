//! The same fleet and demand under other rules, side by side.

use serde::Serialize;

use crate::blueprint::{Material, TenantPlan, Totals};
use crate::input::{ControlPlane, Demand, Fleet, NodeKind, Tenant};
use crate::model::nodes::NodeSize;

/// Tenants that a note names.
const MOST_NAMES: usize = 5;

/// A change of the rules.
#[derive(Clone, Debug, PartialEq)]
pub enum Variant {
    /// As given.
    AsGiven,
    /// Every Node is a server.
    AllMetal,
    /// Every Node is a VM.
    AllVm,
    /// Nodes are what pays.
    Mixed,
    /// Only these sizes of VM.
    Shapes(Vec<NodeSize>),
    /// Virtual CPUs to a thread.
    Overcommit(f64),
    /// `maxPods` of tenants' Nodes and of servers.
    MaxPods(i64),
    /// Where control planes run.
    ControlPlanes(ControlPlane),
    /// No reserve for losses.
    NoReserve,
}

/// One line of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The variant as written.
    pub variant: String,
    /// Its plan in numbers.
    pub totals: Totals,
    /// Things that find no place under it.
    pub unplaced: u32,
    /// What it leaves as it is, or does against what a tenant asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Variant {
    /// Reads `all-metal,all-vm,mixed,shapes=2/4,8/32,overcommit=4,max-pods=250,hosted,own-vms,own-metal,no-reserve`;
    /// sizes after `shapes=` are variants each, sizes joined by `|` are one.
    pub fn parse_list(text: &str) -> Result<Vec<Variant>, String> {
        let mut variants = Vec::new();
        let mut in_shapes = false;
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            let shapes = word.strip_prefix("shapes=").or_else(|| {
                let size = word.split('|').all(|s| NodeSize::parse(s).is_ok());
                (in_shapes && size).then_some(word)
            });
            in_shapes = shapes.is_some();
            variants.push(match shapes {
                Some(sizes) => {
                    Variant::Shapes(sizes.split('|').map(NodeSize::parse).collect::<Result<_, _>>()?)
                }
                None => Variant::parse(word)?,
            });
        }
        Ok(variants)
    }

    fn parse(word: &str) -> Result<Variant, String> {
        let number = |text: &str| text.parse::<f64>().map_err(|_| format!("{word:?}: {text:?} is no number"));
        Ok(match word.split_once('=') {
            Some(("overcommit", n)) => Variant::Overcommit(number(n)?.clamp(0.5, 100.0)),
            Some(("max-pods", n)) => Variant::MaxPods((number(n)? as i64).clamp(1, 2500)),
            None if word == "as-given" => Variant::AsGiven,
            None if word == "all-metal" => Variant::AllMetal,
            None if word == "all-vm" => Variant::AllVm,
            None if word == "mixed" => Variant::Mixed,
            None if word == "hosted" => Variant::ControlPlanes(ControlPlane::Hosted),
            None if word == "own-vms" => Variant::ControlPlanes(ControlPlane::Vm),
            None if word == "own-metal" => Variant::ControlPlanes(ControlPlane::Metal),
            None if word == "no-reserve" => Variant::NoReserve,
            _ => {
                return Err(format!(
                    "{word:?} is none of all-metal, all-vm, mixed, shapes=SIZE, overcommit=N, max-pods=N, hosted, own-vms, own-metal, no-reserve, as-given"
                ));
            }
        })
    }

    /// The demand under this variant.
    pub fn apply(&self, demand: &Demand) -> Demand {
        let mut d = demand.clone();
        let nodes_on = |d: &mut Demand, kind: NodeKind| {
            d.policy.nodes = kind;
            for tenant in &mut d.tenants {
                tenant.nodes_on = kind;
                tenant.nodes.iter_mut().for_each(|n| n.kind = kind);
            }
        };
        match self {
            Variant::AsGiven => {}
            Variant::AllMetal => nodes_on(&mut d, NodeKind::Metal),
            Variant::AllVm => nodes_on(&mut d, NodeKind::Vm),
            Variant::Mixed => nodes_on(&mut d, NodeKind::Any),
            Variant::Shapes(sizes) => {
                d.policy.shapes.clone_from(sizes);
                for tenant in &mut d.tenants {
                    // GPU sizes stay as they are: a comparison of plain sizes says nothing about them.
                    if tenant.pods.iter().all(|p| p.gpus == 0) {
                        tenant.shapes.clone_from(sizes);
                    }
                }
                if demand.tenants.iter().any(|t| t.pods.iter().any(|p| p.gpus > 0)) {
                    d.policy.shapes.clone_from(&demand.policy.shapes);
                }
            }
            Variant::Overcommit(n) => d.policy.sharing.cpu_overcommit = *n,
            Variant::MaxPods(n) => {
                (d.policy.max_pods, d.policy.host_max_pods) = (*n, *n);
                let addresses = |mask: u8| crate::model::nodes::pod_limit(i64::MAX, mask);
                while d.policy.pod_cidr_mask > 16 && addresses(d.policy.pod_cidr_mask) < *n {
                    d.policy.pod_cidr_mask -= 1;
                }
            }
            Variant::ControlPlanes(mode) => {
                let here = d.tenants.iter_mut().filter(|t| t.control_plane != ControlPlane::None);
                here.for_each(|t| t.control_plane = *mode);
            }
            Variant::NoReserve => {
                d.policy.survive = crate::input::Survive::default();
                d.policy.surge = 0;
            }
        }
        d
    }

    /// What a reader of its line must know: whom it does not reach, and whom it gives what was not asked for.
    fn notes(&self, demand: &Demand, plans: &[TenantPlan]) -> Vec<String> {
        let named = |what: &str, is: &dyn Fn(&Tenant) -> bool| {
            let names: Vec<&str> = demand.tenants.iter().filter(|t| is(t)).map(|t| t.name.as_str()).collect();
            match names.len() {
                0 => None,
                1..=MOST_NAMES => Some(format!("{what}: {}", names.join(", "))),
                n => Some(format!("{what}: {}, and {} more", names[..MOST_NAMES].join(", "), n - MOST_NAMES)),
            }
        };
        let metal = |t: &Tenant| {
            t.nodes_on == NodeKind::Metal
                || t.nodes_on == NodeKind::Any && demand.policy.nodes == NodeKind::Metal
        };
        let gpus = |t: &Tenant| t.pods.iter().any(|p| p.gpus > 0);
        let on_metal = |t: &Tenant| {
            let pools = plans.iter().filter(|p| p.name == t.name).flat_map(|p| &p.pools);
            pools.into_iter().any(|p| p.material == Material::Metal)
        };
        let all = match self {
            Variant::Shapes(_) => vec![
                named("stay on servers of their own, for nodesOn is metal", &metal),
                named("keep their sizes, for their Pods want GPUs", &gpus),
                named("keep the sizes they list under nodes", &|t: &Tenant| !t.nodes.is_empty()),
                named(
                    "take whole servers, which cost less or alone hold their largest Pod",
                    &|t: &Tenant| !metal(t) && on_metal(t),
                ),
            ],
            Variant::AllVm | Variant::Mixed => vec![named("may get VMs, though nodesOn is metal", &metal)],
            Variant::AllMetal => {
                vec![named("get servers, though nodesOn is vm", &|t: &Tenant| t.nodes_on == NodeKind::Vm)]
            }
            Variant::Overcommit(_) if demand.policy.sharing.dedicated_cpus => {
                vec![Some("changes nothing: dedicatedCpus shares no CPU".to_owned())]
            }
            Variant::ControlPlanes(_) => {
                vec![named("keep theirs elsewhere", &|t: &Tenant| t.control_plane == ControlPlane::None)]
            }
            Variant::Overcommit(_) | Variant::MaxPods(_) | Variant::NoReserve | Variant::AsGiven => {
                Vec::new()
            }
        };
        all.into_iter().flatten().collect()
    }

    /// As it is written.
    pub fn name(&self) -> String {
        match self {
            Variant::AsGiven => "as-given".to_owned(),
            Variant::AllMetal => "all-metal".to_owned(),
            Variant::AllVm => "all-vm".to_owned(),
            Variant::Mixed => "mixed".to_owned(),
            Variant::Shapes(s) => {
                format!("shapes={}", s.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"))
            }
            Variant::Overcommit(n) => format!("overcommit={n}"),
            Variant::MaxPods(n) => format!("max-pods={n}"),
            Variant::ControlPlanes(ControlPlane::Hosted) => "hosted".to_owned(),
            Variant::ControlPlanes(ControlPlane::Vm) => "own-vms".to_owned(),
            Variant::ControlPlanes(ControlPlane::Metal) => "own-metal".to_owned(),
            Variant::ControlPlanes(ControlPlane::None) => "elsewhere".to_owned(),
            Variant::NoReserve => "no-reserve".to_owned(),
        }
    }
}

/// Plans every variant.
pub fn compare(fleet: &Fleet, demand: &Demand, variants: &[Variant], seed: u64) -> Vec<Row> {
    variants
        .iter()
        .map(|v| {
            let plan = super::quick(fleet, &v.apply(demand), seed);
            let unplaced = plan.unplaced.iter().map(|u| u.count).sum();
            let notes = v.notes(demand, &plan.tenants);
            Row { variant: v.name(), totals: plan.totals, unplaced, notes }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_reads_as_people_write_it() {
        let all =
            Variant::parse_list("all-metal, all-vm,mixed,shapes=2/4,8/32,8/32|16/64,overcommit=4").unwrap();
        let names: Vec<String> = all.iter().map(Variant::name).collect();
        let want = [
            "all-metal",
            "all-vm",
            "mixed",
            "shapes=2/4",
            "shapes=8/32",
            "shapes=8/32|16/64",
            "overcommit=4",
        ];
        assert_eq!(names, want);
        assert!(Variant::parse_list("mixed,8/32").is_err(), "a size needs shapes= before it");
        assert!(Variant::parse_list("shapes=8").is_err());
    }
}
