//! Bare-metal servers.
//!
//! In: BareMetalHost, Metal3Machine, IPPool and what belongs to them. Out: what is wrong with them, told at the door; no controller yet. Never: the
//! content of a Secret in a message.

mod admission;

pub use admission::admission;
