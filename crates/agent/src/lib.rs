//! Init of the provisioning ramdisk. In: the kernel's command line, and [`protocol::Work`] that it asks the metal room for.
//! Out: an [`protocol::Inventory`], cleaned disks, a written image, a boot entry. Never: a Kubernetes client, a decision of
//! its own about what happens to a disk.

mod disk;
pub mod http;
mod init;
mod inventory;
mod network;
mod oci;
pub mod protocol;
mod service;
mod tasks;
mod work;
mod write;

use std::path::Path;
use std::process::ExitCode;

pub use init::is_ramdisk;
pub use service::ServiceError;
pub use work::End;

/// Does what the metal room wants on a machine whose `sys`, `proc` and `dev` lie below a folder: a copy, with files for
/// disks. How the machine would end then is the caller's to say.
pub async fn rehearse(parameters: &protocol::Parameters, root: &Path) -> Result<End, ServiceError> {
    work::run(parameters, &inventory::Machine::copied(root)).await
}

/// `scute agent`: as process 1 of a ramdisk it does not return.
pub fn main() -> ExitCode {
    if std::process::id() == 1 { init::run() } else { init::agent() }
}
