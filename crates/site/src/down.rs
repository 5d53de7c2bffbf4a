//! `scute down`: stops a site and removes every trace of it, from whatever state it is in. In: a site's name.
//! Out: nothing left. Never: touches what is not the site's.

use crate::{
    Layout, NetworkMode, Progress, SiteConfig,
    config::{self, ConfigError},
    host::{egress, facts, lock::MachineLock, network, preflight, settings, systemd},
    layout::{ENTRIES, RUN, SITES, SiteName},
    progress::step,
    rack, supervisor,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{PidfdFlags, Signal, kill_process, pidfd_open},
};
use scute_processes::{cgroups, command::CommandError, files};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the site's processes may take to die.
const DEATH: Duration = Duration::from_secs(20);
/// How long its supervisor may: it ends the processes first, and may be about to end those of an earlier life.
const SUPERVISOR: Duration = Duration::from_secs(45);

/// Choices of `scute down`.
#[derive(Clone, Debug)]
pub struct DownOptions {
    /// The site's name.
    pub site: SiteName,
}

/// Why something of a site may be left.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// Not root.
    #[error("{0}")]
    Preflight(String),
    /// The lock of the machine.
    #[error("/run/scute.lock cannot be locked")]
    Lock(#[source] io::Error),
    /// Something of somebody's is mounted in the site's folder.
    #[error("{mount} is mounted in the site's folder; unmount it, and run `scute down` again")]
    Mounted {
        /// Where.
        mount: PathBuf,
    },
    /// The site's supervisor did not end.
    #[error("the supervisor of the site does not end")]
    Supervisor,
    /// Its rack.
    #[error(transparent)]
    Rack(#[from] rack::RackError),
    /// Its unit.
    #[error(transparent)]
    Unit(#[from] systemd::UnitError),
    /// Its processes and groups.
    #[error("the site's processes could not be ended or its cgroups not be removed")]
    Cgroups(#[source] io::Error),
    /// Its links.
    #[error(transparent)]
    Network(#[from] CommandError),
    /// Its files.
    #[error("{path} cannot be removed")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What `down` would remove, for the question before it; empty when there is no such site.
pub fn plan_down(options: &DownOptions) -> Vec<String> {
    let Found { layout, dir, .. } = find(&options.site);
    let mut found = Vec::new();
    if let Some(pid) = supervisor::running(&layout) {
        found.push(format!(
            "the supervisor (process {pid}) and every process of the site",
            pid = pid.as_raw_nonzero()
        ));
    }
    if let Some(pid) = rack::running(&layout) {
        found.push(format!("the rack (process {}) and every host in it", pid.as_raw_nonzero()));
    }
    if network::netns_path(&layout).exists() {
        found.push(format!("the network namespace {} and its link", layout.netns()));
    }
    match dir {
        Folder::Sites if layout.dir.exists() => {
            found.push(format!("what the site made in {}, with all clusters in it", layout.dir.display()));
        }
        Folder::Sites => {}
        Folder::NotThere => found.push(format!("the entry {}", Layout::entry(&layout.name).display())),
    }
    if layout.run.exists() {
        found.push(layout.run.display().to_string());
    }
    found
}

/// Removes the site. What is gone already is fine, so a second call finishes what a first one could not.
pub async fn down(options: &DownOptions, progress: &dyn Progress) -> Result<(), DownError> {
    preflight::root().map_err(|problem| DownError::Preflight(problem.text))?;
    let waits =
        || progress.note("note: another `scute up` or `scute down` is at work; this one waits for it");
    let _lock = MachineLock::take(waits).map_err(DownError::Lock)?;
    let found = find(&options.site);
    // A damaged configuration must not keep the site from being removed.
    if let Some(why) = &found.why {
        progress.note(&format!("note: {why}"));
    }
    not_mounted(&found)?;
    let Found { layout, config, .. } = &found;
    step(progress, "processes", async { stop(layout) }).await?;
    // Its keeper was the supervisor.
    rack::ended(layout)?;
    step(progress, "network", async { remove_network(layout, config.as_ref()) }).await?;
    let left = step(progress, "files", async { remove_files(&found) }).await?;
    if !left.is_empty() {
        let left = left.join(", ");
        progress.note(&format!("note: {} stays: {left} is not the site's", layout.dir.display()));
    }
    Ok(())
}

/// A site as `down` finds it, in whatever state.
struct Found {
    layout: Layout,
    dir: Folder,
    config: Option<SiteConfig>,
    /// Why there is no configuration.
    why: Option<String>,
}

/// What a site's folder is.
enum Folder {
    /// What has a site's names in it is the site's.
    Sites,
    /// It is elsewhere and has no configuration: its disk is not mounted, or it is somebody else's by now.
    NotThere,
}

fn find(site: &SiteName) -> Found {
    match config::open(site) {
        Ok((layout, config)) => Found { layout, dir: Folder::Sites, config, why: None },
        Err(why) => {
            let entry = Layout::entry(site);
            let dir = match &why {
                ConfigError::Away { .. } => Folder::NotThere,
                _ => Folder::Sites,
            };
            let layout = Layout::new(site.clone(), fs::canonicalize(&entry).unwrap_or(entry));
            Found { layout, dir, config: None, why: Some(scute_processes::chain(&why)) }
        }
    }
}

/// The site's own mounts are in its namespace. One that the machine shows in its folder is somebody's who must take it
/// away first: its files must not go with the site's.
fn not_mounted(found: &Found) -> Result<(), DownError> {
    if matches!(found.dir, Folder::NotThere) {
        return Ok(());
    }
    let dir = &found.layout.dir;
    let below = files::mounts_below(dir).map_err(|source| DownError::File { path: dir.clone(), source })?;
    below.into_iter().next().map_or(Ok(()), |mount| Err(DownError::Mounted { mount }))
}

fn stop(layout: &Layout) -> Result<(), DownError> {
    if facts::has_systemd() {
        systemd::remove(layout)?;
    }
    if let Some(pid) = supervisor::running(layout) {
        // Its handle first: afterwards the number might be another's.
        let handle = pidfd_open(pid, PidfdFlags::empty());
        if supervisor::running(layout) == Some(pid) {
            _ = kill_process(pid, Signal::TERM);
        }
        let ended = handle.is_ok_and(|handle| {
            let mut wait = [PollFd::new(&handle, PollFlags::IN)];
            let limit = rustix::event::Timespec::try_from(SUPERVISOR).ok();
            poll(&mut wait, limit.as_ref()).is_ok_and(|n| n > 0)
        });
        if !ended && supervisor::running(layout).is_some() {
            return Err(DownError::Supervisor);
        }
    }
    cgroups::remove(&layout.cgroup(), DEATH).map_err(DownError::Cgroups)
}

fn remove_network(layout: &Layout, config: Option<&SiteConfig>) -> Result<(), DownError> {
    egress::remove(layout);
    match config {
        Some(config) if config.network == NetworkMode::Namespace => {
            Ok(network::remove(layout, &config.addresses)?)
        }
        Some(config) => {
            network::remove_from_host(&config.addresses);
            Ok(())
        }
        // Without a configuration the link's number is unknown; it goes with its other end.
        None => Ok(network::remove_namespace(layout)?),
    }
}

/// Removes what a site makes, by name; gives what else is in its folder.
fn remove_files(found: &Found) -> Result<Vec<String>, DownError> {
    let Found { layout, dir, config, .. } = found;
    let left = match dir {
        Folder::Sites => remove_entries(&layout.dir)?,
        Folder::NotThere => Vec::new(),
    };
    gone(&layout.run, files::remove_tree(&layout.run))?;
    let entry = Layout::entry(&layout.name);
    if fs::symlink_metadata(&entry).is_ok_and(|meta| meta.is_symlink()) {
        gone(&entry, fs::remove_file(&entry))?;
    }
    for folder in config.as_ref().map(|c| c.made_folders.as_slice()).unwrap_or_default() {
        // Empty, or somebody else uses it by now.
        _ = fs::remove_dir(folder);
    }
    settings::give_back(
        &layout.name,
        config.as_ref().map(|c| c.changed_settings.clone()).unwrap_or_default(),
    );
    for folder in [SITES, RUN] {
        _ = fs::remove_dir(folder);
    }
    network::forget_namespaces_folder();
    Ok(left)
}

fn gone(path: &Path, result: io::Result<()>) -> Result<(), DownError> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DownError::File { path: path.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}

/// Removes the entries of a site, then the folder when it is empty; gives the names of what is left.
fn remove_entries(dir: &Path) -> Result<Vec<String>, DownError> {
    for name in ENTRIES {
        // Beside it, what a write left that broke off.
        for path in [dir.join(format!(".{name}.new")), dir.join(name)] {
            gone(&path, files::remove_tree(&path))?;
        }
    }
    // A file system's own folder stays, and a mount point too.
    _ = fs::remove_dir(dir);
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name != "lost+found").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_site_makes_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("site");
        for folder in ["etcd/member", "pki", "bin/cni", "photos/2026"] {
            fs::create_dir_all(site.join(folder)).unwrap();
        }
        for file in ["site.json", ".site.json.new", "etcd/member/db", "photos/2026/sea.jpg", "notes"] {
            fs::write(site.join(file), "").unwrap();
        }
        let mut left = remove_entries(&site).unwrap();
        left.sort();
        assert_eq!(left, ["notes", "photos"]);
        assert!(site.join("photos/2026/sea.jpg").exists() && !site.join("etcd").exists());
        fs::remove_dir_all(site.join("photos")).unwrap();
        fs::remove_file(site.join("notes")).unwrap();
        assert!(remove_entries(&site).unwrap().is_empty() && !site.exists());
        assert!(remove_entries(&site).unwrap().is_empty(), "a second call");
    }

    #[test]
    fn the_configuration_goes_last() {
        assert_eq!(ENTRIES.last(), Some(&"site.json"));
    }
}
