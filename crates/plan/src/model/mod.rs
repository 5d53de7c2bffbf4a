//! The arithmetic of capacity: what a host really gives, what a VM really takes, how large control planes are.
//!
//! Every constant names its source; the same numbers are in `docs/planner.md` and pinned by tests.

pub mod controlplane;
pub mod kubevirt;
pub mod nodes;
pub mod reserve;
