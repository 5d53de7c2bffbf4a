//! The Kubernetes images under upstream's names: one layer with the multi-call binary, shared.

use anyhow::Result;

use super::{Inputs, Made, debian, pack};
use crate::oci::{Config, Image, Layer};
use crate::workspace::{self, COREDNS, ETCD};

const REGISTRY: &str = "registry.k8s.io";
/// Programs of the multi-call binary; those with an image of their own come first.
const IMAGES: [&str; 5] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd"];
const OTHERS: [&str; 3] = ["kubeadm", "kubectl", "kubelet"];

/// All images of the default Kubernetes version, and etcd.
pub fn make(inputs: &Inputs) -> Result<Made> {
    let version = workspace::kubernetes();
    let base = debian::base()?;
    let mut kube = Layer::new().file("usr/local/bin/kube", &inputs.built.kube)?;
    for name in IMAGES.iter().chain(&OTHERS) {
        kube = kube.link(&format!("usr/local/bin/{name}"), "kube");
    }
    // kube-proxy writes its rules with this program; the others call nothing.
    let nft = debian::programs(&["/usr/sbin/nft"])?;
    let images = IMAGES.map(|name| {
        let tag = if name == "etcd" { ETCD } else { version };
        let mut layers = vec![&base, &kube];
        if name == "kube-proxy" {
            layers.insert(1, &nft);
        }
        Image {
            name: format!("{REGISTRY}/{name}:{tag}"),
            layers,
            config: starts(&format!("/usr/local/bin/{name}")),
        }
    });
    pack(&inputs.cache, "kubernetes", version, &images)
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
