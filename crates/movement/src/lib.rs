//! Moves clusters and hosts from one management cluster to another, with their status.
//!
//! In: a client of either side, a namespace, a [`Scope`]. Out: the same objects at the target, none at the source. What is
//! known of a move is on the objects themselves (`docs/adr/0025`): whoever runs it again goes on where it ended. Never: lets
//! both sides act on an object, asks a BMC for anything, prints a Secret.

mod compare;
mod door;
mod kinds;
mod marks;
mod object;
mod observe;
mod plan;
mod remote;
mod run;
mod select;
mod write;

pub use door::stays;
pub use kinds::{Kind, kinds};
pub use marks::{COPIED_FROM, MOVE, MOVED_FROM, PAUSE};
pub use object::{Key, Object};
pub use observe::Observed;
pub use plan::{Item, Plan, plan};
pub use remote::{MoveError, Side};
pub use run::{Movement, Outcome};
pub use select::Scope;
