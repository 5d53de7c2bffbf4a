//! Metal3Machine: the server of a Machine, from its choice to its Node, and back.

mod apply;
mod choose;
mod controller;
mod node;
mod observe;
mod plan;
mod render;
mod report;

pub use controller::run;
pub use observe::CONSUMER;
pub use render::is_consumer;
