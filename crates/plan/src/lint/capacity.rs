//! VM sizes against the hosts that there are.

use super::objects::{Object, Objects, text_of};
use super::{Finding, Level};
use crate::model::kubevirt::{Vm, overhead};
use crate::model::nodes::{Keep, NodeSize};
use crate::model::reserve::Profile;
use crate::units::{Cpu, Mem};

/// kubeadm's preflight wants two CPUs and 1700 MB of a control plane; a worker below 1 GiB has nothing left for Pods.
const LEAST: (i64, Mem) = (1, Mem(1024));

/// Checks capacity. Hosts are Nodes, or inspected BareMetalHosts where there are no Nodes.
pub fn check(objects: &Objects, found: &mut Vec<Finding>) {
    let hosts = hosts(objects);
    let mut wanted = (Cpu(0), Mem(0), 0_i64);
    let mut places = Vec::new();
    for template in objects.of("KubevirtMachineTemplate") {
        let Some(size) = size(template) else { continue };
        let domain =
            ["spec", "template", "spec", "virtualMachineTemplate", "spec", "template", "spec", "domain"];
        let need = size.memory + overhead(&Vm { memory: size.memory, vcpus: size.cpus, ..Vm::default() });
        if size.cpus < LEAST.0 || size.memory < LEAST.1 {
            found.push(Finding {
                rule: "vm-size",
                level: Level::Error,
                message: format!(
                    "a VM of {size} leaves its Pods nothing: the kubelet's own reservations take it"
                ),
                fix: "use at least 2 CPUs and 2 GiB".to_owned(),
                places: vec![template.place(&domain)],
            });
        }
        let fits = hosts.iter().any(|(_, cpu, memory)| cpu.0 >= size.cpus * 1000 && *memory >= need);
        if !hosts.is_empty() && !fits {
            let largest =
                hosts.iter().max_by_key(|(_, _, m)| *m).map(|(h, c, m)| format!("{}: {c} CPUs, {m}", h.name));
            found.push(Finding {
                rule: "vm-size",
                level: Level::Error,
                message: format!(
                    "a VM of {size} needs {need} with its launcher and {} CPUs, and no host gives that (largest is {})",
                    size.cpus,
                    largest.unwrap_or_default()
                ),
                fix: "use a smaller VM, or a metal Node".to_owned(),
                places: vec![template.place(&domain)],
            });
        }
        let pools = objects.of("MachineDeployment").filter(|m| {
            m.namespace == template.namespace
                && m.text(&["spec", "template", "spec", "infrastructureRef", "name"]) == Some(&template.name)
        });
        let replicas: i64 = pools.filter_map(|m| m.int(&["spec", "replicas"])).sum();
        wanted =
            (wanted.0 + Cpu::cores(size.cpus) * replicas, wanted.1 + need * replicas, wanted.2 + replicas);
        places.push(template.place(&domain));
    }
    totals(&hosts, wanted, places, found);
}

fn totals(
    hosts: &[(&Object, Cpu, Mem)],
    wanted: (Cpu, Mem, i64),
    places: Vec<super::Place>,
    found: &mut Vec<Finding>,
) {
    let have: Mem = hosts.iter().map(|h| h.2).sum();
    let largest = hosts.iter().map(|h| h.2).max().unwrap_or(Mem(0));
    if hosts.is_empty() || wanted.2 == 0 {
        return;
    }
    if wanted.1 > have {
        found.push(Finding {
            rule: "capacity",
            level: Level::Error,
            message: format!(
                "{} VMs request {:.0} GiB and the hosts give {:.0} GiB",
                wanted.2,
                wanted.1.in_gib(),
                have.in_gib()
            ),
            fix: "run scute plan: it says which sizes and counts fit".to_owned(),
            places,
        });
    } else if wanted.1 > have - largest {
        found.push(Finding {
            rule: "survival",
            level: Level::Warning,
            message: format!(
                "without its largest host the site gives {:.0} GiB and the VMs request {:.0} GiB: one loss leaves VMs without a place",
                (have - largest).in_gib(),
                wanted.1.in_gib()
            ),
            fix: "keep a host empty, or ask for less".to_owned(),
            places,
        });
    }
}

/// Hosts with what VMs can have of them.
fn hosts(objects: &Objects) -> Vec<(&Object, Cpu, Mem)> {
    let guest = |n: &&Object| {
        n.at(&["metadata", "labels", "kubevirt.io/schedulable"]).is_some_and(|l| text_of(l) == Some("false"))
    };
    let nodes: Vec<_> = objects
        .of("Node")
        .filter(|n| !guest(n))
        .filter_map(|n| {
            let cpu = Cpu::parse(n.text(&["status", "allocatable", "cpu"])?).ok()?;
            let memory = Mem::parse(n.text(&["status", "allocatable", "memory"])?).ok()?;
            Some((n, cpu, memory))
        })
        .collect();
    if !nodes.is_empty() {
        return nodes;
    }
    let keep = Keep {
        profile: Profile::Gke,
        max_pods: 110,
        pods_per_core: 0,
        pod_cidr_mask: 24,
        agent_pods: 0,
        agents: (Cpu(0), Mem(0)),
    };
    objects
        .of("BareMetalHost")
        .filter_map(|h| {
            let cpus = h.int(&["status", "hardware", "cpu", "count"])?;
            let memory = Mem(h.int(&["status", "hardware", "ramMebibytes"])?);
            let given = NodeSize { cpus, memory, gpus: 0 }.allocatable(&keep);
            Some((h, given.cpu, given.memory))
        })
        .collect()
}

/// The size of a template's VM.
fn size(template: &Object) -> Option<NodeSize> {
    let base = ["spec", "template", "spec", "virtualMachineTemplate", "spec", "template", "spec", "domain"];
    let path = |rest: &[&'static str]| [&base[..], rest].concat();
    let count = |key| template.int(&path(&["cpu", key])).unwrap_or(1).max(1);
    let cpus = count("cores") * count("sockets") * count("threads");
    let memory = template
        .text(&path(&["memory", "guest"]))
        .or_else(|| template.text(&path(&["resources", "requests", "memory"])))?;
    Some(NodeSize { cpus, memory: Mem::parse(memory).ok()?, gpus: 0 })
}
