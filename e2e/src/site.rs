//! A site of a test, and kubectl on it and on its tenants.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What a test runs: the binary and the bundle that `cargo xtask bundle` made.
pub struct Artifacts {
    scute: PathBuf,
    bundle: PathBuf,
}

/// The binary (`$SCUTE_BIN`) and the bundle (`$SCUTE_BUNDLE`), by default where xtask puts them.
///
/// # Errors
/// When one of them is missing; says how to get it.
pub fn artifacts() -> Result<Artifacts> {
    let cache = std::env::var_os("SCUTE_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("scute")))
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/scute")))
        .context("neither SCUTE_CACHE nor HOME is set")?;
    let bundle = std::env::var_os("SCUTE_BUNDLE").map_or_else(|| cache.join("bundle"), PathBuf::from);
    let scute = std::env::var_os("SCUTE_BIN").map_or_else(|| bundle.join("bin/scute"), PathBuf::from);
    for path in [&scute, &bundle.join("index.json")] {
        ensure!(path.exists(), "{} is missing: run `cargo xtask bundle`", path.display());
    }
    Ok(Artifacts { scute, bundle })
}

impl Artifacts {
    /// The binary.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.scute
    }

    /// The bundle's folder.
    #[must_use]
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// The disk of a Node.
    ///
    /// # Errors
    /// When the bundle has none, or several.
    pub fn node_disk(&self) -> Result<PathBuf> {
        let disks = std::fs::read_dir(self.bundle.join("disks"))?.collect::<Result<Vec<_>, _>>()?;
        let [disk] = &disks[..] else { bail!("the bundle has {} images of a Node, not one", disks.len()) };
        Ok(disk.path())
    }

    /// A command of `scute`; `up` gets the bundle.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.scute);
        command.args(arguments).env_remove("KUBECONFIG");
        if arguments.first() == Some(&"up") {
            command.arg("--bundle").arg(&self.bundle);
        }
        command
    }
}

/// A management cluster of its own; taken down when dropped.
pub struct Site {
    name: String,
    artifacts: Artifacts,
}

/// Ranges that no default plan has: a site of the machine's user may run beside the tests.
const RANGES: [&str; 6] =
    ["--link", "172.30.99.0/24", "--pods", "10.185.0.0/16", "--services", "10.186.0.0/16"];

impl Site {
    /// Brings a site up.
    ///
    /// # Errors
    /// When `scute up` fails; its output is in the error.
    pub fn up(name: &str) -> Result<Self> {
        Self::up_saying(name).map(|(site, _)| site)
    }

    /// Brings a site up; gives what it said meanwhile, too.
    ///
    /// # Errors
    /// When `scute up` fails; its output is in the error.
    pub fn up_saying(name: &str) -> Result<(Self, String)> {
        let site = Self { name: name.to_owned(), artifacts: artifacts()? };
        let said = site.start()?;
        Ok((site, said))
    }

    /// Runs `scute up` (again); gives what it said meanwhile.
    ///
    /// # Errors
    /// When it fails; its output is in the error.
    pub fn start(&self) -> Result<String> {
        self.up_with(&RANGES)
    }

    /// Runs `scute up` with these arguments, on the site as it is; gives what it said meanwhile.
    ///
    /// # Errors
    /// When it fails; its output is in the error.
    pub fn up_with(&self, arguments: &[&str]) -> Result<String> {
        let mut up = self.artifacts.command(&["up", "--site", &self.name]);
        let output = up.args(arguments).output().context("running scute up")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        text(output).context("scute up").map(|_| said)
    }

    /// Runs a command of `scute`; gives what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn scute(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.artifacts.scute);
        command.args(arguments).env_remove("KUBECONFIG");
        text(command.output().with_context(|| format!("running scute {}", arguments.join(" ")))?)
            .with_context(|| format!("scute {}", arguments.join(" ")))
    }

    /// kubectl on the management cluster.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        self.kubectl_by(&Path::new("/var/lib/scute").join(&self.name).join("admin.kubeconfig"))
    }

    /// kubectl on the cluster of a kubeconfig.
    #[must_use]
    pub fn kubectl_by(&self, kubeconfig: &Path) -> Kubectl {
        let kubeconfig = kubeconfig.to_owned();
        Kubectl { kube: self.artifacts.bundle.join("bin/kube"), kubeconfig, _file: None }
    }

    /// kubectl on a tenant cluster, by the kubeconfig that `scute cluster kubeconfig` prints.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn tenant(&self, cluster: &str) -> Result<Kubectl> {
        self.tenant_in("default", cluster)
    }

    /// The same for a cluster of this namespace.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn tenant_in(&self, namespace: &str, cluster: &str) -> Result<Kubectl> {
        let text = self.scute(&["cluster", "kubeconfig", cluster, "-n", namespace, "--site", &self.name])?;
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        let kubeconfig = file.path().to_owned();
        Ok(Kubectl { kube: self.artifacts.bundle.join("bin/kube"), kubeconfig, _file: Some(file) })
    }

    /// The name of the site.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the site down.
    ///
    /// # Errors
    /// When `scute down` fails.
    pub fn down(&self) -> Result<()> {
        self.scute(&["down", "--site", &self.name, "--yes"]).map(|_| ())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person would look at first, before it is gone.
            for arguments in [
                &["get", "pods", "-A", "-o", "wide"][..],
                &["get", "clusters,machines,kubevirtmachines,vmi,tcp", "-A"],
                &["get", "events", "-A", "--sort-by=.lastTimestamp"],
                &["logs", "-n", "scute-system", "deployment/scute-manager", "--tail=80"],
            ] {
                match self.kubectl().run(arguments) {
                    Ok(text) => eprintln!("--- kubectl {}\n{text}", arguments.join(" ")),
                    Err(error) => eprintln!("--- kubectl {}: {error:#}", arguments.join(" ")),
                }
            }
        }
        if let Err(error) = self.down() {
            eprintln!("site {} is not down: {error:#}", self.name);
        }
    }
}

/// kubectl on one cluster.
pub struct Kubectl {
    kube: PathBuf,
    kubeconfig: PathBuf,
    _file: Option<tempfile::NamedTempFile>,
}

impl Kubectl {
    /// Runs kubectl; gives what it printed.
    ///
    /// # Errors
    /// When it fails; what it said is in the error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.kube);
        command.arg("kubectl").args(arguments).env("KUBECONFIG", &self.kubeconfig);
        text(command.output().context("running kubectl")?)
            .with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// The kubeconfig that it uses.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `kubectl apply` of a text.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), manifest)?;
        self.run(&["apply", "--filename", &file.path().display().to_string()]).map(|_| ())
    }

    /// One object, or a list, as JSON.
    ///
    /// # Errors
    /// When it is not there.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[&["get", "-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// Waits, by watching, until `condition` (as `kubectl wait --for` has it) is met.
    ///
    /// # Errors
    /// When it is not met in time.
    pub fn wait(&self, object: &str, condition: &str, patience: Duration) -> Result<()> {
        let (for_, timeout) = (format!("--for={condition}"), format!("--timeout={}s", patience.as_secs()));
        self.run(&["wait", object, &for_, &timeout]).map(|_| ())
    }

    /// Waits until `kubectl get` of these arguments, the kind last, lists nothing.
    ///
    /// # Errors
    /// When something is still there after `patience`; says what.
    pub fn wait_for_none(&self, arguments: &[&str], patience: Duration) -> Result<()> {
        let get = [&["get", "-o", "name"], arguments].concat();
        let names = self.run(&get)?;
        if !names.trim().is_empty() {
            let timeout = format!("--timeout={}s", patience.as_secs());
            let names: Vec<_> = names.split_whitespace().collect();
            let options = arguments.split_last().map_or(arguments, |(_, options)| options);
            // Fails as well when the last one goes before it looks; what counts is what is left.
            let _ = self.run(&[&["wait", "--for=delete", &timeout], &names[..], options].concat());
        }
        let left = self.run(&get)?;
        ensure!(left.trim().is_empty(), "still there:\n{left}");
        Ok(())
    }
}

fn text(output: Output) -> Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}
