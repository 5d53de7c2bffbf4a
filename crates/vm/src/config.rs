//! What the controllers of this room are told at start.

use ipnet::IpNet;

use crate::launcher::spec::Accelerator;

/// Settings of the VM controllers.
#[derive(Clone, Debug)]
pub struct Config {
    /// Image of the launcher.
    pub launcher_image: String,
    /// What runs the guests' instructions.
    pub accelerator: Accelerator,
    /// RuntimeClass of launcher Pods. With KVM and no device plugin, one whose runtime lets containers
    /// open `/dev/kvm`.
    pub runtime_class: Option<String>,
    /// With KVM: resource of a device plugin that brings `/dev/kvm`, for example
    /// `devices.kubevirt.io/kvm`. Without it the device is a hostPath volume.
    pub kvm_resource: Option<String>,
    /// Pod ranges of the management cluster, which no tenant with VM Nodes may use: its guests have
    /// addresses from them. The Pod ranges of its Nodes are known without being listed.
    pub pod_ranges: Vec<IpNet>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            launcher_image: concat!("scute.dev/launcher:", env!("CARGO_PKG_VERSION")).to_owned(),
            accelerator: Accelerator::Tcg,
            runtime_class: None,
            kvm_resource: None,
            pod_ranges: Vec::new(),
        }
    }
}
