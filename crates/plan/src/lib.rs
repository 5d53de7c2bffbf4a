//! The capacity planner: fleet and demand to Blueprint, lint, explain. Pure.

pub mod input;
pub mod model;
pub mod pack;
pub mod units;
