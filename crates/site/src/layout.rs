//! Where a site keeps its files. In: a validated site name and its state folder. Out: paths. Never: touches a disk.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Folder that has one entry per site: its state folder, or a link to it when `--dir` chose another place.
pub const SITES: &str = "/var/lib/scute";
/// Every entry that a site makes in its folder. `down` removes these and nothing else, the last one last: as long as it
/// is there, the folder is known for a site's.
pub const ENTRIES: [&str; 22] = [
    ".preflight",
    ".rack",
    "accelerator.json",
    "admin.kubeconfig",
    "bin",
    "bundle-checked.json",
    "bundle.json",
    "cni",
    "containerd",
    "containerd.toml",
    "etcd",
    "etcd-tenants",
    "images.json",
    "kubelet",
    "kubelet-plugins",
    "kubernetes",
    "kvm-spec.json",
    "lib",
    "log",
    "pki",
    "rack",
    "site.json",
];
/// Folder with the sockets and locks of running sites.
pub const RUN: &str = "/run/scute";

/// The name of a site: a DNS label of at most 24 characters, because it also names the Node, a network namespace and
/// cgroups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteName(String);

/// Why a text is not a site name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} cannot name a site: use 1 to 24 lower case letters, digits and '-', starting with a letter")]
pub struct BadName(String);

impl SiteName {
    /// Checks the rules of the name.
    pub fn new(name: &str) -> Result<Self, BadName> {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let ok = (1..=24).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-')
            && name.chars().all(label);
        if ok { Ok(Self(name.to_owned())) } else { Err(BadName(name.to_owned())) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The only site of most machines.
impl Default for SiteName {
    fn default() -> Self {
        Self("scute".to_owned())
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All paths of one site.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The site.
    pub name: SiteName,
    /// The state folder.
    pub dir: PathBuf,
    /// The folder of sockets and locks, gone after a reboot.
    pub run: PathBuf,
}

impl Layout {
    /// Paths for a site whose state lives in `dir`.
    pub fn new(name: SiteName, dir: PathBuf) -> Self {
        let run = Path::new(RUN).join(name.as_str());
        Self { name, dir, run }
    }

    /// The default state folder of a site, which for another `--dir` is a link to it.
    pub fn entry(name: &SiteName) -> PathBuf {
        Path::new(SITES).join(name.as_str())
    }

    /// A path below the state folder.
    pub fn at(&self, below: &str) -> PathBuf {
        self.dir.join(below)
    }

    /// What the site was made with ([`crate::SiteConfig`]).
    pub fn config(&self) -> PathBuf {
        self.at("site.json")
    }

    /// The index of the bundle that the site was made from: with it, only what is missing needs the bundle.
    pub fn bundle_index(&self) -> PathBuf {
        self.at("bundle.json")
    }

    /// Kubeconfig of the administrator.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.at("admin.kubeconfig")
    }

    /// An executable that was copied from the bundle.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// A file of the PKI.
    pub fn pki(&self, file: &str) -> PathBuf {
        self.dir.join("pki").join(file)
    }

    /// Log file of a component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.dir.join("log").join(format!("{component}.log"))
    }

    /// Socket on which the site's init tells events and state.
    pub fn control_socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }

    /// Locked by the supervisor while it lives.
    pub fn lock(&self) -> PathBuf {
        self.run.join("supervisor.lock")
    }

    /// Static Pods. On the private tmpfs of a running site, so that a fresh start decides their order anew.
    pub fn manifests(&self) -> PathBuf {
        Path::new("/run/scute-node/manifests").to_path_buf()
    }

    /// containerd's socket, as seen inside the site.
    pub fn containerd_socket(&self) -> PathBuf {
        Path::new("/run/containerd/containerd.sock").to_path_buf()
    }

    /// Name of the network namespace, as `ip netns` lists it.
    pub fn netns(&self) -> String {
        format!("scute-{}", self.name)
    }

    /// Name of the systemd unit.
    pub fn unit(&self) -> String {
        format!("scute-{}.service", self.name)
    }

    /// Parent of all the site's cgroups, below the root of each hierarchy.
    pub fn cgroup(&self) -> String {
        format!("scute/{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_node_or_a_path_are_refused() {
        for bad in ["", "-a", "a-", "A", "1a", "a/b", "..", "a_b", "aaaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(SiteName::new(bad), Err(BadName(bad.to_owned())), "{bad}");
        }
        for good in ["scute", "a", "lab-2"] {
            assert_eq!(SiteName::new(good).map(|n| n.to_string()), Ok(good.to_owned()));
        }
    }
}
