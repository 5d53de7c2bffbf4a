//! Virtual machines: controllers, and the launcher that is PID 1 of a VM's Pod.

pub mod launcher;
