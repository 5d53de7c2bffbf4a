//! The launcher's command line, and where its files are.

use std::ffi::OsString;
use std::path::PathBuf;

use super::spec::{self, LauncherSpec};

/// Where the launcher finds and puts files. The defaults are the launcher image's and the Pod's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Shared between both containers: `network.json`, `tun`, `health`.
    pub run_dir: PathBuf,
    /// Overlays, empty disks, seed images, EFI variables.
    pub state_dir: PathBuf,
    /// Where the kubelet reads how the container ended.
    pub termination_log: PathBuf,
    /// QEMU's program.
    pub qemu: PathBuf,
    /// OVMF's code and its blank variables.
    pub ovmf: (PathBuf, PathBuf),
    /// The resolver configuration that the guest gets.
    pub resolv_conf: PathBuf,
}

impl Default for Places {
    fn default() -> Places {
        Places {
            run_dir: spec::RUN_DIR.into(),
            state_dir: spec::STATE_DIR.into(),
            termination_log: "/dev/termination-log".into(),
            qemu: "/usr/bin/qemu-system-x86_64".into(),
            ovmf: ("/usr/share/OVMF/OVMF_CODE_4M.fd".into(), "/usr/share/OVMF/OVMF_VARS_4M.fd".into()),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Run the guest.
    Run,
    /// Prepare the Pod's network.
    Network,
    /// Say whether the guest has been started.
    Started,
    /// Say whether the guest runs, or why not.
    Ready,
    /// Say what guests can run on here.
    Probe,
}

/// The parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub verb: Verb,
    /// The VM's document; without it the environment has it.
    pub spec: Option<PathBuf>,
    /// Where things are.
    pub places: Places,
}

/// What is wrong with the command line.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// No verb, or an unknown one.
    #[error("expected `run`, `network`, `started`, `ready` or `probe`")]
    Verb,
    /// An unknown option.
    #[error("unknown option {0:?}")]
    Option(OsString),
    /// An option without its value.
    #[error("{0} needs a value")]
    Value(&'static str),
}

/// Why there is no usable document.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Neither file nor environment.
    #[error("neither --spec nor the environment variable {} is set", spec::SPEC_ENV)]
    Missing,
    /// The document is not one of ours.
    #[error("the VM's document is not valid")]
    Parse(#[source] serde_json::Error),
}

impl Options {
    /// Parses what follows `scute launcher`.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Options, UsageError> {
        let mut args = args.into_iter();
        let verb = match args.next().as_deref().and_then(|verb| verb.to_str()) {
            Some("run") => Verb::Run,
            Some("network") => Verb::Network,
            Some("started") => Verb::Started,
            Some("ready") => Verb::Ready,
            Some("probe") => Verb::Probe,
            _ => return Err(UsageError::Verb),
        };
        let mut options = Options { verb, spec: None, places: Places::default() };
        while let Some(arg) = args.next() {
            let places = &mut options.places;
            let mut value = |name| args.next().map(PathBuf::from).ok_or(UsageError::Value(name));
            match arg.to_str() {
                Some("--spec") => options.spec = Some(value("--spec")?),
                Some("--run-dir") => places.run_dir = value("--run-dir")?,
                Some("--state-dir") => places.state_dir = value("--state-dir")?,
                Some("--termination-log") => places.termination_log = value("--termination-log")?,
                Some("--qemu") => places.qemu = value("--qemu")?,
                Some("--resolv-conf") => places.resolv_conf = value("--resolv-conf")?,
                _ => return Err(UsageError::Option(arg)),
            }
        }
        Ok(options)
    }

    /// Reads the VM's document.
    pub fn read_spec(&self) -> Result<LauncherSpec, SpecError> {
        let text = match &self.spec {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| SpecError::Read { path: path.display().to_string(), source })?,
            None => std::env::var(spec::SPEC_ENV).map_err(|_| SpecError::Missing)?,
        };
        serde_json::from_str(&text).map_err(SpecError::Parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, UsageError> {
        Options::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn options_move_the_places() {
        let options = parse(&["run", "--spec", "/a", "--state-dir", "/b"]).unwrap();
        assert_eq!((options.verb, options.spec), (Verb::Run, Some("/a".into())));
        assert_eq!(options.places, Places { state_dir: "/b".into(), ..Places::default() });
    }

    #[test]
    fn mistakes_are_named() {
        assert!(matches!(parse(&[]), Err(UsageError::Verb)));
        assert!(matches!(parse(&["walk"]), Err(UsageError::Verb)));
        assert!(matches!(parse(&["run", "--fast"]), Err(UsageError::Option(_))));
        assert!(matches!(parse(&["run", "--spec"]), Err(UsageError::Value("--spec"))));
    }
}
