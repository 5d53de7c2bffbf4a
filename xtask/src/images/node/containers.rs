//! Images that a Node starts without a registry, unpacked into its containerd's store.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Inputs, Made};
use crate::cache::files_below;
use crate::run;

const PATIENCE: Duration = Duration::from_secs(30);

/// Imports the images with the containerd that the Node will run, started for this.
pub fn preload(root: &Path, inputs: &Inputs, images: &[Made], scratch: &Path) -> Result<()> {
    let store = root.join("var/lib/containerd");
    fs::create_dir_all(&store)?;
    let containerd = Containerd::start(&inputs.built.containerd, &store, scratch)?;
    for image in images {
        containerd.ctr(&["images", "import", "--local", &image.file.to_string_lossy()])?;
    }
    // Names by digest of the configuration are what the CRI plug-in gives an image that it pulls, and finds the images of
    // volumes by.
    for line in containerd.ctr(&["images", "list"])?.lines().skip(1) {
        let mut columns = line.split_whitespace();
        let (Some(name), Some(manifest)) = (columns.next(), columns.nth(1)) else {
            bail!("ctr lists {line:?}");
        };
        let manifest: Value = serde_json::from_str(&containerd.ctr(&["content", "get", manifest])?)?;
        let id = manifest["config"]["digest"].as_str().with_context(|| format!("manifest of {name}"))?;
        containerd.ctr(&["images", "tag", "--skip-reference-check", name, id])?;
    }
    // Layers are read unpacked; packed ones would be on each disk a second time.
    containerd.ctr(&["content", "prune", "references"])?;
    let names = containerd.ctr(&["images", "list", "--quiet"])?;
    // The kubelet's images carry this label; without it the CRI plug-in looks at each on its first list.
    for name in names.lines() {
        containerd.ctr(&["images", "label", name, "io.cri-containerd.image=managed"])?;
    }
    drop(containerd);
    share_kube(root, &store)
}

/// The multi-call binary is in an image's layer too: one file for both halves the disk and the page cache.
fn share_kube(root: &Path, store: &Path) -> Result<()> {
    let own = root.join("usr/local/bin/kube");
    let size = own.metadata()?.size();
    let snapshots = store.join("io.containerd.snapshotter.v1.overlayfs/snapshots");
    let copies: Vec<PathBuf> = files_below(&snapshots)?
        .into_iter()
        .filter(|path| {
            path.ends_with("fs/usr/local/bin/kube") && path.metadata().is_ok_and(|m| m.size() == size)
        })
        .collect();
    if copies.is_empty() {
        bail!("no unpacked layer holds the Kubernetes binary");
    }
    for copy in copies {
        fs::remove_file(&copy)?;
        fs::hard_link(&own, &copy)?;
    }
    Ok(())
}

/// A containerd for the time of the build; stopped when dropped.
struct Containerd {
    process: Child,
    programs: PathBuf,
    socket: PathBuf,
}

impl Containerd {
    fn start(programs: &Path, store: &Path, scratch: &Path) -> Result<Self> {
        fs::create_dir_all(scratch)?;
        let socket = scratch.join("containerd.sock");
        let config = scratch.join("config.toml");
        // The CRI plug-in wants a network and cgroups: an import needs neither.
        fs::write(
            &config,
            "version = 3\ndisabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.nri.v1.nri']\n",
        )?;
        let log = fs::File::create(scratch.join("log"))?;
        let ready = UnixDatagram::bind(scratch.join("ready.sock"))?;
        ready.set_read_timeout(Some(Duration::from_secs(1)))?;
        let process = Command::new(programs.join("containerd"))
            .arg("--config")
            .arg(&config)
            .arg("--root")
            .arg(store)
            .arg("--state")
            .arg(scratch.join("state"))
            .arg("--address")
            .arg(&socket)
            .env("NOTIFY_SOCKET", scratch.join("ready.sock"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start containerd")?;
        let mut containerd = Containerd { process, programs: programs.into(), socket };
        containerd.wait(&ready, &scratch.join("log"))?;
        Ok(containerd)
    }

    /// Waits until containerd says that it is ready, as it tells systemd.
    fn wait(&mut self, ready: &UnixDatagram, log: &Path) -> Result<()> {
        let started = Instant::now();
        let mut message = [0; 256];
        loop {
            // A read that times out is no failure: the process may have ended meanwhile.
            let length = ready.recv(&mut message).unwrap_or_default();
            if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return Ok(());
            }
            if self.process.try_wait()?.is_some() || started.elapsed() > PATIENCE {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("containerd does not come up: {}", said.lines().last().unwrap_or_default());
            }
        }
    }

    fn ctr(&self, args: &[&str]) -> Result<String> {
        let mut ctr = Command::new(self.programs.join("ctr"));
        run::output(ctr.arg("--address").arg(&self.socket).args(["--namespace", "k8s.io"]).args(args))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // An orderly end, so that its database is closed; if it is gone already, so much the better.
        let _ = run::quiet(Command::new("kill").arg(self.process.id().to_string()));
        let _ = self.process.wait();
    }
}
