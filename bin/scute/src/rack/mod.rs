//! `scute rack`: virtual bare-metal servers beside a site.

mod list;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use scute_bmc::Reset;
use scute_rack::control::{self, Answer, Request, View};
use scute_rack::fault::{At, Fault, Which};
use scute_rack::rack::{self, Network, Place, Programs, Rack};
use scute_rack::{Firmware, HostFolder, Shape};
use scute_site::RackPlace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::{self, Format};
use crate::site::Site;

/// Hosts of a rack.
const HOSTS: u16 = 100;

/// `scute rack`.
#[derive(Subcommand)]
pub enum RackCommand {
    /// Bring up virtual servers beside a site: the rack's hosts, and more of them until there are so many
    Up(Up),
    /// Stop the rack and remove its hosts
    Down(Down),
    /// List the hosts; `-o yaml` prints a BareMetalHost and its Secret for each
    List(List),
    /// Power a host
    Power {
        /// The host
        host: String,
        /// What
        action: Action,
        #[command(flatten)]
        site: Site,
    },
    /// Look at a host's serial port, and type into it (Ctrl-C ends)
    Console {
        /// The host
        host: String,
        #[command(flatten)]
        site: Site,
    },
    /// Let something go wrong with a host
    Fault(Wrong),
    /// Run the rack of a site (started by the site's supervisor)
    #[command(hide = true)]
    Serve(Site),
}

/// Options of `scute rack up`.
#[derive(Args)]
pub struct Up {
    #[command(flatten)]
    site: Site,
    /// How many hosts there shall be
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(HOSTS)))]
    hosts: u16,
    /// Which vendor's BMC new hosts imitate
    #[arg(long, default_value = "plain")]
    profile: String,
    /// A further knob of new hosts' BMCs, as `eject-lag=7s`; repeat for more
    #[arg(long = "knob", value_name = "KNOB")]
    knobs: Vec<String>,
    /// What boots new hosts
    #[arg(long, value_enum, default_value_t = Boots::Uefi)]
    firmware: Boots,
    /// Vcpus of new hosts
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    /// Memory of new hosts in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    memory: u64,
    /// Size of a disk of new hosts in MiB; repeat for more disks
    #[arg(long = "disk", default_values_t = [20_480], value_name = "MIB")]
    disks: Vec<u64>,
    /// Network cards of new hosts
    #[arg(long, default_value_t = 1)]
    nics: usize,
}

/// What boots a host.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Boots {
    Uefi,
    Bios,
}

/// Options of `scute rack down`.
#[derive(Args)]
pub struct Down {
    #[command(flatten)]
    site: Site,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Options of `scute rack list`.
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    site: Site,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    /// Namespace of the objects
    #[arg(long, short, default_value = "default")]
    namespace: String,
}

/// What power does.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Action {
    On,
    /// At once, without asking the guest
    Off,
    /// Ask the guest to go off
    Shutdown,
    /// At once, without asking the guest
    Reset,
}

/// Options of `scute rack fault`.
#[derive(Args)]
pub struct Wrong {
    /// The host
    host: String,
    #[command(subcommand)]
    kind: Kind,
    #[command(flatten)]
    site: Site,
    /// How many requests, for faults of requests; all when not given
    #[arg(long, global = true)]
    times: Option<u32>,
    /// Requests with this method only
    #[arg(long, global = true)]
    method: Option<String>,
    /// Requests with this in their path only
    #[arg(long, global = true, default_value = "")]
    path: String,
}

#[derive(Subcommand)]
enum Kind {
    /// Answer with a status, and do nothing
    Http {
        status: u16,
        /// `MessageId` of the answer
        #[arg(long)]
        message: Option<String>,
        /// `Retry-After` of the answer, in seconds
        #[arg(long, value_name = "SECONDS")]
        retry_after: Option<u64>,
    },
    /// Do not answer
    Hang,
    /// Answer late
    Slow { seconds: u64 },
    /// End the connection in the middle of an answer
    Cut,
    /// Answer success, and do nothing
    Ignored,
    /// Answer with something that is no JSON
    Garbage,
    /// Log-ins are refused because the table of sessions is full
    SessionLimit,
    /// Changes of the boot override are accepted, and not done
    OverrideIgnored,
    /// Ejecting is accepted, and not done
    MediaStuck,
    /// The power fails, once, before something is written at a byte of a disk; the host stays off
    PowerCut {
        offset: u64,
        /// The disk, numbered from 0
        #[arg(long, default_value_t = 0)]
        disk: usize,
    },
    /// Reading and writing the sector with a byte of a disk fails
    DiskError {
        offset: u64,
        /// The disk, numbered from 0
        #[arg(long, default_value_t = 0)]
        disk: usize,
    },
    /// Power orders are accepted, and done later
    SlowPower { seconds: u64 },
    /// Wrong passwords lock the account for so many seconds
    LockOut {
        seconds: u64,
        /// How many wrong passwords
        #[arg(long, default_value_t = 3)]
        after: u32,
    },
    /// The BMC has another password than the Secret
    WrongPassword,
    /// The BMC restarts and forgets its sessions
    Restart,
    /// A network card, numbered from 0, has no link
    LinkDown { nic: usize },
    /// It has one again
    LinkUp { nic: usize },
    /// Nothing goes wrong any more, but cables stay as they are
    Clear,
}

impl RackCommand {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Up(up) => up.run().await,
            Self::Down(down) => down.run(),
            Self::List(list) => list.run().await,
            Self::Power { host, action, site } => {
                let reset = match action {
                    Action::On => Reset::On,
                    Action::Off => Reset::ForceOff,
                    Action::Shutdown => Reset::GracefulShutdown,
                    Action::Reset => Reset::ForceRestart,
                };
                ask(&place(&site)?, Request::Power { host, reset }).await
            }
            Self::Console { host, site } => console(&place(&site)?, host).await,
            Self::Fault(wrong) => wrong.run().await,
            Self::Serve(site) => serve(&site).await,
        }
    }
}

fn place(site: &Site) -> anyhow::Result<RackPlace> {
    Ok(RackPlace::of(site.name())?)
}

async fn ask(place: &RackPlace, request: Request) -> anyhow::Result<ExitCode> {
    control::ask(&place.socket, &request).await.with_context(|| not_up(place))?;
    Ok(ExitCode::SUCCESS)
}

fn not_up(place: &RackPlace) -> String {
    match place.running() {
        Some(_) => "the rack did not do it".into(),
        None => "the rack does not run; `scute rack up` starts it".into(),
    }
}

impl Up {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let place = place(&self.site)?;
        place.keeper()?;
        let name = format!("{}-host", self.site.name());
        rack::grow(
            &place.folder,
            &name,
            self.hosts,
            &self.shape(),
            &Programs::installed()?,
            &stands(&place),
        )?;
        // The supervisor of the site starts the rack where none runs.
        let views =
            place.first_sign(async || control::ask(&place.socket, &Request::Refresh).await.ok()).await;
        views.with_context(|| format!("the rack does not come up; see {}", place.log.display()))?;
        output::say(&list::table(&hosts(&place).await?))?;
        Ok(ExitCode::SUCCESS)
    }

    fn shape(&self) -> Shape {
        Shape {
            profile: self.profile.clone(),
            knobs: self.knobs.clone(),
            firmware: match self.firmware {
                Boots::Uefi => Firmware::Uefi,
                Boots::Bios => Firmware::Bios,
            },
            cpus: self.cpus,
            memory_mib: self.memory,
            disks_mib: self.disks.clone(),
            nics: self.nics,
        }
    }
}

async fn hosts(place: &RackPlace) -> anyhow::Result<Vec<View>> {
    match control::ask(&place.socket, &Request::List).await.with_context(|| not_up(place))? {
        (Answer::Hosts(hosts), _) => Ok(hosts),
        (answer, _) => bail!("the rack answers {answer:?}"),
    }
}

impl Down {
    fn run(self) -> anyhow::Result<ExitCode> {
        let place = place(&self.site)?;
        let names = rack::names(&place.folder)?;
        if place.running().is_none() && names.is_empty() {
            eprintln!("There is no rack.");
            return Ok(ExitCode::SUCCESS);
        }
        let hosts: Vec<String> = names.iter().map(|name| format!("the host {name} with its disks")).collect();
        if !self.yes && !output::confirmed("This removes for good:", &hosts, "Remove the rack?")? {
            eprintln!("Nothing was removed.");
            return Ok(ExitCode::FAILURE);
        }
        place.remove()?;
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let place = place(&self.site)?;
        let hosts = hosts(&place).await?;
        match self.output {
            Format::Yaml => output::say(&list::objects(&place.folder, &hosts, &self.namespace)?)?,
            other => output::print(other, &hosts, |hosts| list::table(hosts))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Wrong {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let place = place(&self.site)?;
        let Self { host, kind, times, method, path, .. } = self;
        let which = Which { times, method, path };
        let only = |method: &str, path: &str| Which {
            times,
            method: Some(method.to_owned()),
            path: path.to_owned(),
        };
        let fault = match kind {
            Kind::Http { status, message, retry_after } => {
                Fault::Http { status, message, retry_after, which }
            }
            Kind::Hang => Fault::Hang(which),
            Kind::Slow { seconds } => Fault::Slow { seconds, which },
            Kind::Cut => Fault::Cut(which),
            Kind::Ignored => Fault::Ignored(which),
            Kind::Garbage => Fault::Garbage(which),
            Kind::SessionLimit => Fault::Http {
                status: 503,
                message: Some("Base.1.19.SessionLimitExceeded".into()),
                retry_after: None,
                which: only("POST", "/SessionService/Sessions"),
            },
            Kind::OverrideIgnored => Fault::Ignored(only("PATCH", "/Systems/")),
            Kind::MediaStuck => Fault::Ignored(only("POST", "VirtualMedia.EjectMedia")),
            Kind::PowerCut { offset, disk } => Fault::PowerCut(At { disk, offset }),
            Kind::DiskError { offset, disk } => Fault::DiskError(At { disk, offset }),
            Kind::SlowPower { seconds } => Fault::SlowPower { seconds },
            Kind::LockOut { seconds, after } => Fault::LockOut { after, seconds },
            Kind::WrongPassword => Fault::WrongPassword,
            Kind::Restart => Fault::Restart,
            Kind::LinkDown { nic } => Fault::Link { nic, up: false },
            Kind::LinkUp { nic } => Fault::Link { nic, up: true },
            Kind::Clear => Fault::Clear { password: HostFolder::at(place.folder.join(&host)).password()? },
        };
        ask(&place, Request::Fault { host, fault }).await
    }
}

async fn console(place: &RackPlace, host: String) -> anyhow::Result<ExitCode> {
    let request = Request::Console { host };
    let (_, mut line) = control::ask(&place.socket, &request).await.with_context(|| not_up(place))?;
    let (mut input, mut out) = (tokio::io::stdin(), tokio::io::stdout());
    let (mut seen, mut typed) = ([0; 4096], [0; 1024]);
    let mut listens = true;
    loop {
        tokio::select! {
            read = line.read(&mut seen) => match read? {
                0 => return Ok(ExitCode::SUCCESS),
                read => {
                    out.write_all(&seen[..read]).await?;
                    out.flush().await?;
                }
            },
            read = input.read(&mut typed), if listens => match read? {
                // Nobody types; what is said can still be read.
                0 => listens = false,
                read => line.get_mut().write_all(&typed[..read]).await?,
            },
        }
    }
}

/// Where hosts find the site.
fn stands(place: &RackPlace) -> Place {
    let network = Network {
        bridge: place.bridge.clone(),
        gateway: place.address,
        prefix: place.prefix,
        dns: vec![place.dns],
        addresses: (place.addresses.first, place.addresses.last),
    };
    Place { bmc: place.address.into(), network: Some(network) }
}

/// Runs the rack of a site, in whose network its supervisor has started this process.
pub async fn serve(site: &Site) -> anyhow::Result<ExitCode> {
    let place = place(site)?;
    crate::log_to(scute_processes::logs::Log::new(&place.log));
    let run = async {
        let _lock = place.enter().await?;
        let rack = Rack::open(&place.folder, Programs::installed()?, stands(&place)).await?;
        let mut told = signal(SignalKind::terminate())?;
        tokio::select! {
            served = control::serve(rack, &place.socket) => match served? {},
            _ = told.recv() => anyhow::Ok(()),
        }
    };
    run.await.inspect_err(|error| tracing::error!(error = format!("{error:#}"), "the rack ends"))?;
    Ok(ExitCode::SUCCESS)
}
