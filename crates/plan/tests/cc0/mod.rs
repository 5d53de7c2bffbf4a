//! The CC0 data set "Topology-aware VM placement" as packing problems; shared by tests and the bench.
#![allow(dead_code)] // the benchmark and the tests each take a part of it

use std::collections::BTreeMap;

use scute_plan::pack::groups::{Group, Instance, Rule};
use scute_plan::pack::{Company, Fit, HostType, Problem, Shape};

/// Hosts, shapes, items by shape, and groups.
pub struct Case {
    pub problem: Problem,
    pub instances: Vec<Instance>,
    pub items: Vec<usize>,
    pub groups: Vec<Group>,
}

fn rows(name: &str) -> Vec<Vec<String>> {
    let path = format!("{}/tests/data/topo-numa-cc0/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the data set is in the repository");
    text.lines().skip(1).map(|l| l.split(',').map(str::to_owned).collect()).collect()
}

fn number(text: &str) -> i64 {
    text.parse().expect("numbers in the data set")
}

/// Case 1, 2 or 3. Server `i` is host `i` of the topology.
pub fn case(n: u32) -> Case {
    let racks = rows("racks.csv");
    let mut hosts: Vec<(HostType, u32)> = Vec::new();
    let mut instances = Vec::new();
    for (i, row) in rows("servers.csv").iter().enumerate() {
        let v: Vec<i64> = row.iter().map(|t| number(t)).collect();
        let nodes = vec![[v[0] * 1000, v[1] * 1024, 0], [v[2] * 1000, v[3] * 1024, 0]];
        let kind = HostType { nodes, side: [1 << 20, 1 << 20], cost: 1, class: 0, company: None };
        let index = hosts.iter().position(|(h, _)| *h == kind).unwrap_or_else(|| {
            hosts.push((kind, 0));
            hosts.len() - 1
        });
        hosts[index].1 += 1;
        instances.push(Instance { kind: index, rack: number(&racks[i][1]) as u32 });
    }
    let (mut shapes, mut items): (Vec<Shape>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut groups: BTreeMap<(Rule, String), Vec<(usize, u32)>> = BTreeMap::new();
    for (i, row) in rows(&format!("vms_c{n}.csv")).iter().enumerate() {
        let fit = if row[2] == "2" { Fit::Split } else { Fit::Node };
        let shape = Shape {
            res: [number(&row[0]) * 1000, number(&row[1]) * 1024, 0],
            side: [1, 0],
            fit,
            company: Company::ANY,
        };
        items.push(shapes.iter().position(|s| *s == shape).unwrap_or_else(|| {
            shapes.push(shape);
            shapes.len() - 1
        }));
        let rule = match row[3].as_str() {
            "affinity" => Rule::Together,
            "anti-affinity" => Rule::Apart,
            "fault_domain" => Rule::Domains,
            _ => continue,
        };
        groups.entry((rule, row[4].clone())).or_default().push((i, row[5].parse().unwrap_or(0)));
    }
    let groups = groups.into_iter().map(|((rule, _), members)| Group { rule, members }).collect();
    Case {
        problem: Problem { hosts, shapes, demands: Vec::new(), most: Vec::new() },
        instances,
        items,
        groups,
    }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// A shape on one NUMA node for each CPU and memory, in units of so many millicores and MiB.
fn shapes(sizes: &[(i64, i64)], [millicores, mebibytes]: [i64; 2]) -> Vec<Shape> {
    let shape = |(cpu, memory): &(i64, i64)| Shape {
        res: [cpu * millicores, memory * mebibytes, 0],
        side: [1, 0],
        fit: Fit::Node,
        company: Company::ANY,
    };
    sizes.iter().map(shape).collect()
}

/// A random problem of up to 12 hosts and 40 VMs, small enough for the exact solver.
pub fn small(random: &mut Random) -> Problem {
    let types = 1 + random.below(3) as usize;
    let hosts = (0..types)
        .map(|_| {
            let nodes = 1 + random.below(2) as usize;
            let node =
                [(8 + 4 * random.below(7) as i64) * 1000, (16 + 8 * random.below(13) as i64) * 1024, 0];
            let kind =
                HostType { nodes: vec![node; nodes], side: [64, 1 << 20], cost: 1, class: 0, company: None };
            (kind, (1 + random.below(12 / types as u64)) as u32)
        })
        .collect();
    let sizes = [(2, 4), (2, 8), (4, 8), (4, 16), (8, 16), (8, 32), (12, 24)];
    let shapes = shapes(&sizes, [1000, 1024]);
    let wanted = 1 + random.below(40) as u32;
    let mut counts = vec![0; shapes.len()];
    (0..wanted).for_each(|_| counts[random.below(shapes.len() as u64) as usize] += 1);
    let demands = counts.into_iter().enumerate().filter(|(_, n)| *n > 0);
    let demands = demands.map(|(s, n)| scute_plan::pack::Demand { options: vec![(s, n)] }).collect();
    Problem { hosts, shapes, demands, most: Vec::new() }
}

/// Groups that compete for few large servers, cut from a placement that keeps every one of them: large servers are filled
/// by one group that fits nowhere else and small ones beside it, or by two that a middle server could hold as well.
pub fn contended(random: &mut Random) -> Case {
    let kind = |cpu: i64, memory: i64| HostType {
        nodes: vec![[cpu * 500, memory * 512, 0]; 2],
        side: [1 << 20, 1 << 20],
        cost: 1,
        class: 0,
        company: None,
    };
    let hosts = vec![(kind(128, 512), 5), (kind(96, 384), 3), (kind(64, 192), 12), (kind(32, 96), 20)];
    let mut instances = Vec::new();
    for (index, (_, count)) in hosts.iter().enumerate() {
        (0..*count).for_each(|n| instances.push(Instance { kind: index, rack: n % 4 }));
    }
    let sizes = [(4, 8), (4, 16), (8, 16), (8, 32), (16, 32), (16, 64)];
    let shapes = shapes(&sizes, [1000, 1024]);
    let (mut items, mut groups) = (Vec::new(), Vec::new());
    for instance in &instances {
        let mut left = hosts[instance.kind].0.clone();
        // Shares of the server, in tenths, of the groups that lie on it; what is left over stays free.
        let shares: &[i64] = match random.below(4) {
            0 => &[10],
            1 => &[7, 3],
            2 => &[5, 5],
            _ => &[4, 3, 3],
        };
        for share in shares {
            let most = hosts[instance.kind].0.nodes.iter().map(|n| n[0]).sum::<i64>() * share / 10;
            let (mut members, mut taken) = (Vec::new(), 0);
            for _ in 0..40 {
                let shape = random.below(shapes.len() as u64) as usize;
                let place = (0..2_u8).map(|n| [n, n]).max_by_key(|p| left.room(&shapes[shape], *p));
                let fits = taken + shapes[shape].res[0] <= most;
                if fits && place.is_some_and(|p| left.take(&shapes[shape], p, 1).is_some()) {
                    taken += shapes[shape].res[0];
                    members.push((items.len(), 0));
                    items.push(shape);
                }
            }
            if members.len() > 1 {
                groups.push(Group { rule: Rule::Together, members });
            }
        }
    }
    // In no order that gives the answer away.
    for i in (1..groups.len()).rev() {
        groups.swap(i, random.below(i as u64 + 1) as usize);
    }
    Case {
        problem: Problem { hosts, shapes, demands: Vec::new(), most: Vec::new() },
        instances,
        items,
        groups,
    }
}

/// A fleet of `hosts` with fifty VMs of 20 shapes to a host.
pub fn fleet(hosts: u32, random: &mut Random) -> Problem {
    let kinds =
        [(64, 256), (96, 384), (128, 512), (128, 1024), (192, 768), (48, 192), (64, 512), (256, 1024)];
    let types = kinds.iter().map(|(c, m)| {
        let node = [c * 500, m * 512, 0];
        let kind = HostType { nodes: vec![node; 2], side: [250, 1 << 20], cost: 1, class: 0, company: None };
        (kind, hosts / kinds.len() as u32)
    });
    let sizes = [
        (1, 2),
        (1, 4),
        (2, 2),
        (2, 4),
        (2, 8),
        (2, 16),
        (3, 6),
        (3, 12),
        (4, 4),
        (4, 8),
        (4, 16),
        (4, 32),
        (6, 12),
        (6, 24),
        (8, 8),
        (8, 16),
        (8, 32),
        (12, 24),
        (16, 32),
        (16, 64),
    ];
    // Small VMs are common, large ones rare: fifty to a host at about the fleet's capacity.
    let shapes = shapes(&sizes, [500, 512]);
    let total = hosts * 50;
    let weight: Vec<u64> = sizes.iter().map(|(c, m)| 400 / (c + m / 4) as u64 + random.below(20)).collect();
    let sum: u64 = weight.iter().sum();
    let mut counts: Vec<u32> = weight.iter().map(|w| (u64::from(total) * w / sum) as u32).collect();
    counts[0] += total - counts.iter().sum::<u32>();
    let demands = counts.into_iter().enumerate();
    let demands = demands.map(|(s, n)| scute_plan::pack::Demand { options: vec![(s, n)] }).collect();
    Problem { hosts: types.collect(), shapes, demands, most: Vec::new() }
}
