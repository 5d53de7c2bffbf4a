//! `scute down`: stops a site and removes every trace of it, from whatever state it is in. In: a site's name.
//! Out: nothing left. Never: touches what is not the site's.

use crate::{
    Layout, NetworkMode, Progress, SiteConfig,
    config::{self, ConfigError},
    host::{
        facts, network, preflight,
        settings::{self, Setting},
        systemd,
    },
    layout::{RUN, SITES, SiteName},
    progress::step,
    supervisor,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    mount::{UnmountFlags, unmount},
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
    /// The site's supervisor did not end.
    #[error("the supervisor of the site does not end")]
    Supervisor,
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
    let layout = config::find(&options.site);
    let mut found = Vec::new();
    if let Some(pid) = supervisor::running(&layout) {
        found.push(format!(
            "the supervisor (process {pid}) and every process of the site",
            pid = pid.as_raw_nonzero()
        ));
    }
    if network::netns_path(&layout).exists() {
        found.push(format!("the network namespace {} and its link", layout.netns()));
    }
    if layout.dir.exists() {
        found.push(format!("{} with all clusters in it", layout.dir.display()));
    }
    if layout.run.exists() {
        found.push(layout.run.display().to_string());
    }
    found
}

/// Removes the site. What is gone already is fine, so a second call finishes what a first one could not.
pub async fn down(options: &DownOptions, progress: &dyn Progress) -> Result<(), DownError> {
    preflight::root().map_err(|problem| DownError::Preflight(problem.text))?;
    let layout = config::find(&options.site);
    // A damaged configuration must not keep the site from being removed.
    let config = SiteConfig::load(&layout).unwrap_or_else(|e: ConfigError| {
        progress.note(&format!("note: {}", scute_processes::chain(&e)));
        None
    });
    step(progress, "processes", async { stop(&layout) }).await?;
    step(progress, "network", async { remove_network(&layout, config.as_ref()) }).await?;
    step(progress, "files", async { remove_files(&layout, config.as_ref()) }).await
}

fn stop(layout: &Layout) -> Result<(), DownError> {
    if facts::has_systemd() {
        systemd::remove(layout)?;
    }
    if let Some(pid) = supervisor::running(layout) {
        // Its handle first: afterwards the number might be another's.
        let handle = pidfd_open(pid, PidfdFlags::empty());
        _ = kill_process(pid, Signal::TERM);
        let ended = handle.is_ok_and(|handle| {
            let mut wait = [PollFd::new(&handle, PollFlags::IN)];
            let limit = rustix::event::Timespec::try_from(DEATH).ok();
            poll(&mut wait, limit.as_ref()).is_ok_and(|n| n > 0)
        });
        if !ended && supervisor::running(layout).is_some() {
            return Err(DownError::Supervisor);
        }
    }
    cgroups::remove(&layout.cgroup(), DEATH).map_err(DownError::Cgroups)
}

fn remove_network(layout: &Layout, config: Option<&SiteConfig>) -> Result<(), DownError> {
    match config {
        Some(config) if config.network == NetworkMode::Namespace => {
            Ok(network::remove(layout, &config.addresses)?)
        }
        Some(_) => {
            network::remove_from_host();
            Ok(())
        }
        // Without a configuration the link's number is unknown; it goes with its other end.
        None => Ok(network::remove_namespace(layout)?),
    }
}

fn remove_files(layout: &Layout, config: Option<&SiteConfig>) -> Result<(), DownError> {
    let gone = |path: &Path, result: io::Result<()>| match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DownError::File { path: path.to_path_buf(), source })
        }
        _ => Ok(()),
    };
    // The site's mounts ended with its namespace. One below its folder would be somebody else's: never delete into it.
    for mount in mounts_below(&layout.dir) {
        gone(&mount, unmount(&mount, UnmountFlags::DETACH).map_err(io::Error::from))?;
    }
    gone(&layout.dir, files::remove_tree(&layout.dir))?;
    gone(&layout.run, files::remove_tree(&layout.run))?;
    let entry = Layout::entry(&layout.name);
    if fs::symlink_metadata(&entry).is_ok_and(|meta| meta.is_symlink()) {
        gone(&entry, fs::remove_file(&entry))?;
    }
    for folder in config.map(|c| c.made_folders.as_slice()).unwrap_or_default() {
        // Empty, or somebody else uses it by now.
        _ = fs::remove_dir(folder);
    }
    for folder in [SITES, RUN] {
        _ = fs::remove_dir(folder);
    }
    network::forget_namespaces_folder();
    restore_settings(config.map(|c| c.changed_settings.as_slice()).unwrap_or_default());
    Ok(())
}

/// Puts the machine's settings back; those that other sites live on too are left to one of them.
fn restore_settings(changed: &[Setting]) {
    let (shared, own): (Vec<_>, Vec<_>) = changed.iter().cloned().partition(settings::is_shared);
    settings::restore(&own);
    match config::all_sites().into_iter().next() {
        None => settings::restore(&shared),
        Some((layout, mut other)) => {
            other.changed_settings.extend(shared);
            // When that fails they stay as they are, which hurts nobody.
            _ = other.save(&layout);
        }
    }
}

/// Mount points below a folder, deepest first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut below: Vec<_> = points.filter(|point| point.starts_with(dir)).collect();
    below.sort();
    below.reverse();
    below
}
