//! Metal3Cluster: what the servers of a Cluster have in common.

mod controller;
mod plan;

pub use controller::run;
