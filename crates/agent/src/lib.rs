//! Init of the provisioning ramdisk. In: the kernel's command line, and [`protocol::Work`] that it asks the metal room for.
//! Out: an [`protocol::Inventory`], cleaned disks, a written image, a boot entry. Never: a Kubernetes client, a decision of
//! its own about what happens to a disk.

#![allow(dead_code, reason = "what writes images comes next")]

mod http;
mod init;
mod inventory;
mod network;
pub mod protocol;
mod service;
mod work;

use std::process::ExitCode;

pub use init::is_init;

/// `scute agent`: as process 1 of a ramdisk it does not return.
pub fn main() -> ExitCode {
    if std::process::id() == 1 { init::run() } else { init::agent() }
}
