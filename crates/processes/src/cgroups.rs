//! The site's cgroups, in both versions. In: the parent's name. Out: cgroups made, emptied, removed.
//! Never: touches a cgroup outside of the parent.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// A mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub root: PathBuf,
    /// Whether it is the one of version 2.
    pub unified: bool,
    /// Controllers of version 1 (`cpu,cpuacct`), or empty.
    pub controllers: Vec<String>,
}

/// Every hierarchy that is mounted at its root.
pub fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?))
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut all: Vec<Hierarchy> = mountinfo.lines().filter_map(hierarchy).collect();
    all.dedup();
    all
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mount, fs) = line.split_once(" - ")?;
    let mount: Vec<_> = mount.split(' ').collect();
    let fs: Vec<_> = fs.split(' ').collect();
    let (root_of_mount, root) = (*mount.get(3)?, PathBuf::from(mount.get(4)?));
    let unified = *fs.first()? == "cgroup2";
    if root_of_mount != "/" || !(unified || *fs.first()? == "cgroup") {
        return None;
    }
    let options = fs.get(2)?.split(',');
    let controllers = options.filter(|o| !matches!(*o, "rw" | "ro" | "relatime" | "noatime" | "xattr"));
    let controllers = if unified { Vec::new() } else { controllers.map(str::to_owned).collect() };
    Some(Hierarchy { root, unified, controllers })
}

/// Makes `parent` in every hierarchy, with a weight that suits a whole machine, and a leaf for `pid`'s processes.
///
/// One group competes with every single process outside of it, so a weight of the default would starve the site.
pub fn create(parent: &str, pid: u32) -> io::Result<()> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    for hierarchy in hierarchies()? {
        let top = parent.split('/').next().unwrap_or(parent);
        let leaf = hierarchy.root.join(parent).join("supervisor");
        fs::create_dir_all(&leaf)?;
        for group in [top, parent] {
            let group = hierarchy.root.join(group);
            if hierarchy.unified {
                delegate(&group)?;
                // Not every kernel has the controller enabled here; without it there is nothing to weigh.
                _ = fs::write(group.join("cpu.weight"), (100 * cpus * 4).clamp(100, 10_000).to_string());
            } else if hierarchy.controllers.iter().any(|c| c == "cpu") {
                fs::write(group.join("cpu.shares"), (1024 * cpus * 4).min(262_144).to_string())?;
            }
        }
        // A cpuset of version 1 takes no process before its cpus are set, which the kubelet does for its own.
        if !hierarchy.controllers.iter().any(|c| c == "cpuset") {
            fs::write(leaf.join("cgroup.procs"), pid.to_string())?;
        }
    }
    Ok(())
}

/// Enables all controllers for the children of a version 2 group.
fn delegate(group: &Path) -> io::Result<()> {
    let parent = group.parent().unwrap_or(group);
    for at in [parent, group] {
        let available = fs::read_to_string(at.join("cgroup.controllers"))?;
        for controller in available.split_whitespace() {
            // A group that holds processes refuses; then the controller is simply not used below it.
            _ = fs::write(at.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Ok(())
}

/// Kills every process in `parent` and below, then removes the groups. Nothing there is fine.
pub fn remove(parent: &str, patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience;
    for hierarchy in hierarchies()? {
        let group = hierarchy.root.join(parent);
        loop {
            for pid in processes(&group) {
                // It may be gone already.
                _ = kill_process(pid, Signal::KILL);
            }
            match remove_groups(&group) {
                Ok(()) => break,
                // No file tells when a dying process has left a group of version 1.
                Err(e) if Instant::now() > until => return Err(e),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
        if let Some(top) = group.parent().filter(|top| *top != hierarchy.root) {
            // Stays while another site lives in it.
            _ = fs::remove_dir(top);
        }
    }
    Ok(())
}

/// Every process in a group and below.
pub fn processes(group: &Path) -> Vec<Pid> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<_> =
        own.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw).collect();
    for below in folders(group) {
        pids.extend(processes(&below));
    }
    pids
}

/// Bytes of memory that the site's processes use, where the kernel counts them.
pub fn memory(parent: &str) -> Option<u64> {
    hierarchies().ok()?.iter().find_map(|h| {
        let file = if h.unified { "memory.current" } else { "memory.usage_in_bytes" };
        fs::read_to_string(h.root.join(parent).join(file)).ok()?.trim().parse().ok()
    })
}

fn folders(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn remove_groups(group: &Path) -> io::Result<()> {
    for below in folders(group) {
        remove_groups(&below)?;
    }
    match fs::remove_dir(group) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_and_bind_mounts_are_not() {
        let text = "\
31 30 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
32 31 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
33 31 0:29 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
34 31 0:30 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].controllers, ["cpu", "cpuacct"]);
        assert!(found[1].unified && found[1].root == Path::new("/sys/fs/cgroup/unified"));
    }
}
