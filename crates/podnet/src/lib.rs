//! In: the Nodes of a tenant cluster, seen from one of them. Out: this Node's CNI configuration, routes to the Pods of
//! all Nodes on the same network segment, and masquerading of what leaves the cluster. Never: touches a route or rule
//! that is not its own, tunnels, enforces policy.

mod agent;
mod conflist;
mod manifests;
mod nodes;
mod plan;

pub use agent::{Config, Error, Kernel, TABLE, run, run_with};
pub use conflist::conflist;
pub use manifests::manifests;
pub use nodes::{NodeFacts, facts};
pub use plan::{Change, OffSegment, PROTOCOL, Wanted, masquerades, routes, wanted};
