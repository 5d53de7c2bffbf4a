//! Two versions of a kind, by the webhook of a manager that is not the leader.

mod clusterctl;
mod core;
mod metal3;
mod world;
