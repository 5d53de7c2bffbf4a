//! What a site was made with, kept in `site.json`. In: the file. Out: [`SiteConfig`]. Never: decides anything.

use crate::{Layout, SiteName, addresses::Addresses, host::settings::Setting};
use scute_processes::files;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

/// How a site meets the network of its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A network namespace of its own, with a veth to the host.
    #[default]
    Namespace,
    /// The network of the host: for real servers. One site per machine; LoadBalancer pools must be routed to it.
    Host,
}

impl NetworkMode {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Host => "host",
        }
    }
}

/// What a site was made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteConfig {
    /// Form of this file.
    pub schema: u32,
    /// The site's name, and its Node's.
    pub name: String,
    /// Version of Scute that made it.
    pub version: String,
    /// Version of Kubernetes that it runs.
    pub kubernetes: String,
    /// How it meets the machine's network.
    pub network: NetworkMode,
    /// Its ranges.
    pub addresses: Addresses,
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Digest of the bundle's index when it was last read.
    pub bundle_digest: String,
    /// Folders on the machine that we made as mount points; removed by `down` when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_folders: Vec<PathBuf>,
    /// Kernel settings of the machine that we changed; put back by `down`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_settings: Vec<Setting>,
}

/// Form of `site.json` that this version writes.
pub const SCHEMA: u32 = 1;

/// Why a site's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is damaged or of another version.
    #[error("{path} is not a site's configuration of form {SCHEMA}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl SiteConfig {
    /// Reads a site's configuration; `None` when there is no such site.
    pub fn load(layout: &Layout) -> Result<Option<Self>, ConfigError> {
        let path = layout.config();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| ConfigError::Parse { path, source })
    }

    /// Writes the configuration, whole or not at all.
    pub fn save(&self, layout: &Layout) -> Result<(), ConfigError> {
        let path = layout.config();
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| ConfigError::Parse { path: path.clone(), source })?;
        files::write(&path, &text, 0o644).map_err(|source| ConfigError::Write { path, source })
    }

    /// The Node's name.
    pub fn node_name(&self) -> &str {
        &self.name
    }
}

/// Every site of this machine, by the entries of [`crate::layout::SITES`]; unreadable ones are left out.
pub fn all_sites() -> Vec<(Layout, SiteConfig)> {
    let Ok(entries) = std::fs::read_dir(crate::layout::SITES) else { return Vec::new() };
    let mut sites: Vec<_> = entries.flatten().filter_map(|entry| site_at(&entry.path())).collect();
    sites.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    sites
}

/// The layout of the site called `name`: its entry, or what the entry links to.
pub fn find(name: &SiteName) -> Layout {
    let entry = Layout::entry(name);
    let dir = std::fs::canonicalize(&entry).unwrap_or(entry);
    Layout::new(name.clone(), dir)
}

fn site_at(entry: &Path) -> Option<(Layout, SiteConfig)> {
    let name = SiteName::new(entry.file_name()?.to_str()?).ok()?;
    let layout = find(&name);
    let config = SiteConfig::load(&layout).ok()??;
    Some((layout, config))
}
