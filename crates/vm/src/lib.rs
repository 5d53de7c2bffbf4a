//! Virtual machines: controllers, and the launcher that is PID 1 of a VM's Pod.
//!
//! In: VirtualMachine, VirtualMachineInstance, KubevirtCluster and KubevirtMachine. Out: Pods that run
//! guests, their Secrets, and Nodes with a providerID. Never: a VM outside a Pod, or a Secret's content
//! in a Pod's spec.

mod config;
pub mod launcher;
pub mod virtualmachine;
pub mod virtualmachineinstance;

pub use config::Config;
