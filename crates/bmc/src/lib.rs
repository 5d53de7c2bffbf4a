//! A Redfish service over any machine. In: a [`Machine`] (a fake in memory, or QEMU), a [`Profile`] that says which
//! vendor's habits to imitate, accounts. Out: an axum [`Router`](axum::Router) that speaks Redfish as the specification
//! has it, except where the profile or a [`Fault`] says otherwise; [`Server`] puts it behind TLS. Never: asks another BMC.

mod account;
mod answer;
mod auth;
mod bios;
mod boot;
mod faults;
mod handle;
mod machine;
mod media;
pub mod memory;
mod path;
mod profile;
mod quirks;
mod resources;
mod server;
mod service;
mod write;

pub use faults::{Fault, Rule};
pub use machine::{
    Answer, BootDevice, BootMode, Drive, Facts, Lasting, Machine, MachineError, Memory, NextBoot, Nic, Power,
    Processor, Reset,
};
pub use profile::{Ids, Profile, UnknownProfile};
pub use quirks::{CdName, Insert, MediaOn, Quirks, Slot, UnknownQuirk};
pub use server::{Identity, Server, ServerError};
pub use service::{Request, Service};
