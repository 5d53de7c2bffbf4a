//! VirtualMachineInstance: one guest in one Pod.

mod admission;
mod budget;
mod controller;
pub mod guest;
pub mod names;
pub mod plan;
pub mod pod;
mod probe;
pub mod report;
pub mod resources;
pub mod seeds;
pub mod seen;
pub mod storage;
pub mod validate;
mod volumes;

pub use admission::{decode, evict, judge, verdict, verdict_with};
pub use controller::run;
pub use volumes::inline_secret;
