//! The Kubernetes images under upstream's names: one layer with the multi-call binary, shared.

use anyhow::{Context, Result};

use super::{Inputs, Made, debian, pack};
use crate::oci::{Config, Image, Layer};
use crate::workspace::{self, COREDNS, ETCD};

const REGISTRY: &str = "registry.k8s.io";
/// Programs of the multi-call binary; those with an image of their own come first.
const IMAGES: [&str; 5] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd"];
const OTHERS: [&str; 3] = ["kubeadm", "kubectl", "kubelet"];

const NFT: &str = "/usr/sbin/nft";
/// It goes by the name that it is called by.
const IPTABLES: &str = "/usr/sbin/xtables-nft-multi";
const PLUGINS: &str = "/usr/lib/x86_64-linux-gnu/xtables";

/// All images of the default Kubernetes version, and etcd.
pub fn make(inputs: &Inputs) -> Result<Made> {
    let version = workspace::kubernetes();
    let base = debian::base()?;
    let mut kube = Layer::new().file("usr/local/bin/kube", &inputs.built.kube)?;
    for name in IMAGES.iter().chain(&OTHERS) {
        kube = kube.link(&format!("usr/local/bin/{name}"), "kube");
    }
    // The others call nothing.
    let rules = firewall()?;
    let images = IMAGES.map(|name| {
        let tag = if name == "etcd" { ETCD } else { version };
        let mut layers = vec![&base, &kube];
        if name == "kube-proxy" {
            layers.insert(1, &rules);
        }
        Image {
            name: format!("{REGISTRY}/{name}:{tag}"),
            layers,
            config: starts(&format!("/usr/local/bin/{name}")),
        }
    });
    pack(&inputs.cache, "kubernetes", version, &images)
}

/// What kube-proxy writes its rules with: nft where we choose its mode, iptables where kubeadm does.
fn firewall() -> Result<Layer> {
    let mut plugins = Vec::new();
    for plugin in std::fs::read_dir(PLUGINS).with_context(|| format!("{PLUGINS} is missing"))? {
        plugins.push(plugin?.path().display().to_string());
    }
    plugins.sort();
    let mut programs = vec![NFT, IPTABLES];
    programs.extend(plugins.iter().map(String::as_str));
    let layer = debian::programs(&programs)?;
    let names =
        ["iptables", "ip6tables"].map(|name| ["", "-save", "-restore"].map(|end| format!("{name}{end}")));
    let target = IPTABLES.rsplit('/').next().unwrap_or(IPTABLES);
    Ok(names.concat().iter().fold(layer, |layer, name| layer.link(&format!("usr/sbin/{name}"), target)))
}

/// CoreDNS. It runs as root with the one capability that its manifest grants: without file
/// capabilities another user could not listen on port 53 on every container runtime.
pub fn coredns(inputs: &Inputs) -> Result<Made> {
    let base = debian::base()?;
    let binary = Layer::new().file("coredns", &inputs.built.coredns)?;
    let image = Image {
        name: format!("{REGISTRY}/coredns/coredns:{COREDNS}"),
        layers: vec![&base, &binary],
        config: starts("/coredns"),
    };
    pack(&inputs.cache, "coredns", COREDNS, &[image])
}

fn starts(program: &str) -> Config {
    Config { entrypoint: vec![program.into()], user: String::new() }
}
