//! The machine's processes, as /proc shows them: they tell nobody but their parents that they come and go.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How long is waited for a process.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every process with its command line.
#[must_use]
pub fn all() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let command = fs::read(Path::new("/proc").join(entry.file_name()).join("cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&command).replace('\0', " ")))
        })
        .collect()
}

/// The process whose command line holds `part`.
///
/// # Errors
/// When there is none.
pub fn with(part: &str) -> Result<u32> {
    let found = all().into_iter().find(|(_, command)| command.contains(part));
    found.map(|(pid, _)| pid).with_context(|| format!("no process {part:?}"))
}

/// The process of a site's own programs whose command line holds `part`.
///
/// # Errors
/// When there is none.
pub fn of_site(site: &str, part: &str) -> Result<u32> {
    let folder = format!("/var/lib/scute/{site}/");
    let found = all().into_iter().find(|(_, command)| command.starts_with(&folder) && command.contains(part));
    found.map(|(pid, _)| pid).with_context(|| format!("no process {part:?} of site {site}"))
}

/// The process in a Pod of a site whose command line holds `part`: one of the site's own programs has started it, or
/// what started it.
///
/// # Errors
/// When there is none.
pub fn in_pod_of_site(site: &str, part: &str) -> Result<u32> {
    let folder = format!("/var/lib/scute/{site}/");
    let all: BTreeMap<u32, String> = all().into_iter().collect();
    let is_of_site = |pid: &u32| {
        let ancestors = std::iter::successors(parent(*pid).ok(), |pid| parent(*pid).ok());
        ancestors.take_while(|pid| *pid > 1).any(|pid| all.get(&pid).is_some_and(|c| c.starts_with(&folder)))
    };
    let found = all.iter().filter(|(_, command)| command.contains(part)).find(|(pid, _)| is_of_site(pid));
    found.map(|(pid, _)| *pid).with_context(|| format!("no process {part:?} in a Pod of site {site}"))
}

/// The parent of a process.
///
/// # Errors
/// When the process is gone.
pub fn parent(pid: u32) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("a parent")?;
    Ok(line.trim().parse()?)
}

/// `kill -9`.
///
/// # Errors
/// When the process is gone already.
pub fn kill(pid: u32) -> Result<()> {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    ensure!(status.success(), "kill -9 {pid}: {status}");
    Ok(())
}

/// Looks again and again, for what nothing tells of.
///
/// # Errors
/// When it is not so in time; names it.
pub fn until(what: &str, mut is: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is() {
        ensure!(Instant::now() < end, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
