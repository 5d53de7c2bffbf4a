//! The embedded management cluster of one machine. In: a bundle and a few choices. Out: a running Kubernetes with the
//! manager on it, its state, and its removal without a trace. Never: knows what a tenant is.

pub mod addresses;
pub mod config;
mod down;
mod host;
mod layout;
mod node;
pub mod progress;
mod rack;
mod status;
mod supervisor;
mod up;

pub use config::{NetworkMode, SiteConfig};
pub use down::{DownError, DownOptions, down, plan_down};
pub use layout::{BadName, Layout, SiteName};
pub use progress::{Progress, Terminal};
pub use rack::{RackError, RackPlace};
pub use status::{Component, Disk, Pool, Status, StatusError, StatusOptions, status};
pub use supervisor::{SuperviseError, init, log, supervise};
pub use up::{UpError, UpOptions, UpReport, up};

/// The version of this binary, its images and its bundle.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
