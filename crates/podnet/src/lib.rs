//! In: the Nodes of a tenant cluster, seen from one of them. Out: this Node's CNI configuration, and routes to the Pods
//! of all Nodes on the same network segment. Never: touches a route that is not its own, tunnels, enforces policy.

mod agent;
mod conflist;
mod manifests;
pub mod netlink;
mod nodes;
mod plan;

pub use agent::{Config, Error, run, run_with};
pub use conflist::conflist;
pub use manifests::manifests;
pub use nodes::{NodeFacts, facts};
pub use plan::{Change, OffSegment, Wanted, routes, wanted};
