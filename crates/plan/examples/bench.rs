//! Figures of the planner, one JSON object a line: figure, value, unit, floor, goal, ok.

#[path = "../tests/cc0/mod.rs"]
#[allow(missing_docs)]
mod cc0;

use std::time::Instant;

use cc0::Random;
use scute_plan::pack::baseline::{self, Rule as Baseline};
use scute_plan::pack::groups::{Rule, place, violations};
use scute_plan::pack::online::{Home, Online, Rule as Online1};
use scute_plan::pack::{fewest_hosts, pack};
use serde_json::json;

/// Bounds of the plain linear relaxation, known from elsewhere.
const PLAIN: [u64; 3] = [714, 681, 781];

fn say(figure: &str, value: f64, unit: &str, floor: f64, goal: f64, ok: bool) {
    let value = (value * 1000.0).round() / 1000.0;
    println!(
        "{}",
        json!({"figure": figure, "value": value, "unit": unit, "floor": floor, "goal": goal, "ok": ok})
    );
}

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let parts: [(&str, fn()); 4] =
        [("cc0", data_set), ("exact", exact), ("online", online), ("scale", scale)];
    for (name, run) in parts {
        if only.is_empty() || only.iter().any(|o| o == name) {
            run();
        }
    }
}

fn data_set() {
    for n in 1..=3_u32 {
        let case = cc0::case(n);
        let start = Instant::now();
        let plain = place(&case.problem, &case.instances, &case.items, &[], &[]);
        let seconds = start.elapsed().as_secs_f64();
        let unplaced = plain.at.iter().filter(|a| a.is_none()).count();
        let (hosts, bound) = (plain.hosts() as f64, plain.bound.at_least as f64);
        let known = PLAIN[n as usize - 1] as f64;
        say(&format!("C{n} certified lower bound"), bound, "servers", known, known, bound >= known);
        say(
            &format!("C{n} servers opened"),
            hosts,
            "servers",
            bound,
            bound * 1.02,
            unplaced == 0 && hosts <= bound * 1.02,
        );
        say(&format!("C{n} time, bound included"), seconds, "s", 0.0, 1.0, seconds <= 1.0);
        for (rule, name) in [
            (Baseline::FirstFit, "first fit"),
            (Baseline::BestFit, "best fit"),
            (Baseline::DotProduct, "dot product decreasing"),
        ] {
            let (open, left) = baseline::place(&case.problem, &case.instances, &case.items, rule);
            say(
                &format!("C{n} {name} for comparison"),
                open as f64,
                "servers",
                bound,
                open as f64,
                left == 0 || rule != Baseline::DotProduct,
            );
        }
        let start = Instant::now();
        let ruled = place(&case.problem, &case.instances, &case.items, &case.groups, &[]);
        let seconds = start.elapsed().as_secs_f64();
        let broken = violations(&case.problem, &case.instances, &case.items, &case.groups, &ruled).len();
        let unplaced = ruled.at.iter().filter(|a| a.is_none()).count();
        say(
            &format!("C{n} with groups: violations and unplaced"),
            (broken + unplaced) as f64,
            "",
            0.0,
            0.0,
            broken + unplaced == 0,
        );
        let together = case.groups.iter().filter(|g| g.rule == Rule::Together).count();
        say(
            &format!("C{n} affinity groups that no server can hold"),
            ruled.split.len() as f64,
            "groups",
            0.0,
            together as f64,
            true,
        );
        let more = (ruled.hosts() as f64 / hosts - 1.0) * 100.0;
        say(&format!("C{n} with groups: more servers"), more, "%", 0.0, 10.0, more <= 10.0);
        say(&format!("C{n} with groups: time"), seconds, "s", 0.0, 2.0, seconds <= 2.0);
    }
}

fn exact() {
    let mut random = Random(7);
    let (mut solved, mut good, mut best) = (0_u32, 0_u32, 0_u32);
    for _ in 0..300 {
        let problem = cc0::small(&mut random);
        let Some(want) = fewest_hosts(&problem, 300_000) else { continue };
        solved += 1;
        let got = pack(&problem);
        let fits = got.unplaced.is_empty();
        good += u32::from(match want {
            Some(want) => fits && got.hosts() <= want + 1,
            None => !fits,
        });
        best += u32::from(want.map_or(!fits, |w| fits && got.hosts() == w));
    }
    let percent = |n: u32| f64::from(n) * 100.0 / f64::from(solved.max(1));
    say("exact: cases solved exactly", f64::from(solved), "cases", 0.0, 200.0, solved >= 200);
    say("exact: optimal or one more", percent(good), "%", 0.0, 99.0, percent(good) >= 99.0);
    say("exact: optimal", percent(best), "%", 0.0, 90.0, percent(best) >= 90.0);
}

/// 100,000 arrivals and departures of the VMs of C1 on its servers; a server counts for as long as it holds anything.
/// Mean open servers, 99.9th percentile of a decision in seconds, refusals, fewest empty servers.
fn stream(rule: Online1, keep: usize) -> (f64, f64, usize, usize) {
    let case = cc0::case(1);
    let expected = place(&case.problem, &case.instances, &case.items, &[], &[]);
    let mut online = Online::new(&case.problem, &expected.prices, rule, keep);
    let mut random = Random(11);
    let mut alive: Vec<(usize, Home)> = Vec::new();
    let (mut sum, mut refused, mut least_empty) = (0.0, 0, usize::MAX);
    let mut times: Vec<f64> = Vec::new();
    for step in 0..100_000_u64 {
        // Fills up to three thousand VMs, then swings around them by a tenth.
        let target = 3000 + 300 * (step / 5000 % 2);
        let arrives = (alive.len() as u64) < target && (random.below(3) > 0 || alive.is_empty());
        if arrives {
            let shape = case.items[random.below(case.items.len() as u64) as usize];
            let start = Instant::now();
            match online.arrive(shape) {
                Some(home) => alive.push((shape, home)),
                None => refused += 1,
            }
            times.push(start.elapsed().as_secs_f64());
        } else {
            let (shape, home) = alive.swap_remove(random.below(alive.len() as u64) as usize);
            online.depart(shape, home);
        }
        sum += online.open() as f64;
        least_empty = least_empty.min(online.empty());
    }
    times.sort_by(f64::total_cmp);
    (sum / 1e5, times[times.len() * 999 / 1000], refused, least_empty)
}

fn online() {
    let (best_fit, _, _, _) = stream(Online1::BestFit, 0);
    let (largest, _, _, _) = stream(Online1::BestFitLargest, 0);
    let start = Instant::now();
    let (ours, slow, refused, _) = stream(Online1::LeastWorth, 0);
    let each = start.elapsed().as_secs_f64() * 1000.0 / 1e5;
    let least = best_fit.min(largest);
    say("on-line: best fit, mean servers in use", best_fit, "servers", 0.0, best_fit, true);
    say("on-line: best fit opening the largest, mean servers in use", largest, "servers", 0.0, largest, true);
    say("on-line: mean servers in use", ours, "servers", 0.0, least, ours < least && refused == 0);
    say("on-line: mean time of a decision", each, "ms", 0.0, 1.0, each <= 1.0);
    say("on-line: 99.9 % of decisions within", slow * 1000.0, "ms", 0.0, 1.0, slow <= 0.001);
    // Nearly as many as the stream leaves: the reserve must hold while it is in the way.
    let (_, _, refused, empty) = stream(Online1::LeastWorth, 1200);
    say(
        "on-line: servers kept empty of 1,200 asked for",
        empty as f64,
        "servers",
        1200.0,
        1200.0,
        empty >= 1200,
    );
    say("on-line: refused meanwhile", refused as f64, "VMs", 0.0, 0.0, refused == 0);
}

fn scale() {
    let mut times = Vec::new();
    for hosts in [1_000_u32, 10_000, 100_000] {
        let mut random = Random(5);
        let problem = cc0::fleet(hosts, &mut random);
        let start = Instant::now();
        let packed = pack(&problem);
        let seconds = start.elapsed().as_secs_f64();
        times.push(seconds);
        let unplaced: u32 = packed.unplaced.iter().map(|(_, n)| n).sum();
        let label = format!("{hosts} hosts, {} VMs", hosts * 50);
        let goal = if hosts > 10_000 { 100.0 } else { 10.0 };
        say(&format!("{label}: time to pack"), seconds, "s", 0.0, goal, unplaced == 0 && seconds <= goal);
        let gap = (packed.hosts() as f64 / packed.bound.at_least.max(1) as f64 - 1.0) * 100.0;
        say(&format!("{label}: above the certified bound"), gap, "%", 0.0, 2.0, gap <= 2.0);
        if hosts <= 10_000 {
            let start = Instant::now();
            let placed = named(&problem);
            let seconds = start.elapsed().as_secs_f64();
            say(
                &format!("{label}: time with every VM on a named host"),
                seconds,
                "s",
                0.0,
                10.0,
                placed && seconds <= 10.0,
            );
        }
        if hosts == 10_000 {
            say(&format!("{label}: peak memory"), peak_mib(), "MiB", 0.0, 1024.0, peak_mib() <= 1024.0);
        }
    }
    let growth = times[2] / times[0].max(1e-9);
    say("growth of time from 1,000 to 100,000 hosts", growth, "times", 1.0, 100.0, growth <= 100.0);
}

fn named(problem: &scute_plan::pack::Problem) -> bool {
    let instances: Vec<_> = problem
        .hosts
        .iter()
        .enumerate()
        .flat_map(|(kind, (_, n))| {
            (0..*n).map(move |i| scute_plan::pack::groups::Instance { kind, rack: i % 100 })
        })
        .collect();
    let items: Vec<usize> = problem
        .demands
        .iter()
        .flat_map(|d| &d.options)
        .flat_map(|(s, n)| std::iter::repeat_n(*s, *n as usize))
        .collect();
    place(problem, &instances, &items, &[], &[]).at.iter().all(Option::is_some)
}

/// The kernel's own figure.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::MAX) / 1024.0
}
