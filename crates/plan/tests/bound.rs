//! The bound against the exact solver, on small random fleets with everything that a host may have: bound <= optimum
//! <= plan. A certified bound that is wrong is the worst fault a planner can have.

mod cc0;

use cc0::Random;
use scute_plan::pack::{
    Company, Demand, Fit, HostType, Problem, Shape, apart, bound, counts, fewest_hosts, pack,
};

/// Branches of the exact solver for one choice of alternatives.
const BUDGET: u64 = 20_000;

/// Up to three types of host with one or two NUMA nodes, GPUs or none, at different costs; VMs on one node or two, some
/// with GPUs, tenants that avoid each other, metal Nodes, and demands that leave the size open.
fn random(random: &mut Random, most_hosts: u64) -> Problem {
    let types = 1 + random.below(3);
    let hosts = (0..types).map(|class| {
        let numa = 1 + random.below(2) as usize;
        let node = [
            8 + 4 * random.below(5) as i64,
            16 + 8 * random.below(9) as i64,
            [0, 0, 2, 4][random.below(4) as usize],
        ];
        let kind = HostType {
            nodes: vec![node; numa],
            side: [4 + random.below(12) as i64, 1000],
            cost: 1 + random.below(4) as u32 * random.below(2) as u32,
            class: class as u32,
            company: None,
        };
        (kind, 1 + random.below(most_hosts / types) as u32)
    });
    let hosts: Vec<(HostType, u32)> = hosts.collect();
    let (mut shapes, mut demands) = (Vec::new(), Vec::new());
    for _ in 0..1 + random.below(4) {
        let first = shapes.len();
        for _ in 0..1 + random.below(2) {
            let gpus = [0, 0, 1, 2][random.below(4) as usize];
            let company = match random.below(6) {
                0 => Company { pool: 1, sets: u64::MAX },
                1 => Company { pool: 0, sets: 1 },
                2 => Company { pool: 0, sets: 2 },
                _ => Company::ANY,
            };
            shapes.push(match random.below(8) {
                0 => Shape {
                    res: [0; 3],
                    side: [0; 2],
                    fit: Fit::Whole(vec![0, random.below(types) as u32]),
                    company: Company::ANY,
                },
                kind => Shape {
                    res: [1 + random.below(9) as i64, 2 + random.below(20) as i64, gpus],
                    side: [1, 0],
                    fit: if kind == 1 { Fit::Split } else { Fit::Node },
                    company,
                },
            });
        }
        let options = (first..shapes.len()).map(|s| (s, 1 + random.below(4) as u32)).collect();
        demands.push(Demand { options });
    }
    Problem { hosts, shapes, demands, most: Vec::new() }
}

/// The least cost over all choices of alternatives: `None` when the solver gave up, `Some(None)` when nothing holds all.
fn optimum(problem: &Problem) -> Option<Option<u64>> {
    let choices: usize = problem.demands.iter().map(|d| d.options.len()).product();
    let mut best = None;
    for mut choice in 0..choices {
        let demands = problem.demands.iter().map(|d| {
            let option = d.options[choice % d.options.len()];
            choice /= d.options.len();
            Demand { options: vec![option] }
        });
        let fixed = Problem { demands: demands.collect(), ..problem.clone() };
        let cost = fewest_hosts(&fixed, BUDGET)?;
        best = [best, cost].into_iter().flatten().min();
    }
    Some(best)
}

#[test]
fn the_bound_never_exceeds_the_optimum_nor_the_plan_undercuts_it() {
    let mut seed = Random(2024);
    let (mut solved, mut met, mut gpus, mut metal) = (0, 0, 0, 0);
    for case in 0..1500 {
        let problem = random(&mut seed, 9);
        let Some(want) = optimum(&problem) else { continue };
        let (floor, packing) = (bound(&problem), pack(&problem));
        let by_type = counts::at_least(std::slice::from_ref(&problem), 0).unwrap_or(0);
        let context = || format!("case {case}: {floor:?}, {by_type}, optimum {want:?}: {problem:#?}");
        solved += 1;
        gpus += u32::from(problem.shapes.iter().any(|s| s.res[2] > 0));
        metal += u32::from(problem.shapes.iter().any(|s| matches!(s.fit, Fit::Whole(_))));
        match want {
            Some(want) => {
                assert!(floor.at_least <= want && by_type <= want && !floor.infeasible, "{}", context());
                assert!(!packing.unplaced.is_empty() || packing.cost(&problem) >= want, "{}", context());
                met += u32::from(floor.at_least.max(by_type) == want);
            }
            None => assert!(!packing.unplaced.is_empty(), "{}", context()),
        }
    }
    assert!(
        solved >= 1000 && gpus >= 500 && metal >= 200,
        "{solved} solved, {gpus} with GPUs, {metal} with metal"
    );
    assert!(met * 10 >= solved * 6, "the bound says something: met in {met} of {solved}");
}

/// Whether these numbers of hosts hold everything even when any `losses` of them are missing.
fn survives(problem: &Problem, x: &[u32], losses: u32) -> Option<bool> {
    if losses == 0 || x.iter().all(|n| *n == 0) {
        let hosts = problem.hosts.iter().zip(x).map(|((h, _), n)| (h.clone(), *n)).collect();
        return Some(optimum(&Problem { hosts, ..problem.clone() })?.is_some());
    }
    for t in (0..x.len()).filter(|t| x[*t] > 0) {
        let mut less = x.to_vec();
        less[t] -= 1;
        if !survives(problem, &less, losses - 1)? {
            return Some(false);
        }
    }
    Some(true)
}

#[test]
fn the_bound_with_losses_never_exceeds_the_optimum() {
    let mut seed = Random(77);
    let mut solved = 0;
    for case in 0..500 {
        let problem = random(&mut seed, 5);
        let losses = 1 + case % 2;
        let caps: Vec<u32> = problem.hosts.iter().map(|(_, n)| *n).collect();
        let mut best: Option<u64> = None;
        let mut sure = true;
        let mut x = vec![0; caps.len()];
        for _ in 0..caps.iter().map(|c| c + 1).product::<u32>() {
            let cost = x.iter().zip(&problem.hosts).map(|(n, (h, _))| u64::from(n * h.cost)).sum::<u64>();
            if best.is_none_or(|b| cost < b) {
                match survives(&problem, &x, losses) {
                    Some(true) => best = Some(cost),
                    Some(false) => {}
                    None => sure = false,
                }
            }
            for t in 0..x.len() {
                x[t] += 1;
                if x[t] <= caps[t] {
                    break;
                }
                x[t] = 0;
            }
        }
        if let Some(best) = best.filter(|_| sure) {
            solved += 1;
            let by_type = counts::at_least(std::slice::from_ref(&problem), losses).unwrap_or(0);
            let cheapest = problem.hosts.iter().map(|(h, _)| u64::from(h.cost)).min().unwrap_or(0);
            let plain = bound(&problem).at_least + u64::from(losses) * cheapest;
            assert!(
                by_type <= best && plain <= best,
                "case {case}: {by_type}, {plain} of {best}: {problem:#?}"
            );
        }
    }
    assert!(solved >= 100, "{solved}");
}

/// Every number of hosts by type, up to all of them.
fn all_counts(hosts: &[(HostType, u32)]) -> Vec<Vec<u32>> {
    let mut all = vec![Vec::new()];
    for (_, most) in hosts {
        let longer = |x: &Vec<u32>| (0..=*most).map(|n| [&x[..], &[n]].concat()).collect::<Vec<_>>();
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// By trying everything: two demands that share no host, and empty hosts besides, such that what any `losses` hosts of a
/// type held finds room on its own other hosts and the empty ones.
fn cheapest_apart(parts: &[Problem; 2], losses: u32) -> Option<Option<u64>> {
    let hosts = &parts[0].hosts;
    let all = all_counts(hosts);
    let cost = |x: &[u32]| x.iter().zip(hosts).map(|(n, (h, _))| u64::from(n * h.cost)).sum::<u64>();
    let mut best = None;
    let mut least = [Vec::new(), Vec::new()];
    for (p, part) in parts.iter().enumerate() {
        let held: Vec<bool> = all.iter().map(|x| survives(part, x, 0)).collect::<Option<_>>()?;
        let holds = |x: &[u32]| {
            let capped: Vec<u32> = x.iter().zip(hosts).map(|(n, (_, most))| *n.min(most)).collect();
            held[all.iter().position(|y| *y == capped).unwrap()]
        };
        least[p] = all
            .iter()
            .map(|e| {
                let fine = |x: &&Vec<u32>| {
                    holds(x)
                        && (0..x.len()).filter(|t| x[*t] > 0).all(|t| {
                            let mut left: Vec<u32> = x.iter().zip(e).map(|(a, b)| a + b).collect();
                            left[t] -= losses.min(x[t]);
                            holds(&left)
                        })
                };
                all.iter().filter(fine).map(|x| cost(x)).min()
            })
            .collect();
    }
    for (i, e) in all.iter().enumerate() {
        let sum = least[0][i].zip(least[1][i]).map(|(a, b)| a + b + cost(e));
        best = [best, sum].into_iter().flatten().min();
    }
    Some(best)
}

#[test]
fn the_bound_of_parts_that_share_nothing_never_exceeds_the_optimum() {
    let mut seed = Random(31);
    let (mut solved, mut met) = (0, 0);
    for case in 0..150 {
        let one = random(&mut seed, 4);
        let two = Problem { hosts: one.hosts.clone(), ..random(&mut seed, 4) };
        let losses = 1 + case % 2;
        let parts = [one, two];
        let Some(Some(want)) = cheapest_apart(&parts, losses) else { continue };
        let got = apart::at_least(&parts, losses);
        assert!(got <= want, "case {case}: {got} of {want}: {parts:#?}");
        solved += 1;
        met += u32::from(got == want);
    }
    assert!(solved >= 40 && met * 2 >= solved, "{met} of {solved} met");
}
