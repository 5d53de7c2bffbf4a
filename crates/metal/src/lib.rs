//! Bare-metal servers.
//!
//! In: BareMetalHost and what belongs to it. Out: what is wrong with them, told at the door; no controller yet. Never: the
//! content of a Secret in a message.

mod admission;

pub use admission::admission;
