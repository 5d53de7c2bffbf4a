//! Two versions of a kind, by the webhook of a manager that is not the leader.

mod clusterctl;
mod core;
mod cost;
mod metal3;
mod world;
