//! Virtual bare-metal servers. In: a folder with a configuration for each host, QEMU, an address and a bridge. Out: QEMU
//! machines, each behind a Redfish service of its own, their serial logs, and a socket to command them. Never: knows what
//! boots on them, or an API server.

pub mod config;
pub mod control;
pub mod fault;
mod folder;
mod host;
pub mod rack;

pub use config::{Disk, Firmware, HostConfig, HostError, Nic, Shape};
pub use folder::{FolderError, HostFolder};
pub use host::{Host, MountError, Mounted, Serial, Status};
pub use rack::{Network, Place, Programs, Rack, RackError};
