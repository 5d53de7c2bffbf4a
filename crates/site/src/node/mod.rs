//! Inside a site: what its init (process 1 of the site's namespaces) mounts, starts and keeps alive.

pub mod accelerator;
mod accept;
pub mod bringup;
pub mod cni;
pub mod containerd;
pub mod control;
pub mod etcd;
pub mod facts;
pub mod gate;
pub mod images;
pub mod init;
pub mod kubelet;
pub mod mounts;
pub mod pki;
pub mod proxy;
pub mod static_pods;
