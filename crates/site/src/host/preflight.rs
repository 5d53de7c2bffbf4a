//! Whether a site fits this machine, tried rather than guessed. In: a layout and a configuration to be.
//! Out: everything that is in the way, in words that say what to do. Never: leaves something behind.

use super::{facts, settings};
use crate::{Layout, NetworkMode, SiteConfig};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    thread::UnshareFlags,
};
use scute_processes::command::run;
use std::{fmt, fs, io, net::TcpListener, path::Path};

const GIB: u64 = 1 << 30;
/// Disk that images, etcd and one small tenant need.
const DISK: u64 = 6 * GIB;
/// Memory that the control plane and one small tenant need.
const MEMORY: u64 = 2 * GIB;
/// What the host network mode listens on, beside what the kubelet opens later.
const PORTS: [u16; 12] = [6440, 6443, 2379, 2380, 2381, 2479, 2480, 2481, 10250, 10256, 10257, 10259];

/// Something in the way of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is and what to do.
    pub text: String,
    /// Whether the site may be made in spite of it.
    pub bearable: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn fatal(text: impl Into<String>) -> Problem {
    Problem { text: text.into(), bearable: false }
}

fn warning(text: impl Into<String>) -> Problem {
    Problem { text: text.into(), bearable: true }
}

/// Whether we are root; everything else is checked only then.
pub fn root() -> Result<(), Problem> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(fatal("this needs root: it makes namespaces, mounts and network links; run it with sudo"))
}

/// Every check of the machine for a site that does not run yet.
pub fn check(layout: &Layout, config: &SiteConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(space(layout));
    problems.extend(memory());
    problems.extend(inotify());
    problems.extend(programs(config));
    problems.extend(kernel(layout));
    if config.network == NetworkMode::Host {
        problems.extend(ports());
    }
    problems
}

fn space(layout: &Layout) -> Option<Problem> {
    let (free, _) = facts::disk(&layout.dir)?;
    let text = format!(
        "{} has {:.1} GiB of free disk, a site needs {} GiB; choose another disk with --dir",
        layout.dir.display(),
        free as f64 / GIB as f64,
        DISK / GIB
    );
    (free < DISK).then(|| fatal(text))
}

fn memory() -> Option<Problem> {
    let free = facts::available_memory()?;
    let gib = free as f64 / GIB as f64;
    let text = format!("{gib:.1} GiB of memory are available, a site needs {} GiB", MEMORY / GIB);
    (free < MEMORY).then(|| fatal(text))
}

/// Says so where the limit is low and the machine does not let us raise it.
fn inotify() -> Option<Problem> {
    let now = settings::few_inotify_instances()?;
    Some(warning(format!(
        "fs.inotify.max_user_instances is {now} and cannot be raised here: about ten tenants use that up"
    )))
}

fn programs(config: &SiteConfig) -> Vec<Problem> {
    let mut needed = vec![("ip", ["-V"], "iproute2")];
    if config.masquerade {
        needed.push(("nft", ["-v"], "nftables"));
    }
    needed
        .into_iter()
        .filter(|(program, args, _)| run(program, args, None).is_err())
        .map(|(program, _, package)| {
            fatal(format!("the program {program} is missing; install the package {package}"))
        })
        .collect()
}

fn ports() -> Vec<Problem> {
    let busy = |port: &u16| {
        TcpListener::bind(("0.0.0.0", *port)).is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
    };
    let text =
        |port| fatal(format!("port {port} is taken; stop what listens on it, or use --network namespace"));
    PORTS.into_iter().filter(busy).map(text).collect()
}

/// Tries every kernel feature in namespaces of a thread that ends right after.
fn kernel(layout: &Layout) -> Vec<Problem> {
    let there = facts::existing(&layout.dir).to_owned();
    // In the site's folder: on its disk, and where `down` finds it should we be killed.
    let scratch = layout.at(".preflight");
    let trial = scratch.clone();
    let tried = std::thread::spawn(move || try_kernel(&trial)).join();
    // The thread's mounts ended with its namespace; the folders are ours, as are those that were made to hold them.
    _ = fs::remove_dir_all(&scratch);
    for made in layout.dir.ancestors().take_while(|folder| *folder != there) {
        _ = fs::remove_dir(made);
    }
    tried.unwrap_or_else(|_| vec![fatal("the check of kernel features broke off")])
}

fn try_kernel(scratch: &Path) -> Vec<Problem> {
    let missing = |what: &str, e: io::Error| fatal(format!("this kernel offers no {what} ({e})"));
    // SAFETY: this thread shares no file descriptors with others that it would lose; it ends after the check.
    if let Err(e) = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) } {
        return vec![missing("mount and network namespaces", e.into())];
    }
    let mut problems = Vec::new();
    if let Err(e) = overlay(scratch) {
        problems.push(missing("overlay file system on the site's disk", e));
    }
    // The links live in this thread's namespace, which a child of it shares.
    for (what, args) in [
        ("veth links", &["link", "add", "t0", "type", "veth", "peer", "name", "t1"][..]),
        ("bridges", &["link", "add", "t2", "type", "bridge"][..]),
    ] {
        if let Err(e) = run("ip", args, None) {
            problems.push(fatal(format!("this kernel offers no {what} ({})", scute_processes::chain(&e))));
        }
    }
    if let Err(e) = netfilter() {
        problems.push(missing("nf_tables", e));
    }
    if !Path::new("/dev/net/tun").exists() {
        problems.push(warning("there is no /dev/net/tun: VMs will have no network; try `modprobe tun`"));
    }
    problems.extend(cgroups());
    problems
}

fn overlay(scratch: &Path) -> io::Result<()> {
    let root = Path::new("/");
    rustix::mount::mount_change(
        root,
        rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC,
    )?;
    for folder in ["lower", "upper", "work", "merged"] {
        fs::create_dir_all(scratch.join(folder))?;
    }
    let of = |folder| scratch.join(folder).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", of("lower"), of("upper"), of("work"));
    let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
    let merged = scratch.join("merged");
    mount("overlay", &merged, "overlay", MountFlags::empty(), Some(options.as_c_str()))?;
    unmount(&merged, UnmountFlags::empty())?;
    Ok(())
}

/// A netlink socket of nf_tables' family; the subsystem itself answers only to its own messages.
fn netfilter() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketType, netlink, socket};
    socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER))
        .map(drop)
        .map_err(io::Error::from)
}

fn cgroups() -> Option<Problem> {
    let all = scute_processes::cgroups::hierarchies().unwrap_or_default();
    let has = |name: &str| all.iter().any(|h| h.unified || h.controllers.iter().any(|c| c == name));
    let missing: Vec<_> = ["cpu", "memory", "pids", "cpuset"].into_iter().filter(|c| !has(c)).collect();
    (!missing.is_empty()).then(|| fatal(format!("no cgroup controller {} is mounted", missing.join(", "))))
}
