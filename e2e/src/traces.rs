//! What a site could leave on a machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Result, ensure};

/// What is on the machine at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Traces {
    /// Names of network interfaces.
    interfaces: BTreeSet<String>,
    /// Named network namespaces.
    namespaces: BTreeSet<String>,
    /// Mount points.
    mounts: BTreeSet<String>,
    /// Tables of nftables.
    tables: BTreeSet<String>,
    /// IPv4 routes.
    routes: BTreeSet<String>,
    /// Processes that name Scute or run Kubernetes, and the site of each.
    processes: BTreeMap<String, Option<String>>,
    /// Control groups that name Scute.
    cgroups: BTreeSet<String>,
    /// Entries of the folders that a site may write to.
    files: BTreeSet<String>,
}

impl Traces {
    /// Looks at the machine.
    #[must_use]
    pub fn look() -> Self {
        let lines = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            interfaces: names("/sys/class/net"),
            namespaces: names("/run/netns"),
            mounts: lines("/proc/self/mounts")
                .lines()
                .filter_map(|line| line.split(' ').nth(1))
                .map(Into::into)
                .collect(),
            tables: tables(),
            // Interface, destination, gateway, mask: the counters between them change by themselves.
            routes: lines("/proc/net/route")
                .lines()
                .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
                .collect(),
            processes: processes(),
            cgroups: cgroups(),
            files: [
                "/var/lib/scute",
                "/run/scute",
                "/var/lib/cni",
                "/etc/cni",
                "/var/lib/kubelet",
                "/run/containerd",
            ]
            .into_iter()
            .flat_map(|dir| names(dir).into_iter().map(move |name| format!("{dir}/{name}")))
            .collect(),
        }
    }

    /// Whether nothing has come since.
    ///
    /// # Errors
    /// When something has; names it.
    pub fn nothing_new(&self, now: &Self) -> Result<()> {
        let Self { interfaces, namespaces, mounts, tables, routes, processes, cgroups, files } = now;
        let new = |kind: &str, now: &BTreeSet<String>, before: &BTreeSet<String>| {
            now.difference(before).map(|name| format!("{kind} {name}")).collect::<Vec<_>>()
        };
        // A site of the machine's user may run beside the tests: its processes come and go.
        let was_there = |site: &String| self.files.contains(&format!("/var/lib/scute/{site}"));
        let strangers = |processes: &BTreeMap<String, Option<String>>| {
            let ours = processes.iter().filter(|(_, site)| !site.as_ref().is_some_and(was_there));
            ours.map(|(process, _)| process.clone()).collect()
        };
        let left = [
            new("interface", interfaces, &self.interfaces),
            new("network namespace", namespaces, &self.namespaces),
            new("mount", mounts, &self.mounts),
            new("table", tables, &self.tables),
            new("route", routes, &self.routes),
            new("process", &strangers(processes), &strangers(&self.processes)),
            new("cgroup", cgroups, &self.cgroups),
            new("file", files, &self.files),
        ]
        .concat();
        ensure!(left.is_empty(), "left on the machine:\n{}", left.join("\n"));
        Ok(())
    }
}

fn tables() -> BTreeSet<String> {
    // Without `nft` nobody made any.
    let output = std::process::Command::new("nft").args(["list", "tables"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn names(dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn processes() -> BTreeMap<String, Option<String>> {
    let ours =
        ["scute", "kube", "kubelet", "containerd", "etcd", "qemu-system-x86_64", "containerd-shim-runc-v2"];
    let is_ours = |command: &str| {
        let program = command.split(' ').next().and_then(|path| path.rsplit('/').next());
        program.is_some_and(|program| ours.contains(&program))
    };
    let others = crate::processes::all().into_iter().filter(|(pid, _)| *pid != std::process::id());
    let named = |(pid, command)| (format!("{pid} {command}"), site_of(pid));
    others.filter(|(_, command)| is_ours(command)).map(named).collect()
}

/// The site in whose control group a process is.
fn site_of(pid: u32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let (_, rest) = groups.split_once(":/scute/")?;
    rest.split(['/', '\n']).next().map(str::to_owned)
}

fn cgroups() -> BTreeSet<String> {
    let roots = names("/sys/fs/cgroup").into_iter().map(|name| format!("/sys/fs/cgroup/{name}"));
    roots
        .chain(["/sys/fs/cgroup".to_owned()])
        .flat_map(|root| names(&root).into_iter().map(move |name| format!("{root}/{name}")))
        .filter(|path| path.contains("scute") || path.contains("kubepods"))
        .collect()
}
