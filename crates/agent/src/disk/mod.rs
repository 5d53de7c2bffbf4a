//! Disks: which one, what is on them, and nothing on them any more.

mod block;
mod clean;
mod hints;
mod signature;

pub use block::Block;
pub use clean::clean;
pub use hints::choose;
