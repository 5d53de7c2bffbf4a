//! `scute up`: makes a site, or brings one that exists to what it should be. In: a few choices. Out: a running site.
//! The work itself is done by the site's supervisor and init; this process prepares, watches and tells.

use crate::{
    Layout, NetworkMode, Progress, SiteConfig, VERSION,
    addresses::{AddressError, AddressWishes, Addresses, Taken},
    bundle::{Bundle, BundleError, Checked, PartKind},
    config::{self, ConfigError, SCHEMA},
    files,
    host::{command::CommandError, network, preflight, settings},
    layout::{SITES, SiteName},
    node::{
        control::{self, Ask, Event},
        mounts,
    },
    progress::step,
    supervisor::{self, StartError},
};
use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};
use tokio::time::{Duration, Instant, sleep, timeout};

/// How long a site may take to come up before `up` gives up watching.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long the supervisor may take to open its socket.
const FIRST_SIGN: Duration = Duration::from_secs(30);

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
    files::folder(dir, 0o711).map_err(file(dir))?;
    if fs::canonicalize(&entry).is_ok_and(|found| fs::canonicalize(dir).is_ok_and(|dir| dir == found)) {
        return Ok(());
    }
    fs::create_dir_all(SITES).map_err(file(Path::new(SITES)))?;
    // Left by an `up` that broke off.
    if fs::symlink_metadata(&entry).is_ok_and(|meta| meta.is_symlink()) {
        fs::remove_file(&entry).map_err(file(&entry))?;
    }
    symlink(dir, &entry).map_err(file(&entry))
}

/// An existing site is not turned into another one behind its owner's back.
fn check_same(options: &UpOptions, existing: &SiteConfig) -> Result<(), UpError> {
    let other = |what, found: String, wanted: String| {
        if found == wanted {
            return Ok(());
        }
        Err(UpError::Other { site: options.site.clone(), what, found, wanted })
    };
    other("version", existing.version.clone(), VERSION.to_owned())?;
    other("Kubernetes", existing.kubernetes.clone(), scute_kubeadm::KUBERNETES_VERSION.to_owned())?;
    let network = options.network.unwrap_or(existing.network);
    other("network mode", existing.network.as_str().to_owned(), network.as_str().to_owned())?;
    let (wishes, has) = (&options.addresses, &existing.addresses);
    for (what, wish, found) in [
        ("link network", wishes.link, has.link),
        ("Pod network", wishes.pods, has.pods),
        ("Service network", wishes.services, has.services),
    ] {
        other(what, found.to_string(), wish.unwrap_or(found).trunc().to_string())?;
    }
    Ok(())
}

/// What an existing site takes from this call: bundle and LoadBalancer pools may change under a running site.
fn refreshed(existing: &SiteConfig, options: &UpOptions, bundle: &Bundle) -> Result<SiteConfig, UpError> {
    let mut config = existing.clone();
    config.bundle.clone_from(&bundle.dir);
    config.bundle_digest.clone_from(&bundle.digest);
    let pools = &options.addresses.pools;
    if !pools.is_empty() && *pools != config.addresses.pools {
        let mut taken = taken_by(&other_sites(&options.site));
        if config.network == NetworkMode::Namespace {
            taken.extend(network::taken()?);
        }
        config.addresses = config.addresses.with_pools(pools, &taken)?;
    }
    Ok(config)
}

/// The other sites of this machine.
fn other_sites(site: &SiteName) -> Vec<(Layout, SiteConfig)> {
    config::all_sites().into_iter().filter(|(layout, _)| layout.name != *site).collect()
}

fn taken_by(sites: &[(Layout, SiteConfig)]) -> Vec<Taken> {
    let ranges = |(layout, config): &(Layout, SiteConfig)| {
        config.addresses.taken_by(&format!("site {:?}", layout.name.as_str()))
    };
    sites.iter().flat_map(ranges).collect()
}

fn new_config(options: &UpOptions, bundle: &Bundle) -> Result<SiteConfig, UpError> {
    let network = options.network.unwrap_or_default();
    let addresses = choose_addresses(options, network)?;
    Ok(SiteConfig {
        schema: SCHEMA,
        name: options.site.to_string(),
        version: VERSION.to_owned(),
        kubernetes: scute_kubeadm::KUBERNETES_VERSION.to_owned(),
        network,
        addresses,
        bundle: fs::canonicalize(&bundle.dir).map_err(file(&bundle.dir))?,
        bundle_digest: bundle.digest.clone(),
        made_folders: Vec::new(),
        changed_settings: Vec::new(),
    })
}

fn choose_addresses(options: &UpOptions, network: NetworkMode) -> Result<Addresses, UpError> {
    let others = other_sites(&options.site);
    let mut taken = taken_by(&others);
    let used: Vec<u8> = others.iter().map(|(_, c)| c.addresses.index).collect();
    let mut wishes = options.addresses.clone();
    let host = match network {
        NetworkMode::Namespace => None,
        NetworkMode::Host => Some(network::host_address()?.ok_or(UpError::NoHostAddress)?),
    };
    if let Some((layout, _)) =
        others.iter().find(|(_, c)| c.network == network && network == NetworkMode::Host)
    {
        return Err(UpError::HostTaken(layout.name.clone()));
    }
    taken.extend(network::taken()?);
    if let Some((node, link)) = host {
        wishes.link = Some(link);
        taken.retain(|taken| taken.range != link.into());
        let mut plan = Addresses::choose_on_host(node, &wishes, &taken, &used)?;
        plan.pools.clone_from(&options.addresses.pools);
        return Ok(plan);
    }
    Ok(Addresses::choose(&wishes, &taken, &used)?)
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

/// Checks executables and files. Images are checked by the site's init while it imports them: reading gigabytes first
/// would only delay a ready Node.
async fn verify(layout: &Layout, bundle: &Bundle) -> Result<Checked, UpError> {
    let record = record(layout);
    let bundle = bundle.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut seen: Checked =
            fs::read(record).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let needed = bundle.index.parts.iter().filter(|part| part.kind != PartKind::Image);
        bundle.verify(needed, &mut seen).map(|()| seen)
    });
    Ok(work.await.map_err(|_| BundleError::Lacks("readable parts".to_owned()))??)
}

/// What was checked in earlier calls.
fn record(layout: &Layout) -> PathBuf {
    layout.at("bundle-checked.json")
}

/// Brings executables into the site and keeps what was checked.
fn prepare_files(layout: &Layout, bundle: &Bundle, checked: &Checked) -> Result<(), UpError> {
    let record = record(layout);
    let text = serde_json::to_vec(checked).unwrap_or_default();
    files::write(&record, &text, 0o644).map_err(file(&record))?;
    // The site runs the very binary that made it, not the bundle's copy for others.
    let programs =
        bundle.parts(PartKind::Binary).filter(|part| part.name != "scute").map(|part| (part, 0o755));
    let libraries =
        bundle.parts(PartKind::File).filter(|part| part.file.starts_with("lib")).map(|part| (part, 0o644));
    for (part, mode) in programs.chain(libraries) {
        let to = layout.dir.join(&part.file);
        install_file(&bundle.path(part), &to, part.mode.unwrap_or(mode)).map_err(file(&to))?;
    }
    for needed in
        ["kube", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "cni/bridge", "cni/loopback"]
    {
        if !layout.bin(needed).exists() {
            return Err(BundleError::Lacks(format!("the program {needed}")).into());
        }
    }
    let own = std::env::current_exe().map_err(file(Path::new("/proc/self/exe")))?;
    let to = layout.bin("scute");
    if own != to {
        // A copy: linked, the user's own file would be busy and could not be replaced.
        copy_file(&own, &to, 0o755).map_err(file(&to))?;
    }
    Ok(())
}

/// Puts an executable in place under a new inode, because the old one may be running. A hard link where that works.
fn install_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let source = fs::metadata(from)?;
    if fs::metadata(to).is_ok_and(|old| old.ino() == source.ino() && old.dev() == source.dev()) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        files::folder(parent, 0o755)?;
    }
    let temporary = to.with_extension("new");
    _ = fs::remove_file(&temporary);
    if source.mode() & 0o7777 != mode || fs::hard_link(from, &temporary).is_err() {
        return copy_file(from, to, mode);
    }
    fs::rename(&temporary, to)
}

fn copy_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let temporary = to.with_extension("new");
    fs::copy(from, &temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
    fs::rename(&temporary, to)
}

fn write_config(layout: &Layout, mut config: SiteConfig) -> Result<SiteConfig, UpError> {
    let made = mounts::make_mount_points().map_err(file(Path::new("/var/lib")))?;
    config.made_folders.extend(made);
    config.changed_settings.extend(settings::change(config.network));
    config.save(layout)?;
    Ok(config)
}

/// Follows what the site's init tells.
struct Follow<'a> {
    layout: &'a Layout,
    progress: &'a dyn Progress,
    ask: Ask,
    began: Instant,
    node_ready: Option<Duration>,
}

impl Follow<'_> {
    async fn run(mut self) -> Result<Option<Duration>, UpError> {
        loop {
            let mut answers = self.connect().await?;
            loop {
                match answers.next::<Event>().await {
                    Ok(Some(Event::Up { .. })) => return Ok(self.node_ready),
                    Ok(Some(event)) => self.tell(event)?,
                    // The init died; its supervisor starts another one, which tells everything again.
                    Ok(None) | Err(_) => break,
                }
            }
            self.progress.note("the site's init ended and is started again");
            self.ask = Ask::Watch;
        }
    }

    /// Connects as soon as there is a socket: nobody can tell us of it before.
    async fn connect(&self) -> Result<control::Answers, UpError> {
        let socket = self.layout.control_socket();
        let until = Instant::now() + FIRST_SIGN;
        loop {
            match control::ask(&socket, self.ask).await {
                Ok(answers) => return Ok(answers),
                Err(_) if Instant::now() < until && self.supervisor_lives(until) => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(_) => {
                    let log = self.layout.log("site");
                    let tail = crate::node::logs::tail(&log, 5);
                    return Err(UpError::Silent { log, tail });
                }
            }
        }
    }

    /// A supervisor needs a moment to take its lock; one that has none after that has ended.
    fn supervisor_lives(&self, until: Instant) -> bool {
        let waited = FIRST_SIGN.saturating_sub(until - Instant::now());
        waited < Duration::from_secs(3) || supervisor::running(self.layout).is_some()
    }

    fn tell(&mut self, event: Event) -> Result<(), UpError> {
        match event {
            Event::Started { step } => self.progress.start(&step),
            Event::Finished { step, millis, detail } => {
                if step == crate::node::bringup::NODE_READY {
                    self.node_ready = Some(self.began.elapsed());
                }
                self.progress.finish(&step, Duration::from_millis(millis), &detail);
            }
            Event::Failed { step, why } => {
                self.progress.fail(&step, &why);
                return Err(UpError::Step { step, why });
            }
            Event::Up { .. } => {}
        }
        Ok(())
    }
}
