//! What the kernel says of processes. All of a site's are ours to see.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use scute_testkit::usage::field;
pub use scute_testkit::usage::{cpu, resident};

/// CPU time of the living processes, summed by what they are, and under "everything" that of the whole machine: the
/// difference is the kernel's, the dead ones' and strangers'.
pub fn cpu_by_role() -> Result<BTreeMap<String, Duration>> {
    let mut roles = BTreeMap::new();
    for (pid, command) in scute_e2e::processes::all() {
        // It may end while we look.
        let used = cpu(pid).unwrap_or_default();
        *roles.entry(role(&command)).or_default() += used;
    }
    let stat = fs::read_to_string("/proc/stat")?;
    let of_all = stat.lines().next().context("a line for all processors")?;
    // user, nice, system, idle, iowait, irq, softirq
    let fields: Vec<u64> = of_all.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    let busy: u64 = fields.iter().take(7).sum::<u64>() - fields.iter().skip(3).take(2).sum::<u64>();
    roles.insert("everything".to_owned(), Duration::from_millis(busy * 10));
    Ok(roles)
}

/// The program, and whether it is a tenant's.
fn role(command: &str) -> String {
    let mut words = command.split(' ').map(|word| word.rsplit('/').next().unwrap_or(word));
    let program = words.next().unwrap_or_default();
    let program = if program == "kube" { words.next().unwrap_or_default() } else { program };
    let tenants = command.contains("--etcd-prefix=/") || command.contains("kubeconfig=/etc/kubernetes/");
    if tenants { format!("a tenant's {program}") } else { program.to_owned() }
}

/// Proportional share of the memory that a process has resident, in bytes.
pub fn share(pid: u32) -> Result<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?, "Pss:")
}

/// Resident bytes of each mapping, by its size.
pub fn mappings(pid: u32) -> Result<Vec<(u64, u64)>> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let sizes = text.lines().filter(|line| line.starts_with("Size:"));
    let resident = text.lines().filter(|line| line.starts_with("Rss:"));
    sizes.zip(resident).map(|(size, rss)| Ok((field(size, "Size:")?, field(rss, "Rss:")?))).collect()
}

/// Every process whose control group names `group`, with its command line.
pub fn of_group(group: &str) -> BTreeMap<u32, String> {
    // It may end while we look.
    let groups = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    scute_e2e::processes::all().into_iter().filter(|(pid, _)| groups(*pid).contains(group)).collect()
}

/// Like `of_group`, for a Pod by its uid: drivers write it with dashes or with underscores.
pub fn of_pod(uid: &str) -> BTreeMap<u32, String> {
    let mut all = of_group(uid);
    all.append(&mut of_group(&uid.replace('-', "_")));
    // The sandbox's own process only holds the namespaces.
    all.retain(|_, command| !command.contains("pause"));
    all
}
