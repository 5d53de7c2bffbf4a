//! `scute up`: makes a site, or brings one that exists to what it should be. In: a few choices. Out: a running site.
//! The work itself is done by the site's supervisor and init; this process prepares, watches and tells.

mod follow;
mod place;
mod plan;
mod programs;

use crate::{
    Layout, NetworkMode, Progress, SiteConfig, VERSION,
    addresses::{AddressError, AddressWishes},
    config::ConfigError,
    host::{egress, lock::MachineLock, network, preflight, settings},
    layout::SiteName,
    node::{control::Ask, mounts},
    progress::step,
    supervisor::{self, StartError},
};
use follow::Follow;
use place::{claim, locate};
use plan::{check_same, new_config, refreshed};
use programs::{prepare_files, verify};
use scute_bundle::{Bundle, BundleError};
use scute_processes::command::CommandError;
use std::{
    io,
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
    pub bundle: Option<PathBuf>,
    /// The bundle's folder for a new site, when none is named.
    pub default_bundle: PathBuf,
    /// Whether Pods and guests reach what the machine reaches. A new site: in the host's network only.
    pub masquerade: Option<bool>,
    /// Wished address ranges.
    pub addresses: AddressWishes,
}

impl UpOptions {
    /// A site as it is, or a new one without any wishes.
    #[must_use]
    pub fn of(site: SiteName, default_bundle: PathBuf) -> Self {
        Self {
            site,
            dir: None,
            network: None,
            bundle: None,
            default_bundle,
            masquerade: None,
            addresses: AddressWishes::default(),
        }
    }
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
    /// The lock of the machine.
    #[error("/run/scute.lock cannot be locked")]
    Lock(#[source] io::Error),
    /// The folder is somebody's.
    #[error(
        "{dir} is neither empty nor a site's (it has {has}); choose another folder with --dir, or empty this one"
    )]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// What is in it.
        has: String,
    },
    /// The folder is another site's.
    #[error("{dir} is the folder of site {site}; give that name with --site, or choose another --dir")]
    AnotherSites {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        site: String,
    },
    /// Which ranges another site has is not known.
    #[error("the ranges of site {site} are not known; mend it, or remove it with `scute down --site {site}`")]
    Neighbour {
        /// The other site.
        site: SiteName,
        /// Why.
        #[source]
        source: ConfigError,
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
    let waits =
        || progress.note("note: another `scute up` or `scute down` is at work; this one waits for it");
    let lock = MachineLock::take(waits).map_err(UpError::Lock)?;
    let (layout, existing) = locate(options)?;
    let bundle = bundle(options, existing.as_ref(), progress)?;
    if let Some(existing) = &existing {
        check_same(options, existing)?;
    }
    let running = supervisor::running(&layout).is_some();
    let config = match (&existing, &bundle) {
        (Some(existing), bundle) => refreshed(existing, options, bundle.as_ref())?,
        (None, Some(bundle)) => new_config(options, bundle)?,
        (None, None) => return Err(BundleError::Lacks("everything".to_owned()).into()),
    };
    let machine = async {
        match running {
            true => Ok(()),
            false => step(progress, "machine", async { preflight_report(&layout, &config, progress) }).await,
        }
    };
    let checked = async {
        match &bundle {
            Some(bundle) => step(progress, "bundle", verify(&layout, bundle)).await.map(Some),
            None => Ok(None),
        }
    };
    // Reading the bundle takes as long as looking at the machine; a machine that does not fit is told first.
    let (machine, checked) = tokio::join!(machine, checked);
    machine?;
    let checked = checked?;
    // Up to here nothing was changed: a refusal leaves nothing behind.
    claim(&layout, &config)?;
    if let (Some(bundle), Some(checked)) = (&bundle, &checked) {
        prepare_files(&layout, bundle, checked)?;
    }
    let config = change_machine(&layout, existing.as_ref().filter(|_| running), config)?;
    let changed = existing.as_ref().is_none_or(|old| {
        old.bundle_digest != config.bundle_digest || old.addresses.pools != config.addresses.pools
    });
    let ask = if running && changed { Ask::Converge } else { Ask::Watch };
    if !running {
        supervisor::start_detached(&layout)?;
    }
    // What others look at before they change something is written down.
    drop(lock);
    let follow = Follow { layout: &layout, progress, ask, began, node_ready: None };
    let node_ready = timeout(PATIENCE, follow.run()).await.map_err(|_| UpError::Late)??;
    let kubeconfig = layout.admin_kubeconfig();
    Ok(UpReport { config, kubeconfig, node_ready, took: began.elapsed() })
}

/// The bundle to bring in: the one that was named, or the site's own, or the default. A site that is there can do
/// without: then `None`.
fn bundle(
    options: &UpOptions,
    existing: Option<&SiteConfig>,
    progress: &dyn Progress,
) -> Result<Option<Bundle>, UpError> {
    let open = |dir: &Path| Bundle::open(dir, VERSION, scute_kubeadm::KUBERNETES_VERSION);
    match (&options.bundle, existing) {
        (Some(named), _) => Ok(Some(open(named)?)),
        (None, None) => Ok(Some(open(&options.default_bundle)?)),
        (None, Some(existing)) => match open(&existing.bundle) {
            Ok(bundle) => Ok(Some(bundle)),
            Err(why) => {
                let why = scute_processes::chain(&why);
                progress.note(&format!("note: the site keeps what it has, without its bundle: {why}"));
                Ok(None)
            }
        },
    }
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

/// Changes what belongs to the machine, and writes down what has to be put back.
fn change_machine(
    layout: &Layout,
    running: Option<&SiteConfig>,
    mut config: SiteConfig,
) -> Result<SiteConfig, UpError> {
    let made = mounts::make_mount_points().map_err(file(Path::new("/var/lib")))?;
    config.made_folders.extend(made);
    config.changed_settings.extend(settings::change(&config));
    let (needed, idle) =
        config.changed_settings.iter().cloned().partition(|setting| settings::needs(&config, setting));
    config.changed_settings = needed;
    config.save(layout)?;
    // A supervisor that starts does the rest itself.
    if let Some(old) = running {
        if old.network == NetworkMode::Namespace {
            network::reroute(&old.addresses, &config.addresses)?;
        }
        egress::apply(layout, &config)?;
    }
    settings::give_back(&layout.name, idle);
    Ok(config)
}
