//! Port to the VMM. In: a [`MachineConfig`], plain data. Out: a running [`Machine`]: a [`Handle`] to command it, its
//! [`Events`] and its serial port. Real QEMU over QMP ([`Qemu`]) and a fake that honours its configuration and misbehaves
//! on command ([`fake::FakeVmm`]) keep one contract. Never: Kubernetes, addresses, how a disk came to be where it is.

mod actor;
mod argv;
pub mod bootsector;
mod config;
mod control;
mod devices;
mod events;
pub mod fake;
mod handle;
mod probe;
mod process;
mod qmp;
mod vmm;

pub use config::{
    Accelerator, Bad, BadSpot, Bus, ConfigError, CpuTopology, Devices, Drive, Firmware, Kernel,
    MachineConfig, Medium, Nic, NicBackend, NicModel, Smbios,
};
pub use handle::{Events, Handle};
pub use probe::{Probe, probe};
pub use process::Qemu;
pub use vmm::{
    BootDevice, Command, ControlError, Event, Exit, ExitCause, Machine, RunState, StartError, Vmm,
};

/// Bytes of QEMU's cache of translated code under [`Accelerator::Tcg`], resident once the guest has run for a while.
pub const TCG_BUFFER_BYTES: u64 = argv::TCG_BUFFER_MIB * 1024 * 1024;
