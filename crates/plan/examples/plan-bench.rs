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

/// What 100,000 arrivals and departures came to.
struct Stream {
    /// Mean of servers that hold anything.
    open: f64,
    /// The most of them at once.
    peak: usize,
    refused: usize,
    fewest_empty: usize,
    /// Seconds of each decision by the clock.
    clock: Vec<f64>,
    /// The same as this thread was on a CPU.
    cpu: Vec<f64>,
}

/// Seconds that this thread was on a CPU, the kernel's work for it included.
fn on_cpu() -> f64 {
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanos: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
    }
    const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
    let mut time = Timespec { seconds: 0, nanos: 0 };
    // SAFETY: the C library's own signature on 64-bit Linux; it writes one timespec.
    unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.seconds as f64 + time.nanos as f64 / 1e9
}

/// The VMs of C1 come to its servers and go; a server counts for as long as it holds anything.
fn stream(rule: Online1, keep: usize) -> Stream {
    let case = cc0::case(1);
    let expected = place(&case.problem, &case.instances, &case.items, &[], &[]);
    let mut online = Online::new(&case.problem, &expected.prices, rule, keep);
    let mut random = Random(11);
    let mut alive: Vec<(usize, Home)> = Vec::new();
    let (mut clock, mut cpu) = (Vec::with_capacity(100_000), Vec::with_capacity(100_000));
    let (mut sum, mut peak, mut refused, mut fewest_empty) = (0.0, 0, 0, usize::MAX);
    for step in 0..100_000_u64 {
        // Fills up to three thousand VMs, then swings around them by a tenth.
        let target = 3000 + 300 * (step / 5000 % 2);
        let arrives = (alive.len() as u64) < target && (random.below(3) > 0 || alive.is_empty());
        let shape = case.items[random.below(case.items.len() as u64) as usize];
        let leaves = random.below(alive.len() as u64) as usize;
        let (start, before) = (Instant::now(), on_cpu());
        if arrives {
            match online.arrive(shape) {
                Some(home) => alive.push((shape, home)),
                None => refused += 1,
            }
        } else {
            let (shape, home) = alive.swap_remove(leaves);
            online.depart(shape, home);
        }
        cpu.push(on_cpu() - before);
        clock.push(start.elapsed().as_secs_f64());
        sum += online.open() as f64;
        peak = peak.max(online.open());
        fewest_empty = fewest_empty.min(online.empty());
    }
    Stream { open: sum / 1e5, peak, refused, fewest_empty, clock, cpu }
}

fn online() {
    let (fit, largest) = (stream(Online1::BestFit, 0), stream(Online1::BestFitLargest, 0));
    let ours = stream(Online1::LeastWorth, 0);
    let least = fit.open.min(largest.open);
    let used = "mean servers in use";
    say(&format!("on-line: best fit, {used}"), fit.open, "servers", 0.0, fit.open, true);
    say(
        &format!("on-line: best fit opening the largest, {used}"),
        largest.open,
        "servers",
        0.0,
        largest.open,
        true,
    );
    say(
        &format!("on-line: {used}"),
        ours.open,
        "servers",
        0.0,
        least,
        ours.open < least && ours.refused == 0,
    );
    // The stream is the same each time. What is slow in one run is another decision in the next, without a page fault:
    // interrupts and other processes, which a thread's CPU time leaves out only in part. So of three runs the quickest
    // counts for each decision, and what one run took is said beside it.
    let runs = [&ours, &stream(Online1::LeastWorth, 0), &stream(Online1::LeastWorth, 0)];
    let quickest = |i: usize| runs.iter().map(|r| r.cpu[i]).fold(f64::MAX, f64::min) * 1000.0;
    let mut each: Vec<f64> = (0..100_000).map(quickest).collect();
    each.sort_by(f64::total_cmp);
    let mean = each.iter().sum::<f64>() / 1e5;
    say("on-line: mean time of a decision", mean, "ms", 0.0, 1.0, mean <= 1.0);
    say("on-line: 99.9 % of decisions within", each[99_900], "ms", 0.0, 1.0, each[99_900] <= 1.0);
    say("on-line: slowest decision, best of three runs", each[99_999], "ms", 0.0, 1.0, each[99_999] <= 1.0);
    for (how, times) in [("CPU time", &ours.cpu), ("by the clock", &ours.clock)] {
        let slowest = times.iter().fold(0.0, |a: f64, b| a.max(*b)) * 1000.0;
        let above = times.iter().filter(|t| **t > 1e-3).count() as f64;
        say(&format!("on-line: slowest decision of one run, {how}"), slowest, "ms", 0.0, slowest, true);
        say(
            &format!("on-line: decisions above 1 ms in one run, {how}"),
            above,
            "of 100,000",
            0.0,
            above,
            true,
        );
    }
    reserve(&ours);
}

/// Keeps so many servers empty that twenty fewer may open than the stream opened without: the reserve is in the way.
fn reserve(free: &Stream) {
    let keep = free.fewest_empty + 20;
    let (ours, fit) = (stream(Online1::LeastWorth, keep), stream(Online1::BestFitLargest, keep));
    let (fewest, asked) = (ours.fewest_empty as f64, keep as f64);
    say(
        "on-line: fewest servers ever empty, of those kept empty",
        fewest,
        "servers",
        asked,
        asked,
        fewest >= asked,
    );
    let share = |s: &Stream| s.refused as f64 / 1e5 * 100.0;
    say("on-line: refused for the reserve", share(&ours), "%", 0.0, share(&fit), ours.refused <= fit.refused);
    say("on-line: refused by best fit for the same reserve", share(&fit), "%", 0.0, share(&fit), true);
    say(
        "on-line: most servers open at once, without the reserve",
        free.peak as f64,
        "servers",
        0.0,
        free.peak as f64,
        true,
    );
}

fn scale() {
    let mut each = Vec::new();
    for hosts in [1_000_u32, 10_000, 100_000] {
        let mut random = Random(5);
        let problem = cc0::fleet(hosts, &mut random);
        let start = Instant::now();
        let packed = pack(&problem);
        let seconds = start.elapsed().as_secs_f64();
        let unplaced: u32 = packed.unplaced.iter().map(|(_, n)| n).sum();
        let label = format!("{hosts} hosts, {} VMs", hosts * 50);
        say(&format!("{label}: time to pack"), seconds, "s", 0.0, seconds, unplaced == 0);
        let gap = (packed.hosts() as f64 / packed.bound.at_least.max(1) as f64 - 1.0) * 100.0;
        say(&format!("{label}: above the certified bound"), gap, "%", 0.0, 2.0, gap <= 2.0);
        let start = Instant::now();
        let placed = named(&problem);
        let seconds = start.elapsed().as_secs_f64();
        each.push(seconds / f64::from(hosts));
        let goal = if hosts > 10_000 { seconds } else { 10.0 };
        let all = "time with every VM on a named host";
        say(&format!("{label}: {all}"), seconds, "s", 0.0, goal, placed && seconds <= goal);
        if hosts == 10_000 {
            say(&format!("{label}: peak memory"), peak_mib(), "MiB", 0.0, 1024.0, peak_mib() <= 1024.0);
        }
    }
    // Linear is 1: a host costs as much in a large fleet as in a small one.
    for (i, label) in [(1, "1,000 to 10,000"), (2, "10,000 to 100,000")] {
        let growth = each[i] / each[i - 1].max(1e-9);
        let figure = format!("growth from {label} hosts of the time for one host, every VM named");
        say(&figure, growth, "times", 1.0, 1.5, growth <= 1.5);
    }
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
