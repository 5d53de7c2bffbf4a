//! A host's folder: what it is, what it was told, its disks, and by what its BMC is known.
//!
//! ```text
//! config.json  state.json  disk-0.raw …  vars.fd  password  bmc.crt  bmc.key  serial.log
//! ```

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use scute_bmc::{Identity, NextBoot, Power, ServerError};
use scute_processes::files;
use serde::{Deserialize, Serialize};

use crate::config::{HostConfig, HostError, random_hex};

/// Holds secrets: nobody else's to read.
const PRIVATE: u32 = 0o700;

/// A host's folder.
#[derive(Clone, Debug)]
pub struct HostFolder(PathBuf);

/// What a host was told, and must know after a restart of the rack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Whether it runs.
    pub power: Power,
    /// What is booted next.
    pub next_boot: Option<NextBoot>,
    /// What is in the CD drive.
    pub medium: Option<String>,
    /// Which cables are plugged in.
    pub links: Vec<bool>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file.
    #[error("{path} cannot be read or written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file's content.
    #[error("{path} is damaged")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The host it describes.
    #[error("{path} describes no host that can be")]
    Host {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: HostError,
    },
    /// The BMC's certificate.
    #[error("the BMC's certificate cannot be made")]
    Identity(#[source] ServerError),
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_path_buf();
    move |source| FolderError::File { path, source }
}

impl HostFolder {
    /// The folder at this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder of a new host: disks without content, variables as they leave the factory, a password and a certificate.
    /// The configuration is written last: without it there is no host.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn create(&self, config: &HostConfig, vars: &Path, address: IpAddr) -> Result<(), FolderError> {
        files::folder(&self.0, PRIVATE).map_err(file(&self.0))?;
        for (index, disk) in config.disks.iter().enumerate() {
            let path = self.disk(index);
            fs::File::create(&path)
                .and_then(|disk_file| disk_file.set_len(disk.mib << 20))
                .map_err(file(&path))?;
        }
        fs::copy(vars, self.vars()).map_err(file(vars))?;
        let random = |source| FolderError::Host { path: self.config(), source };
        let secret = random_hex::<12>().map_err(random)?;
        self.put("password", secret.as_bytes(), 0o600)?;
        let identity = Identity::new(address).map_err(FolderError::Identity)?;
        self.put("bmc.crt", identity.certificate_pem.as_bytes(), 0o644)?;
        self.put("bmc.key", identity.key_pem.as_bytes(), 0o600)?;
        let text = serde_json::to_vec_pretty(config)
            .map_err(|source| FolderError::Damaged { path: self.config(), source })?;
        self.put("config.json", &text, 0o600)
    }

    /// What the host is.
    ///
    /// # Errors
    /// When the file cannot be read or describes no host.
    pub fn load(&self) -> Result<HostConfig, FolderError> {
        let path = self.config();
        let text = fs::read(&path).map_err(file(&path))?;
        let config: HostConfig = serde_json::from_slice(&text)
            .map_err(|source| FolderError::Damaged { path: path.clone(), source })?;
        config.validate().map_err(|source| FolderError::Host { path, source })?;
        Ok(config)
    }

    /// What the host was told; of a new one, that it is off.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn state(&self, nics: usize) -> Result<State, FolderError> {
        let path = self.0.join("state.json");
        let mut state = match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|source| FolderError::Damaged { path, source })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                State { power: Power::Off, next_boot: None, medium: None, links: vec![] }
            }
            Err(source) => return Err(FolderError::File { path, source }),
        };
        state.links.resize(nics, true);
        Ok(state)
    }

    /// Keeps what the host was told.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, state: &State) -> Result<(), FolderError> {
        let text = serde_json::to_vec(state)
            .map_err(|source| FolderError::Damaged { path: self.0.join("state.json"), source })?;
        self.put("state.json", &text, 0o600)
    }

    /// Password of the BMC's administrator.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn password(&self) -> Result<String, FolderError> {
        self.text("password")
    }

    /// By what the BMC is known.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn identity(&self) -> Result<Identity, FolderError> {
        Ok(Identity { certificate_pem: self.text("bmc.crt")?, key_pem: self.text("bmc.key")? })
    }

    /// The host's configuration; with it, the folder is a host's.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// A disk.
    #[must_use]
    pub fn disk(&self, index: usize) -> PathBuf {
        self.0.join(format!("disk-{index}.raw"))
    }

    /// Variables of the host's firmware.
    #[must_use]
    pub fn vars(&self) -> PathBuf {
        self.0.join("vars.fd")
    }

    /// What the host wrote to its serial port, byte by byte.
    #[must_use]
    pub fn serial_log(&self) -> PathBuf {
        self.0.join("serial.log")
    }

    fn put(&self, name: &str, text: &[u8], mode: u32) -> Result<(), FolderError> {
        let path = self.0.join(name);
        files::write(&path, text, mode).map_err(file(&path))
    }

    fn text(&self, name: &str) -> Result<String, FolderError> {
        let path = self.0.join(name);
        fs::read_to_string(&path).map_err(file(&path))
    }
}
