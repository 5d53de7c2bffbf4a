//! Init of the provisioning ramdisk. In: the kernel's command line, and [`protocol::Work`] that it asks the metal room for.
//! Out: an [`protocol::Inventory`], cleaned disks, a written image, a boot entry. Never: a Kubernetes client, a decision of
//! its own about what happens to a disk.

pub mod protocol;
