//! Metal3Remediation: a server whose Node is not well is powered off and on; a Machine that this does not help is given up.

mod apply;
mod controller;
mod observe;
mod plan;
mod tenant;

pub use controller::run;
