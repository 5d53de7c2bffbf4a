//! Child processes that die with the test, however it ends.

use std::ffi::OsStr;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use scute_processes::tied;

/// A child process with its output in a file; killed when dropped, and when its parent dies.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `arguments`, and writes what it prints to `log`.
    ///
    /// # Errors
    /// When the log cannot be made or the program not be started.
    pub fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A], log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = tied::spawn(command).with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of the log, if the process has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(20).collect();
            bail!("ended with {status}:\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        Ok(())
    }

    /// Kills the process and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The multi-call Kubernetes binary: `$SCUTE_KUBE`, or the one that `cargo xtask components` built.
///
/// # Errors
/// When there is none; says how to get it.
pub fn kube_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SCUTE_KUBE") {
        return Ok(path.into());
    }
    let cache = std::env::var_os("SCUTE_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("scute")))
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/scute")))
        .context("neither SCUTE_CACHE nor HOME is set")?;
    let path = cache.join("bin/kube-v1.35.4");
    if !path.exists() {
        bail!("{} is missing: run `cargo xtask components`, or set SCUTE_KUBE", path.display());
    }
    Ok(path)
}

/// A TCP port of the loopback interface that was free a moment ago.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
