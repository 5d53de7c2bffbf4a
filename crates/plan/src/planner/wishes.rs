//! From a demand to things to place: shapes, counts, alternatives and rules.

use std::collections::BTreeMap;

use super::classes::{Hosts, metal_classes, node_size};
use super::sizes;
use crate::blueprint::{Amount, Material, Purpose, Unplaced};
use crate::input::{ControlPlane, Demand, Fleet, NodeKind, Tenant};
use crate::model::controlplane::{self, Size};
use crate::model::nodes::{NodeSize, PodKind, nodes_for};
use crate::pack::groups::Rule;
use crate::pack::{Company, Fit, Shape};

/// What a shape is to people.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeInfo {
    /// Made of.
    pub material: Material,
    /// `8/32`, or requests of a Pod.
    pub size: String,
    /// As a Node (not Pods).
    pub node: Option<NodeSize>,
    /// What it takes of a host (metal: nothing, it takes the host).
    pub takes: Amount,
}

/// One alternative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    /// Shape index.
    pub shape: usize,
    /// How many.
    pub count: u32,
}

/// Something to place.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Tenant index; `None` for the site's own.
    pub tenant: Option<usize>,
    /// What for.
    pub purpose: Purpose,
    /// Part of the name.
    pub part: String,
    /// Pods that the Nodes are for.
    pub pods: Vec<PodKind>,
    /// Alternatives, at least one.
    pub options: Vec<Choice>,
    /// How its items lie to each other.
    pub rule: Option<Rule>,
    /// Hosts that the first of its items have already.
    pub at: Vec<usize>,
}

impl Wish {
    /// A tenant's, for nothing yet.
    fn of(tenant: usize, purpose: Purpose) -> Wish {
        Wish {
            tenant: Some(tenant),
            purpose,
            part: String::new(),
            pods: Vec::new(),
            options: Vec::new(),
            rule: None,
            at: Vec::new(),
        }
    }
}

/// All wishes of a demand.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// For the packer.
    pub shapes: Vec<Shape>,
    /// For people, by shape.
    pub infos: Vec<ShapeInfo>,
    /// In the order of tenants.
    pub wishes: Vec<Wish>,
    /// What no host could ever take.
    pub unplaced: Vec<Unplaced>,
    known: BTreeMap<(Shape, String), usize>,
}

/// Reads wishes: `nodes` tells how many Nodes each tenant will have (for its control plane), and `hosts` the site.
#[derive(Clone)]
pub struct Writer<'a> {
    fleet: &'a Fleet,
    demand: &'a Demand,
    hosts: &'a Hosts,
    company: Vec<Company>,
    out: Wishes,
}

/// The disk of an etcd member in GiB: twice the quota, for the log and a snapshot beside it.
const ETCD_DISK: i64 = 2 * controlplane::ETCD_QUOTA / 1024;
/// Static Pods of a management control-plane replica: API server, controller-manager, scheduler, etcd.
const STATIC_PODS: i64 = 4;

impl<'a> Writer<'a> {
    /// For a demand on a fleet.
    pub fn new(fleet: &'a Fleet, demand: &'a Demand, hosts: &'a Hosts, company: &[Company]) -> Writer<'a> {
        Writer { fleet, demand, hosts, company: company.to_vec(), out: Wishes::default() }
    }

    /// Nodes of every tenant.
    pub fn workers(&mut self) {
        for t in 0..self.demand.tenants.len() {
            let tenant = &self.demand.tenants[t];
            let more = |n: u32, peak: f64| {
                (f64::from(n) * peak * (1.0 + self.demand.policy.growth / 100.0) - 1e-9).ceil() as u32
            };
            let pods: Vec<PodKind> = tenant
                .pods
                .iter()
                .map(|p| PodKind { count: more(p.count, tenant.peak), ..p.clone() })
                .collect();
            let (with, without): (Vec<PodKind>, Vec<PodKind>) = pods.into_iter().partition(|p| p.gpus > 0);
            let both = !with.is_empty() && !without.is_empty();
            for (pods, part) in [(without, "nodes"), (with, if both { "gpu-nodes" } else { "nodes" })] {
                if !pods.is_empty() {
                    self.pods(t, pods, part);
                }
            }
            for (i, wish) in tenant.nodes.iter().enumerate() {
                let mut options = Vec::new();
                let count = more(wish.count, 1.0);
                if wish.kind != NodeKind::Metal {
                    options.extend(self.vm(wish.size, self.company[t]).map(|shape| Choice { shape, count }));
                }
                if wish.kind != NodeKind::Vm {
                    options.extend(self.metal(wish.size, None).map(|shape| Choice { shape, count }));
                }
                let wanted = Wish {
                    part: format!("pool-{}", i + 1),
                    options,
                    at: self.named(&wish.at),
                    ..Wish::of(t, Purpose::Worker)
                };
                self.push(wanted, &wish.size.to_string(), count);
            }
        }
    }

    fn pods(&mut self, t: usize, pods: Vec<PodKind>, part: &str) {
        let (tenant, policy) = (&self.demand.tenants[t], &self.demand.policy);
        let kind = if tenant.nodes_on == NodeKind::Any { policy.nodes } else { tenant.nodes_on };
        let mut options = Vec::new();
        if kind != NodeKind::Metal {
            for size in self.allowed(tenant, &pods) {
                let count = nodes_for(&pods, size.allocatable(&policy.guest())).filter(|n| *n > 0);
                let choice = count
                    .and_then(|count| self.vm(size, self.company[t]).map(|shape| Choice { shape, count }));
                options.extend(choice);
            }
        }
        if kind != NodeKind::Vm {
            for example in self.hosts.examples.clone() {
                let size = node_size(&self.fleet.hosts[example]);
                let count = nodes_for(&pods, size.allocatable(&policy.guest())).filter(|n| *n > 0);
                let choice = count.and_then(|count| {
                    let class = &self.fleet.hosts[example].class;
                    self.metal(size, Some(class)).map(|shape| Choice { shape, count })
                });
                options.extend(choice);
            }
        }
        options.sort_unstable();
        options.dedup();
        let largest = pods
            .iter()
            .map(|p| format!("{} ({}, {}{})", p.name, p.cpu, p.memory, gpus_of(p)))
            .collect::<Vec<_>>();
        let what = format!("Nodes for {}", largest.join(", "));
        let wish = Wish { part: part.to_owned(), pods, options, ..Wish::of(t, Purpose::Worker) };
        self.push(wish, &what, 1);
    }

    fn allowed(&self, tenant: &Tenant, pods: &[PodKind]) -> Vec<NodeSize> {
        let gpus = pods.iter().map(|p| p.gpus).max().unwrap_or(0);
        let policy = &self.demand.policy;
        let given = if tenant.shapes.is_empty() { &policy.shapes } else { &tenant.shapes };
        if !given.is_empty() {
            return given.iter().copied().filter(|s| (s.gpus > 0) == (gpus > 0)).collect();
        }
        if gpus == 0 {
            sizes::candidates(self.fleet, policy)
        } else {
            sizes::with_gpus(self.fleet, policy, pods)
        }
    }

    /// Control planes and datastores; `nodes` by tenant, `hosts` of the site.
    pub fn control_planes(&mut self, nodes: &[i64], hosts: i64) {
        let mut hosted: Vec<usize> = Vec::new();
        for (t, tenant) in self.demand.tenants.iter().enumerate() {
            let quorum = if tenant.replicas > 1 { 3 } else { 1 };
            let machine = controlplane::on_machines(nodes[t]);
            let size = NodeSize { cpus: machine.cpu.0 / 1000, memory: machine.memory, gpus: 0 };
            let (option, count) = match tenant.control_plane {
                ControlPlane::None => continue,
                ControlPlane::Hosted => {
                    hosted.push(t);
                    (Some(self.pod(controlplane::hosted(nodes[t]), 1, 0)), tenant.replicas)
                }
                ControlPlane::Vm => (self.vm(size, self.company[t]), quorum),
                ControlPlane::Metal => (self.metal(size, None), quorum),
            };
            let options = option.map(|shape| Choice { shape, count }).into_iter().collect();
            let what = format!("control plane of {size}");
            let wish = Wish {
                part: "cp".to_owned(),
                options,
                rule: Some(Rule::ApartRacks),
                at: self.named(&tenant.control_plane_at),
                ..Wish::of(t, Purpose::ControlPlane)
            };
            self.push(wish, &what, count);
        }
        let counts: Vec<i64> = hosted.iter().map(|t| nodes[*t]).collect();
        let stores = controlplane::datastores(&counts);
        for store in 0..stores.iter().max().map_or(0, |m| m + 1) {
            let members = counts.iter().zip(&stores).filter(|(_, s)| **s == store).map(|(n, _)| *n);
            let (total, holds) = members.fold((0, 0), |(n, h), c| (n + c, h + controlplane::database(c).0));
            let size = controlplane::etcd_member(crate::units::Mem(holds), total);
            let count = controlplane::etcd_members(self.demand.policy.survive.hosts);
            let choice = Choice { shape: self.pod(size, 1, ETCD_DISK), count };
            let part = format!("datastore-{}", store + 1);
            self.site(Purpose::Datastore, &part, choice, Some(Rule::ApartRacks));
        }
        let replicas = self.demand.policy.management_replicas;
        if replicas > 0 {
            let choice =
                Choice { shape: self.pod(controlplane::on_machines(hosts), STATIC_PODS, 0), count: replicas };
            self.site(Purpose::Management, "management", choice, Some(Rule::ApartRacks));
        }
    }

    /// Room for rolling: the largest worker VM, and the hosted control plane, of as many tenants as roll at once.
    pub fn surge(&mut self, chosen: &[Choice]) {
        let count = self.demand.policy.surge;
        if count == 0 {
            return;
        }
        self.surge_of_control_planes(count);
        let workers = self.out.wishes.iter().zip(chosen).filter(|(w, _)| w.purpose == Purpose::Worker);
        let vms = workers.filter(|(_, c)| self.out.infos[c.shape].material == Material::Vm);
        let mut largest: BTreeMap<Company, usize> = BTreeMap::new();
        for (_, choice) in vms {
            let entry = largest.entry(self.out.shapes[choice.shape].company).or_insert(choice.shape);
            if self.out.shapes[choice.shape].res > self.out.shapes[*entry].res {
                *entry = choice.shape;
            }
        }
        let all: Vec<(Company, usize)> = largest.iter().map(|(c, s)| (*c, *s)).collect();
        for (n, (company, shape)) in all.iter().enumerate() {
            // Who bears more company than another rolls in the other's room, when that is large enough.
            let covered = all.iter().any(|(other, o)| {
                let (own, theirs) = (self.out.shapes[*shape].res, self.out.shapes[*o].res);
                other != company
                    && company.with(*other) == Some(*other)
                    && own.iter().zip(theirs).all(|(a, b)| *a <= b)
            });
            let tenants = self.company.iter().filter(|c| *c == company).count();
            let choice = Choice { shape: *shape, count: if tenants > 1 { count } else { 1 } };
            if !covered {
                self.site(Purpose::Surge, &format!("surge-{}", n + 1), choice, None);
            }
        }
    }

    /// A hosted control plane rolls all its replicas at once (`maxSurge: 100%`): it is there twice for a while.
    fn surge_of_control_planes(&mut self, tenants: u32) {
        let hosted = self.out.wishes.iter().filter(|w| w.purpose == Purpose::ControlPlane);
        let hosted = hosted.flat_map(|w| &w.options);
        let pods = hosted.filter(|c| self.out.infos[c.shape].material == Material::Pod);
        let largest = pods.max_by_key(|c| (self.out.shapes[c.shape].res, c.count)).copied();
        if let Some(Choice { shape, count }) = largest {
            let choice = Choice { shape, count: count * tenants };
            self.site(Purpose::Surge, "surge-cp", choice, None);
        }
    }

    /// The wishes.
    pub fn finish(self) -> Wishes {
        self.out
    }

    fn site(&mut self, purpose: Purpose, part: &str, choice: Choice, rule: Option<Rule>) {
        let wish = Wish {
            tenant: None,
            purpose,
            part: part.to_owned(),
            pods: Vec::new(),
            options: vec![choice],
            rule,
            at: Vec::new(),
        };
        self.out.wishes.push(wish);
    }

    fn push(&mut self, wish: Wish, what: &str, count: u32) {
        if count == 0 {
            return;
        }
        if !wish.options.is_empty() {
            self.out.wishes.push(wish);
            return;
        }
        let tenant = wish.tenant.map_or(String::new(), |t| self.demand.tenants[t].name.clone());
        let why = "no host and no allowed size can take one: allow a larger size, metal, or add such a host";
        self.out.unplaced.push(Unplaced { tenant, what: what.to_owned(), count, why: why.to_owned() });
    }

    /// Hosts by their names.
    fn named(&self, names: &[String]) -> Vec<usize> {
        names.iter().filter_map(|n| self.fleet.hosts.iter().position(|h| h.name == *n)).collect()
    }

    /// A VM shape; `None` when no host takes even one.
    fn vm(&mut self, size: NodeSize, company: Company) -> Option<usize> {
        let policy = &self.demand.policy;
        let (cpu, memory) = sizes::request(size, policy);
        let takes = Amount { cpu: cpu.0, memory: memory.0, pods: 1, gpus: size.gpus };
        let res = [takes.cpu, takes.memory, takes.gpus];
        let side = [1, (policy.vm_disk.0 + 1023) / 1024];
        let fit = [Fit::Node, Fit::Split].into_iter().find(|fit| {
            let shape = Shape { res, side, fit: fit.clone(), company };
            self.hosts.types.iter().any(|(h, _)| shape.places(h).into_iter().any(|p| h.room(&shape, p) > 0))
        })?;
        let shape = Shape { res, side, fit, company };
        Some(self.shape(
            shape,
            ShapeInfo { material: Material::Vm, size: size.to_string(), node: Some(size), takes },
        ))
    }

    /// A server of at least this size, of any class or of one; `None` when there is none.
    fn metal(&mut self, size: NodeSize, class: Option<&str>) -> Option<usize> {
        let classes = metal_classes(self.fleet, self.hosts, size, class);
        if classes.is_empty() {
            return None;
        }
        let shape = Shape {
            res: [0; crate::pack::DIMS],
            side: [0; crate::pack::SIDES],
            fit: Fit::Whole(classes),
            company: Company::ANY,
        };
        let info = ShapeInfo {
            material: Material::Metal,
            size: size.to_string(),
            node: Some(size),
            takes: Amount::default(),
        };
        Some(self.shape(shape, info))
    }

    fn pod(&mut self, size: Size, pods: i64, disk: i64) -> usize {
        let takes = Amount { cpu: size.cpu.0, memory: size.memory.0, pods, gpus: 0 };
        let shape = Shape {
            res: [takes.cpu, takes.memory, 0],
            side: [pods, disk],
            fit: Fit::Node,
            company: Company::ANY,
        };
        let info = ShapeInfo {
            material: Material::Pod,
            size: format!("{} CPU, {}", size.cpu, size.memory),
            node: None,
            takes,
        };
        self.shape(shape, info)
    }

    fn shape(&mut self, shape: Shape, info: ShapeInfo) -> usize {
        let key = (shape.clone(), info.size.clone());
        if let Some(index) = self.out.known.get(&key) {
            return *index;
        }
        self.out.shapes.push(shape);
        self.out.infos.push(info);
        self.out.known.insert(key, self.out.shapes.len() - 1);
        self.out.shapes.len() - 1
    }
}

fn gpus_of(pod: &PodKind) -> String {
    if pod.gpus > 0 { format!(", {} GPUs", pod.gpus) } else { String::new() }
}
