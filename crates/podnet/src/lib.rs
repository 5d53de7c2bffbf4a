//! In: the Nodes of a tenant cluster, seen from one of them. Out: this Node's CNI configuration, routes to the Pods of
//! all Nodes on the same network segment, an overlay to those elsewhere, and masquerading of what leaves the cluster.
//! Never: touches a route, rule or device that is not its own, encrypts, enforces policy.

mod agent;
mod conflist;
mod manifests;
mod nodes;
mod overlay;
mod plan;
mod tunnels;

pub use agent::{Config, Error, Kernel, TABLE, run, run_with};
pub use conflist::conflist;
pub use manifests::manifests;
pub use nodes::{NodeFacts, facts};
pub use overlay::{DEVICES, Overlay, PORT, Peer, VNI, mtu};
pub use plan::{Change, PROTOCOL, Unreachable, Wanted, routes, rules, wanted};
pub use tunnels::TunnelError;
