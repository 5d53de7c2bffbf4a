//! Everything as it is installed, on a bare API server: two versions of a kind, and what clusterctl says of it.

mod clusterctl;
mod core;
mod cost;
mod metal3;
mod moves;
mod world;
