//! `scute up`: makes a site, or brings one that exists to what it should be. In: a few choices. Out: a running site.
//! The work itself is done by the site's supervisor and init; this process prepares, watches and tells.

mod follow;
mod plan;
mod programs;

use crate::{
    Layout, NetworkMode, Progress, SiteConfig, VERSION,
    addresses::{AddressError, AddressWishes},
    bundle::{Bundle, BundleError},
    config::{self, ConfigError},
    host::{network, preflight, settings},
    layout::{SITES, SiteName},
    node::{control::Ask, mounts},
    progress::step,
    supervisor::{self, StartError},
};
use follow::Follow;
use plan::{check_same, new_config, refreshed};
use programs::{prepare_files, verify};
use scute_processes::{command::CommandError, files};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use tokio::time::{Duration, Instant, timeout};

/// How long a site may take to come up before `up` gives up watching.
const PATIENCE: Duration = Duration::from_secs(600);

/// Choices of `scute up`. What is left out keeps what an existing site has.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// The site's name.
    pub site: SiteName,
    /// Its state folder, instead of `/var/lib/scute/NAME`.
    pub dir: Option<PathBuf>,
    /// How it meets the machine's network.
    pub network: Option<NetworkMode>,
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Wished address ranges.
    pub addresses: AddressWishes,
}

/// What `up` ended with.
#[derive(Clone, Debug)]
pub struct UpReport {
    /// The site's configuration.
    pub config: SiteConfig,
    /// Kubeconfig of its administrator.
    pub kubeconfig: PathBuf,
    /// Time until the Node was ready, when this call started the site.
    pub node_ready: Option<Duration>,
    /// Time in all.
    pub took: Duration,
}

/// Why a site is not up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The machine does not fit.
    #[error("this machine cannot take the site:\n  {}", .0.join("\n  "))]
    Preflight(Vec<String>),
    /// It exists, made otherwise.
    #[error("site {site} exists with {what} {found}, not {wanted}; `scute down --site {site}` removes it")]
    Other {
        /// The site.
        site: SiteName,
        /// What differs.
        what: &'static str,
        /// What it has.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// Address ranges.
    #[error(transparent)]
    Addresses(#[from] AddressError),
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The site's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine's network cannot be read.
    #[error(transparent)]
    Network(#[from] CommandError),
    /// No address to be reached by.
    #[error("--network host needs a default route: its interface's address becomes the Node's")]
    NoHostAddress,
    /// The host's network has a site already.
    #[error("site {0} lives in the host's network already; use --network namespace for another one")]
    HostTaken(SiteName),
    /// A file or folder.
    #[error("{path} cannot be made")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The supervisor.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The supervisor or the init went away.
    #[error("the site's supervisor does not answer; see {log}:\n{tail}")]
    Silent {
        /// Its log.
        log: PathBuf,
        /// The log's end.
        tail: String,
    },
    /// A step of the site's init failed.
    #[error("{step}: {why}")]
    Step {
        /// The step.
        step: String,
        /// Why.
        why: String,
    },
    /// Too slow.
    #[error("the site is not up after {} s; `scute status` says how far it is", PATIENCE.as_secs())]
    Late,
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> UpError {
    let path = path.to_path_buf();
    move |source| UpError::File { path, source }
}

/// Makes the site or brings it up to date, and returns when everything of it is ready.
pub async fn up(options: &UpOptions, progress: &dyn Progress) -> Result<UpReport, UpError> {
    let began = Instant::now();
    preflight::root().map_err(|problem| UpError::Preflight(vec![problem.text]))?;
    let (layout, existing) = locate(options)?;
    let bundle = Bundle::open(&options.bundle, VERSION, scute_kubeadm::KUBERNETES_VERSION)?;
    if let Some(existing) = &existing {
        check_same(options, existing)?;
    }
    let running = supervisor::running(&layout).is_some();
    let config = match &existing {
        Some(existing) => refreshed(existing, options, &bundle)?,
        None => new_config(options, &bundle)?,
    };
    let machine = async {
        match running {
            true => Ok(()),
            false => step(progress, "machine", async { preflight_report(&layout, &config, progress) }).await,
        }
    };
    let checked = step(progress, "bundle", verify(&layout, &bundle));
    // Reading the bundle takes as long as looking at the machine; a machine that does not fit is told first.
    let (machine, checked) = tokio::join!(machine, checked);
    machine?;
    let checked = checked?;
    // Up to here nothing was changed: a refusal leaves nothing behind.
    claim(&layout)?;
    prepare_files(&layout, &bundle, &checked)?;
    if let Some(old) = existing.as_ref().filter(|old| running && old.network == NetworkMode::Namespace) {
        network::reroute(&old.addresses, &config.addresses)?;
    }
    let config = write_config(&layout, config)?;
    let changed = existing.as_ref().is_none_or(|old| {
        old.bundle_digest != config.bundle_digest || old.addresses.pools != config.addresses.pools
    });
    let ask = if running && changed { Ask::Converge } else { Ask::Watch };
    if !running {
        supervisor::start_detached(&layout)?;
    }
    let follow = Follow { layout: &layout, progress, ask, began, node_ready: None };
    let node_ready = timeout(PATIENCE, follow.run()).await.map_err(|_| UpError::Late)??;
    let kubeconfig = layout.admin_kubeconfig();
    Ok(UpReport { config, kubeconfig, node_ready, took: began.elapsed() })
}

/// The site's folder and what is in it.
fn locate(options: &UpOptions) -> Result<(Layout, Option<SiteConfig>), UpError> {
    let known = config::find(&options.site);
    let existing = SiteConfig::load(&known)?;
    let Some(dir) = &options.dir else { return Ok((known, existing)) };
    let wanted = std::path::absolute(dir).map_err(file(dir))?;
    let wanted = fs::canonicalize(&wanted).unwrap_or(wanted);
    if existing.is_some() && known.dir != wanted {
        let (found, wanted) = (known.dir.display().to_string(), wanted.display().to_string());
        return Err(UpError::Other { site: options.site.clone(), what: "state folder", found, wanted });
    }
    let layout = Layout::new(options.site.clone(), wanted);
    let existing = SiteConfig::load(&layout)?;
    Ok((layout, existing))
}

/// Makes the site's folder, and its entry where that is elsewhere.
fn claim(layout: &Layout) -> Result<(), UpError> {
    let (entry, dir) = (Layout::entry(&layout.name), &layout.dir);
    let leads_here = || fs::canonicalize(&entry).is_ok_and(|found| found == *dir);
    // Left by an `up` that broke off, or of a folder that somebody removed.
    if fs::symlink_metadata(&entry).is_ok_and(|meta| meta.is_symlink()) && !leads_here() {
        fs::remove_file(&entry).map_err(file(&entry))?;
    }
    files::folder(dir, 0o711).map_err(file(dir))?;
    if leads_here() || entry == *dir {
        return Ok(());
    }
    fs::create_dir_all(SITES).map_err(file(Path::new(SITES)))?;
    symlink(dir, &entry).map_err(file(&entry))
}

fn preflight_report(layout: &Layout, config: &SiteConfig, progress: &dyn Progress) -> Result<(), UpError> {
    let (bearable, fatal): (Vec<_>, Vec<_>) =
        preflight::check(layout, config).into_iter().partition(|problem| problem.bearable);
    for problem in bearable {
        progress.note(&format!("note: {problem}"));
    }
    if fatal.is_empty() {
        Ok(())
    } else {
        Err(UpError::Preflight(fatal.into_iter().map(|p| p.text).collect()))
    }
}

fn write_config(layout: &Layout, mut config: SiteConfig) -> Result<SiteConfig, UpError> {
    let made = mounts::make_mount_points().map_err(file(Path::new("/var/lib")))?;
    config.made_folders.extend(made);
    config.changed_settings.extend(settings::change(config.network));
    config.save(layout)?;
    Ok(config)
}
