//! What a site was made with, kept in `site.json`. In: the file. Out: [`SiteConfig`]. Never: decides anything.

use crate::{Layout, SiteName, addresses::Addresses, host::settings::Setting, layout::SITES};
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
    /// Whether Pods and guests reach what the machine reaches, behind the machine's address.
    #[serde(default)]
    pub masquerade: bool,
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
    /// The file is of another version.
    #[error("{path} is of form {found}, this version of Scute reads form {SCHEMA}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: u32,
    },
    /// A site's entry leads to nothing.
    #[error(
        "{entry} leads to {dir}, and no site is there: mount its disk, or remove the entry with `scute down`"
    )]
    Away {
        /// The link.
        entry: PathBuf,
        /// Where it leads.
        dir: PathBuf,
    },
    /// The file is damaged.
    #[error("{path} is not a site's configuration")]
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
        let parse = |source| ConfigError::Parse { path: path.clone(), source };
        // Its form first: the rest of another one means something else.
        let Form { schema } = serde_json::from_slice(&text).map_err(parse)?;
        if schema != SCHEMA {
            return Err(ConfigError::Schema { path, found: schema });
        }
        serde_json::from_slice(&text).map(Some).map_err(parse)
    }

    /// Writes the configuration, whole or not at all.
    pub fn save(&self, layout: &Layout) -> Result<(), ConfigError> {
        let path = layout.config();
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| ConfigError::Parse { path: path.clone(), source })?;
        files::write(&path, &text, 0o644).map_err(|source| ConfigError::Write { path, source })
    }

    /// A site in a network namespace, for tests.
    #[cfg(test)]
    pub fn sample(addresses: Addresses) -> Self {
        Self {
            schema: SCHEMA,
            name: "lab".to_owned(),
            version: "0.1.0".to_owned(),
            kubernetes: "v1.35.4".to_owned(),
            network: NetworkMode::Namespace,
            addresses,
            masquerade: false,
            bundle: "/srv/bundle".into(),
            bundle_digest: String::new(),
            made_folders: Vec::new(),
            changed_settings: Vec::new(),
        }
    }

    /// The Node's name.
    pub fn node_name(&self) -> &str {
        &self.name
    }
}

#[derive(Deserialize)]
struct Form {
    schema: u32,
}

/// What an entry leads to.
pub type Known = Result<(Layout, SiteConfig), ConfigError>;

/// Every site of this machine, by the entries of [`SITES`]; of one that cannot be read, why.
pub fn all_sites() -> Vec<(SiteName, Known)> {
    sites_in(Path::new(SITES))
}

fn sites_in(folder: &Path) -> Vec<(SiteName, Known)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| SiteName::new(entry.file_name().to_str()?).ok();
    let mut names: Vec<_> = entries.flatten().filter_map(name).collect();
    names.sort();
    let known = |name: SiteName| match open_entry(&name, &folder.join(name.as_str())) {
        // A folder that nobody has made a site of.
        Ok((_, None)) => None,
        Ok((layout, Some(config))) => Some((name, Ok((layout, config)))),
        Err(why) => Some((name, Err(why))),
    };
    names.into_iter().filter_map(known).collect()
}

/// The site called `name`, and what it was made with; `None` when there is no such site.
///
/// # Errors
/// Its configuration cannot be read, or its entry leads to a folder without one.
pub fn open(name: &SiteName) -> Result<(Layout, Option<SiteConfig>), ConfigError> {
    open_entry(name, &Layout::entry(name))
}

fn open_entry(name: &SiteName, entry: &Path) -> Result<(Layout, Option<SiteConfig>), ConfigError> {
    let Ok(leads_to) = std::fs::read_link(entry) else {
        let layout = Layout::new(name.clone(), entry.to_path_buf());
        return SiteConfig::load(&layout).map(|config| (layout, config));
    };
    let away = || ConfigError::Away { entry: entry.to_path_buf(), dir: leads_to.clone() };
    let layout = Layout::new(name.clone(), std::fs::canonicalize(entry).map_err(|_| away())?);
    let config = SiteConfig::load(&layout)?.ok_or_else(away)?;
    Ok((layout, Some(config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::AddressWishes;
    use std::{fs, os::unix::fs::symlink};

    fn save(dir: &Path, schema: u32) {
        let layout = Layout::new(SiteName::new("a").unwrap(), dir.to_owned());
        let config = SiteConfig { schema, ..SiteConfig::sample(Addresses::of(0, &AddressWishes::default())) };
        config.save(&layout).unwrap();
    }

    #[test]
    fn every_entry_is_a_site_or_says_why_it_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let (sites, disk) = (dir.path().join("sites"), dir.path().join("disk"));
        save(&sites.join("good"), SCHEMA);
        save(&disk, SCHEMA);
        symlink(&disk, sites.join("elsewhere")).unwrap();
        save(&sites.join("newer"), 9);
        fs::create_dir_all(sites.join("damaged")).unwrap();
        fs::write(sites.join("damaged/site.json"), "").unwrap();
        symlink(dir.path().join("unmounted"), sites.join("dangling")).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        symlink(dir.path().join("empty"), sites.join("hollow")).unwrap();
        fs::create_dir(sites.join("plain")).unwrap();
        let told: Vec<_> = sites_in(&sites)
            .into_iter()
            .map(|(name, found)| match found {
                Ok((layout, _)) => format!("{name} in {}", layout.dir.display()),
                Err(why) => format!("{name}: {why}"),
            })
            .map(|line| line.replace(&dir.path().display().to_string(), ""))
            .collect();
        let away = "no site is there: mount its disk, or remove the entry with `scute down`";
        assert_eq!(
            told,
            [
                "damaged: /sites/damaged/site.json is not a site's configuration".to_owned(),
                format!("dangling: /sites/dangling leads to /unmounted, and {away}"),
                "elsewhere in /disk".to_owned(),
                "good in /sites/good".to_owned(),
                format!("hollow: /sites/hollow leads to /empty, and {away}"),
                "newer: /sites/newer/site.json is of form 9, this version of Scute reads form 1".to_owned(),
            ]
        );
    }
}
