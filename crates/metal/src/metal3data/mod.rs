//! Metal3Data: what one server is told, as Secrets that are rendered once.

mod apply;
mod controller;
mod observe;
mod plan;

pub use controller::run;
