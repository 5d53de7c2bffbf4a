//! Process 1 of a site. In: a layout whose namespaces the caller made. Out: a running site.

use super::{
    bringup,
    control::{Board, Control},
    mounts::{self, MountError},
};
use crate::{
    Layout, NetworkMode, SiteConfig,
    config::ConfigError,
    host::settings::{NETWORK, OWN_NETWORK},
    node::gate,
};
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use scute_processes::{keep::Table, reaper::Reaper};
use std::{fs, io, path::Path, sync::Arc};
use tokio::sync::{mpsc, watch};

/// Open files of a process of the site; systemd's unit has the same number.
const DESCRIPTORS: u64 = 1 << 20;

/// Why a site's init ends.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The file tree could not be set up.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The site has no configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It was removed while we started.
    #[error("the site {0} does not exist")]
    Gone(String),
    /// A kernel setting could not be written.
    #[error("{path} cannot be set")]
    Setting {
        /// The file of the setting.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime, a signal handler or a socket failed.
    #[error("{what} failed")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> InitError {
    move |source| InitError::Io { what, source }
}

/// Everything that the parts of a running site share.
pub struct Site {
    /// Its paths.
    pub layout: Layout,
    /// What it tells.
    pub board: Arc<Board>,
    /// Starts and reaps processes.
    pub reaper: Arc<Reaper>,
    /// States of kept processes.
    pub table: Table,
    /// Opens the kubelet's way to the API server.
    pub gate: watch::Sender<bool>,
    /// Since when it runs: what the API server knows of earlier may be so no more.
    pub since: Timestamp,
}

/// Sets the site up and runs it. Called in new mount and pid namespaces, before any other thread exists.
pub fn run(layout: Layout) -> Result<(), InitError> {
    raise_descriptors();
    mounts::prepare(&layout)?;
    settings(configuration(&layout)?.network)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(io_error("the runtime"))?;
    runtime.block_on(serve(layout))
}

/// containerd and the kubelet hold a few for each container, and inherit this limit.
fn raise_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    let up_to_hard = Rlimit { current: now.maximum, maximum: now.maximum };
    // Without CAP_SYS_RESOURCE the hard limit is all that we may have.
    if now.maximum.is_none_or(|hard| hard >= DESCRIPTORS) || setrlimit(Resource::Nofile, most).is_err() {
        _ = setrlimit(Resource::Nofile, up_to_hard);
    }
}

/// Settings of the site's network.
fn settings(network: NetworkMode) -> Result<(), InitError> {
    let own = if network == NetworkMode::Namespace { &OWN_NETWORK[..] } else { &[] };
    for (path, value) in NETWORK.iter().chain(own) {
        if Path::new(path).exists() {
            fs::write(path, value)
                .map_err(|source| InitError::Setting { path: (*path).to_owned(), source })?;
        }
    }
    Ok(())
}

async fn serve(layout: Layout) -> Result<(), InitError> {
    let reaper = Reaper::begin().map_err(io_error("watching for the end of processes"))?;
    let (open, opened) = watch::channel(false);
    let (converge, asked) = mpsc::channel(1);
    let table = Table::default();
    let board = Arc::new(Board::default());
    let control = Arc::new(Control { board: board.clone(), table: table.clone(), converge });
    let socket = layout.control_socket();
    let pods_of_before = layout.at("kubelet/pods").read_dir().is_ok_and(|mut pods| pods.next().is_some());
    let site = Arc::new(Site { layout, board, reaper, table, gate: open, since: Timestamp::now() });
    let upstream = format!("127.0.0.1:{}", super::pki::API_PORT);
    tokio::select! {
        ended = control.serve(&socket) => ended.map_err(io_error("the control socket")),
        ended = gate::run(opened, upstream, pods_of_before) => ended.map_err(io_error("the gate of the API server")),
        () = bringup::run(site, asked) => Ok(()),
    }
}

/// Reads the configuration again: `up` may have changed it.
pub fn configuration(layout: &Layout) -> Result<SiteConfig, InitError> {
    SiteConfig::load(layout)?.ok_or_else(|| InitError::Gone(layout.name.to_string()))
}
