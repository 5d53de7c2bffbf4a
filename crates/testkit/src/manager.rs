//! A manager under measurement: a process of its own, so that its CPU time and memory can be told from everybody else's.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{ApiServer, Process, usage};

/// A running manager; ends when dropped.
pub struct Manager {
    process: Process,
    started: Instant,
}

/// A manager has settled when it used less CPU than this ...
const QUIET: Duration = Duration::from_millis(60);
/// ... in this time.
const WINDOW: Duration = Duration::from_secs(3);

impl Manager {
    /// Starts this very program once more, as `PROGRAM manager KUBECONFIG ARGUMENTS`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(server: &ApiServer, folder: &Path, arguments: &[String]) -> Result<Self> {
        let kubeconfig = folder.join("manager.kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig())?;
        let mut all = vec!["manager".to_owned(), kubeconfig.display().to_string()];
        all.extend_from_slice(arguments);
        let process = Process::start(&std::env::current_exe()?, &all, &folder.join("manager.log"))?;
        Ok(Self { process, started: Instant::now() })
    }

    /// CPU time used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> Result<Duration> {
        usage::cpu(self.process.id())
    }

    /// Resident bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident(&self) -> Result<u64> {
        usage::resident(self.process.id())
    }

    /// Waits until it has nothing to do; gives the time from its start to then.
    ///
    /// # Errors
    /// When it has ended, or is still busy after so long.
    pub async fn settled(&self, patience: Duration) -> Result<Duration> {
        let mut samples = vec![(Instant::now(), self.cpu()?)];
        loop {
            // There is no event for "nothing more happens".
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (now, used) = (Instant::now(), self.cpu()?);
            samples.push((now, used));
            let before = samples.iter().rev().find(|(at, _)| now - *at >= WINDOW);
            if let Some((at, at_used)) = before
                && used - *at_used <= QUIET
            {
                return Ok(*at - self.started);
            }
            anyhow::ensure!(
                self.started.elapsed() < patience,
                "the manager is still busy after {patience:?}"
            );
        }
    }
}
