//! PID 1 of a VM's Pod: prepares the Pod's network, then runs one guest and reports how it ended.

pub mod spec;

pub use spec::LauncherSpec;
