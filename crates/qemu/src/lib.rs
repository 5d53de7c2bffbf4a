//! Port to the VMM. In: a [`MachineConfig`], plain data. Out: a running [`Machine`], its events and its end.
//! Real QEMU over QMP ([`Qemu`]) and a fake that misbehaves on command ([`fake::FakeVmm`]) keep one contract.
//! Never: Kubernetes, addresses, how a disk came to be where it is.

mod argv;
pub mod bootsector;
mod config;
mod events;
pub mod fake;
mod probe;
mod process;
mod qmp;
mod vmm;

pub use config::{
    Accelerator, Bus, CpuTopology, Drive, DriveImage, Firmware, Identity, Kernel, MachineConfig, Nic,
    NicModel,
};
pub use probe::{Probe, probe};
pub use process::{Qemu, QemuMachine};
pub use vmm::{Command, ControlError, Event, Exit, ExitCause, Machine, RunState, StartError, Vmm};

/// Bytes of QEMU's cache of translated code under [`Accelerator::Tcg`], resident once the guest has run for a while.
pub const TCG_BUFFER_BYTES: u64 = argv::TCG_BUFFER_MIB * 1024 * 1024;
