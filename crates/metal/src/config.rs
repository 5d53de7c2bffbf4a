//! What the room is told at start.

use std::path::PathBuf;

use scute_kit::Key;
use scute_redfish::{Patience as BmcPatience, Trust};

use crate::baremetalhost::seen::Patience;

/// Settings of the metal controllers.
#[derive(Clone)]
pub struct Config {
    /// Name or address under which servers and their BMCs reach the manager.
    pub address: String,
    /// Port of the agents, by TLS.
    pub service_port: u16,
    /// Port of the media, without TLS.
    pub media_port: u16,
    /// The ISO of the ramdisk.
    pub ramdisk: PathBuf,
    /// The Secret with the authority that agents trust.
    pub identity: Key,
    /// Mark of our sessions on BMCs: that of the installation.
    pub owner: String,
    /// Which BMCs' certificates are taken where a host says nothing else.
    pub trust: Trust,
    /// How long hosts and agents may take.
    pub patience: Patience,
    /// How long BMCs may take.
    pub bmc_patience: BmcPatience,
}
