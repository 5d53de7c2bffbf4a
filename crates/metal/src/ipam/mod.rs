//! Addresses from pools. In: IPPools, and IPClaims that ask for an address of one. Out: an IPAddress for each claim, or in its
//! status why there is none. Never: an address twice.

mod apply;
mod claims;
mod clash;
mod controller;
mod ledger;
mod plan;

pub use clash::clashes;
pub use controller::run;
