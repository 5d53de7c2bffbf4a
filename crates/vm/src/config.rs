//! What the controllers of this room are told at start.

use ipnet::IpNet;
use scute_qemu::Accelerator;

/// Settings of the VM controllers.
#[derive(Clone, Debug)]
pub struct Config {
    /// Image of the launcher.
    pub launcher_image: String,
    /// What runs the guests' instructions.
    pub accelerator: Accelerator,
    /// RuntimeClass of launcher Pods. With KVM, one whose runtime brings `/dev/kvm` into its containers.
    pub runtime_class: Option<String>,
    /// Pod ranges of the management cluster, which no tenant with VM Nodes may use: its guests have
    /// addresses from them. The Pod ranges of its Nodes are known without being listed.
    pub pod_ranges: Vec<IpNet>,
    /// Service ranges of the management cluster, which such tenants may not use either. Those that it has as ServiceCIDRs
    /// are known without being listed.
    pub service_ranges: Vec<IpNet>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            launcher_image: concat!("scute.dev/launcher:", env!("CARGO_PKG_VERSION")).to_owned(),
            accelerator: Accelerator::Tcg,
            runtime_class: None,
            pod_ranges: Vec::new(),
            service_ranges: Vec::new(),
        }
    }
}
