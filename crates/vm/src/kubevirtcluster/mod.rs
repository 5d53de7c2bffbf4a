//! KubevirtCluster: what the VMs of a Cluster have in common.

mod controller;
pub mod plan;
pub mod ssh_keys;

pub use controller::run;
