//! KubevirtMachine: the VM of a Machine, from its bootstrap data to its Node.

mod admission;
mod apply;
mod controller;
mod observe;
pub mod plan;
pub mod render;
pub mod report;
mod ssh;
pub mod template;
pub mod userdata;

pub use admission::{judge, judge_template};
pub use controller::run;
