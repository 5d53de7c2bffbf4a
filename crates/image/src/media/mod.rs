//! The CD of the provisioning ramdisk, and the same CD for one host: the shared file with other command lines in it.

mod make;
mod per_host;

pub use make::{Loader, MakeError, Ramdisk};
pub use per_host::{PerHostError, PerHostIso};

/// Bytes that a kernel's command line may have; Linux takes 2,047 and boot loaders add some of their own.
pub const COMMAND_LINE: usize = 2000;

/// Begins the list of places in the descriptor of the medium.
const NOTE: &str = "scute command line at";
