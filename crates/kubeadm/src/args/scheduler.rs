//! kube-scheduler's command line.

use super::{Arguments, Flags};

/// What kube-scheduler's command line is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduler<'a> {
    /// Its kubeconfig file.
    pub kubeconfig: &'a str,
    /// Address of its probes: `0.0.0.0` where the kubelet probes a Pod's address, `127.0.0.1` on a host.
    pub bind_address: &'a str,
    /// Flags beside upstream's; the user's of the same name win.
    pub defaults: &'a [(&'static str, String)],
    /// The user's additional arguments.
    pub extra_args: &'a [String],
}

impl Scheduler<'_> {
    /// The five flags are managed: they win over the user's (Kamaji's rule).
    pub fn arguments(&self) -> Arguments {
        Flags::default()
            .managed("authentication-kubeconfig", self.kubeconfig)
            .managed("authorization-kubeconfig", self.kubeconfig)
            .managed("bind-address", self.bind_address)
            .managed("kubeconfig", self.kubeconfig)
            .managed("leader-elect", true)
            .softly(self.defaults)
            .merge(self.extra_args)
    }
}
