//! The machine around a site: its network, its cgroups, and a check that the site fits.

pub mod cgroups;
pub mod command;
pub mod facts;
pub mod network;
pub mod preflight;
pub mod settings;
pub mod systemd;
