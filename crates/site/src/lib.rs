//! The embedded management cluster of one machine. In: a bundle and a few choices. Out: a running Kubernetes with the
//! manager on it, its state, and its removal without a trace; for the manager: its configuration and addresses for
//! LoadBalancer Services. Never: knows what a tenant is.

pub mod addresses;
pub mod bundle;
pub mod config;
mod down;
mod files;
mod host;
pub mod install;
mod layout;
pub mod loadbalancer;
mod node;
pub mod progress;
mod status;
mod supervisor;
mod up;

pub use config::{NetworkMode, SiteConfig};
pub use down::{DownError, DownOptions, down, plan_down};
pub use layout::{BadName, Layout, SiteName};
pub use progress::{Progress, Terminal};
pub use status::{Component, Disk, Pool, Status, StatusError, StatusOptions, status};
pub use supervisor::{SuperviseError, init, supervise};
pub use up::{UpError, UpOptions, UpReport, up};

/// The version of this binary, its images and its bundle.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Handler and RuntimeClass of containers that may use KVM.
pub const KVM_RUNTIME: &str = "scute-kvm";

/// An error and its causes in one line, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
