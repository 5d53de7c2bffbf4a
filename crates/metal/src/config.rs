//! What the room is told at start.

use std::collections::BTreeMap;
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
    /// Images for disks that are served to whoever asks, by the names in their URLs.
    pub images: BTreeMap<String, PathBuf>,
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

impl Config {
    /// The usual patience. Without authorities a BMC's certificate is taken only where the host's Secret has its authority, or
    /// the host says that it is not checked.
    #[must_use]
    pub fn new(
        address: String,
        ramdisk: PathBuf,
        identity: Key,
        owner: String,
        authorities: Option<String>,
    ) -> Self {
        Self {
            address,
            service_port: 6385,
            media_port: 6180,
            ramdisk,
            images: BTreeMap::new(),
            identity,
            owner,
            // No certificate has this digest; what was shown is in the error.
            trust: authorities.map_or(Trust::Pinned(String::new()), Trust::Authorities),
            patience: Patience::default(),
            bmc_patience: BmcPatience::default(),
        }
    }
}
