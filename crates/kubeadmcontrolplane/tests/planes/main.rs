//! Control planes on Machines, on a real API server, with a second one as the tenant.

mod begins;
mod faults;
mod scales;
#[path = "../world/mod.rs"]
mod world;
