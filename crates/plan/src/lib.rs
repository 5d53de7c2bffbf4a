//! The capacity planner: fleet and demand to Blueprint, lint, explain.
//!
//! In: texts and objects that others read. Out: data, findings and pictures as text. Never: files, network, clock or
//! randomness of its own.

pub mod blueprint;
pub mod explain;
pub mod input;
pub mod lint;
pub mod live;
pub mod metal;
pub mod model;
pub mod pack;
pub mod planner;
pub mod render;
pub mod units;
