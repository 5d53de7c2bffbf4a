//! Which crate may depend on what. In: `cargo tree` of each crate. Out: nothing, or every broken rule
//! with the path that breaks it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::{run, say};

/// What decides by itself: no runtime, no network, no client. (A random source is no network.)
const PURE: [&str; 7] =
    ["scute-api", "scute-pki", "scute-kubeadm", "scute-plan", "scute-dhcp", "scute-image", "scute-metaldata"];
const NOT_PURE: [&str; 12] = [
    "axum",
    "etcd-client",
    "hyper",
    "hyper-util",
    "kube-client",
    "kube-runtime",
    "mio",
    "reqwest",
    "rustls",
    "socket2",
    "tokio",
    "tonic",
];
/// What runs on a machine and talks to no API server.
const TOOLS: [&str; 8] = [
    "scute-agent",
    "scute-bmc",
    "scute-bundle",
    "scute-processes",
    "scute-netlink",
    "scute-launcher",
    "scute-rack",
    "scute-vip",
];
/// Clients of an API server, and what needs one.
const NOT_TOOLS: [&str; 3] = ["kube-client", "kube-core", KIT];
/// What reaches outside, behind a narrow trait: knows no stage.
const PORTS: [&str; 3] = ["scute-etcd", "scute-qemu", "scute-redfish"];
const STAGES: [&str; 9] = [
    "scute-addons",
    "scute-bootstrap",
    "scute-cluster",
    "scute-controlplane",
    "scute-kubeadmcontrolplane",
    "scute-loadbalancer",
    "scute-metal",
    "scute-topology",
    "scute-vm",
];
/// What makes, fills and empties a management cluster: no stage, and known by none. Stages are put there as an image.
const MAKERS: [&str; 4] = ["scute-install", "scute-movement", "scute-pivot", "scute-site"];
/// The shape of every controller: knows no kind, so nothing of ours but the form of certificates and kubeconfigs.
const KIT: &str = "scute-kit";
const KIT_KNOWS: [&str; 2] = [KIT, "scute-pki"];
/// Where stages meet their providers: stands on the kit and the types, under the stages.
const CONTRACT: &str = "scute-contract";
/// One TLS, one cryptography: rustls with aws-lc-rs.
const NOWHERE: [&str; 4] = ["native-tls", "openssl", "openssl-sys", "ring"];

/// `cargo xtask layers`.
pub fn run() -> Result<()> {
    let broken = say::step("layers", || {
        let mut broken = Vec::new();
        let all = [&PURE[..], &TOOLS, &PORTS, &STAGES, &MAKERS, &[KIT, CONTRACT, "scute-podnet", "scute"]];
        for krate in all.concat() {
            broken.extend(check(krate, &Tree::of(krate)?));
        }
        Ok(broken)
    })?;
    if !broken.is_empty() {
        bail!("{} rules are broken:\n{}", broken.len(), broken.join("\n"));
    }
    Ok(())
}

/// Every rule that a crate breaks, as a line.
fn check(krate: &str, tree: &Tree) -> Vec<String> {
    let mut banned: Vec<(&str, &str)> = NOWHERE.iter().map(|name| (*name, "is banned everywhere")).collect();
    if PURE.contains(&krate) {
        banned.extend(NOT_PURE.map(|name| (name, "is not for a pure crate")));
    }
    if TOOLS.contains(&krate) {
        banned.extend(NOT_TOOLS.map(|name| (name, "is not for a tool of the machine")));
    }
    if [&PURE[..], &TOOLS, &PORTS, &[CONTRACT]].iter().any(|low| low.contains(&krate)) {
        banned.extend(STAGES.map(|name| (name, "is a stage")));
        banned.extend(MAKERS.map(|name| (name, "makes and fills a management cluster")));
    }
    if MAKERS.contains(&krate) {
        banned.extend(STAGES.map(|name| (name, "is a stage")));
        banned.push((KIT, "is for controllers"));
    }
    if krate == "scute-install" {
        banned.push(("scute-site", "makes namespaces, which the manager must not know"));
    }
    if [&PURE[..], &TOOLS, &PORTS, &MAKERS].iter().any(|other| other.contains(&krate)) {
        banned.push((CONTRACT, "is for stages"));
    }
    if STAGES.contains(&krate) {
        banned.extend(MAKERS.map(|name| (name, "makes the cluster that a stage runs in")));
        // Stages meet in the API server only.
        banned.extend(STAGES.iter().filter(|name| **name != krate).map(|name| (*name, "is another stage")));
    }
    let mut broken: Vec<String> =
        banned.iter().filter_map(|(name, why)| Some(line(name, why, &tree.path_to(name)?))).collect();
    if krate == KIT {
        let ours = tree.names().filter(|name| name.starts_with("scute-") && !KIT_KNOWS.contains(name));
        broken.extend(ours.filter_map(|name| {
            Some(line(name, "is a room; kit knows none but scute-pki", &tree.path_to(name)?))
        }));
    }
    broken
}

fn line(name: &str, why: &str, path: &[String]) -> String {
    format!("  {name} {why}: {}", path.join(" -> "))
}

/// A crate's normal dependencies, as `cargo tree --prefix depth` prints them.
struct Tree {
    /// First path from the root to each crate.
    paths: BTreeMap<String, Vec<String>>,
}

impl Tree {
    fn of(krate: &str) -> Result<Self> {
        let args = ["tree", "--package", krate, "--edges", "normal", "--prefix", "depth", "--format", " {p}"];
        Ok(Self::parse(&run::output(run::cargo().args(args).args(["--target", "x86_64-unknown-linux-gnu"]))?))
    }

    /// Lines of `DEPTH NAME VERSION …`, parents before children.
    fn parse(text: &str) -> Self {
        let mut paths = BTreeMap::new();
        let mut path: Vec<String> = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(Ok(depth)), Some(name)) = (words.next().map(str::parse::<usize>), words.next()) else {
                continue;
            };
            path.truncate(depth);
            path.push(name.to_string());
            paths.entry(name.to_string()).or_insert_with(|| path.clone());
        }
        Tree { paths }
    }

    fn path_to(&self, name: &str) -> Option<Vec<String>> {
        self.paths.get(name).cloned()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.paths.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_rule_names_the_path() {
        let tree = Tree::parse("0 scute-plan v0.1.0\n1 serde v1\n1 helper v2\n2 tokio v1 (*)\n");
        assert_eq!(
            check("scute-plan", &tree),
            ["  tokio is not for a pure crate: scute-plan -> helper -> tokio"],
        );
        assert!(
            check("scute-vm", &Tree::parse("0 scute-vm v0.1.0\n1 tokio v1\n1 scute-kit v0.1.0\n")).is_empty()
        );
    }

    #[test]
    fn ports_know_no_stage_stages_no_other_and_the_kit_nobody() {
        let broken = |krate: &str, dependency: &str| {
            !check(krate, &Tree::parse(&format!("0 {krate} v0\n1 {dependency} v0\n"))).is_empty()
        };
        assert!(broken("scute-etcd", "scute-vm"));
        assert!(!broken("scute-etcd", "tokio"));
        assert!(broken("scute-cluster", "scute-vm"));
        assert!(broken("scute-kit", "scute-api"));
        assert!(broken("scute-kit", "scute-contract"));
        assert!(broken("scute-contract", "scute-cluster"));
        assert!(broken("scute-etcd", "scute-contract"));
        assert!(!broken("scute-contract", "scute-kit"));
        assert!(!broken("scute-cluster", "scute-contract"));
        assert!(!broken("scute-kit", "kube-client"));
        assert!(broken("scute-processes", "kube-client") && broken("scute-processes", "scute-site"));
        assert!(broken("scute-install", "scute-site") && broken("scute-loadbalancer", "scute-install"));
        assert!(!broken("scute-processes", "tokio"));
        assert!(broken("scute-launcher", "kube-client"));
        assert!(broken("scute-launcher", "scute-vm"));
        assert!(!broken("scute-launcher", "scute-qemu"));
        assert!(broken("scute", "ring"));
        assert!(broken("scute-api", "reqwest"));
    }
}
