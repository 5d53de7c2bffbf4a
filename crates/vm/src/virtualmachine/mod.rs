//! VirtualMachine: keeps a VMI, or none, as its run strategy asks.

mod admission;
mod controller;
pub mod plan;
pub mod report;

pub use admission::judge;
pub use controller::{instance, run};
