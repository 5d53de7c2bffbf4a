//! Metal3DataTemplate: which Metal3DataClaim gets which of its renderings.

mod apply;
mod claims;
mod controller;
mod plan;

pub use controller::run;
