//! Disk images, what they are called and what is put onto them. In: files, folders and texts. Out: bytes in formats that firmware, kernels,
//! QEMU and cloud-init read. Never: a process, a mount, a loop device, the network.

pub mod cpio;
pub mod fat;
pub mod gpt;
pub mod iso;
pub mod mbr;
pub mod media;
pub mod oci;
pub mod qcow2;
pub mod seed;
pub mod uki;
