//! The machine around a site: its network, and a check that the site fits.

pub mod egress;
pub mod facts;
pub mod lock;
pub mod network;
pub mod portmap;
pub mod preflight;
pub mod settings;
pub mod systemd;
