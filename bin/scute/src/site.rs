//! `scute up`, `down`, `status`, and the two hidden commands that a site runs.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;
use scute_site::addresses::{AddressRange, AddressWishes};
use scute_site::{DownOptions, NetworkMode, SiteName, Status, StatusOptions, Terminal, UpOptions};

use crate::output::{self, Format};

/// Which site.
#[derive(Args, Clone, Debug)]
pub struct Site {
    /// Name of the site
    #[arg(long, value_name = "NAME", default_value_t, value_parser = SiteName::new)]
    site: SiteName,
}

/// How a site meets the machine's network.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Network {
    /// A network namespace of its own, with a link to the host
    Namespace,
    /// The network of the host
    Host,
}

/// Whether something is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Options of `scute up`.
#[derive(Args, Debug)]
pub struct Up {
    #[command(flatten)]
    site: Site,
    /// State folder [default: /var/lib/scute/NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How the site meets the machine's network [default: namespace]
    #[arg(long, value_enum)]
    network: Option<Network>,
    /// Folder of the bundle [default: the site's, for a new one bundle in the cache]
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Whether Pods and guests reach what this machine reaches, behind its address [default: off, with --network host on]
    #[arg(long, value_enum, value_name = "ON|OFF")]
    masquerade: Option<Switch>,
    /// Network between host and Node [default: 172.30.N.0/24, N the first free]
    #[arg(long, value_name = "CIDR")]
    link: Option<Ipv4Net>,
    /// Network of Pods [default: 10.(85+2N).0.0/16]
    #[arg(long, value_name = "CIDR")]
    pods: Option<Ipv4Net>,
    /// Network of Services [default: 10.(86+2N).0.0/16]
    #[arg(long, value_name = "CIDR")]
    services: Option<Ipv4Net>,
    /// Addresses for Services of type LoadBalancer; repeat for more [default: upper half of the link network]
    #[arg(long = "pool", value_name = "RANGE")]
    pools: Vec<AddressRange>,
}

/// Options of `scute down`.
#[derive(Args, Debug)]
pub struct Down {
    #[command(flatten)]
    site: Site,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Options of `scute status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    site: Site,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

impl Site {
    /// Its name.
    pub fn name(&self) -> &SiteName {
        &self.site
    }
}

impl Up {
    /// Brings the site up and says what to do next.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let options = UpOptions {
            site: self.site.site,
            dir: self.dir,
            network: self.network.map(|network| match network {
                Network::Namespace => NetworkMode::Namespace,
                Network::Host => NetworkMode::Host,
            }),
            bundle: self.bundle,
            default_bundle: default_bundle(),
            masquerade: self.masquerade.map(|switch| switch == Switch::On),
            addresses: AddressWishes {
                link: self.link,
                pods: self.pods,
                services: self.services,
                pools: self.pools,
            },
        };
        let report = scute_site::up(&options, &Terminal::default()).await?;
        if let Some(ready) = report.node_ready {
            eprintln!("Node ready after {:.1} s.", ready.as_secs_f64());
        }
        eprintln!("Site {} is up after {:.1} s.", report.config.name, report.took.as_secs_f64());
        crate::output::say(&format!("export KUBECONFIG={}\n", report.kubeconfig.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `${SCUTE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scute}/bundle`.
pub fn default_bundle() -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || var("HOME").unwrap_or_else(|| "/root".into()).join(".cache");
    let cache =
        var("SCUTE_CACHE").unwrap_or_else(|| var("XDG_CACHE_HOME").unwrap_or_else(home).join("scute"));
    cache.join("bundle")
}

impl Down {
    /// Removes the site, after a question when a person is there to answer it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let options = DownOptions { site: self.site.site };
        let found = scute_site::plan_down(&options);
        if found.is_empty() {
            eprintln!("There is no site {}.", options.site);
        } else if !self.yes {
            let question = format!("Remove site {}?", options.site);
            if !output::confirmed("This removes for good:", &found, &question)? {
                eprintln!("Nothing was removed.");
                return Ok(ExitCode::FAILURE);
            }
        }
        scute_site::down(&options, &Terminal::default()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl StatusArgs {
    /// Prints the status; the exit code is 0 only when nothing is wrong.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let status = scute_site::status(&StatusOptions { site: self.site.site }).await?;
        output::print(self.output, &status, table)?;
        Ok(if status.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn table(status: &Status) -> String {
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let reason = status.accelerator_reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let mut text = format!(
        "Site {}: {}\n\nScute {}, Kubernetes {}, network {}, Node {} {}\nWay out {}\nAccelerator {}{}\nKubeconfig {}\nBundle {}\nDisk {}: {} used, {} free\n",
        status.site,
        if status.healthy { "healthy" } else { "not healthy" },
        status.version,
        status.kubernetes,
        status.network.as_str(),
        status.node,
        if status.node_ready { "ready" } else { "not ready" },
        if status.masquerade { "behind the machine's address" } else { "none (--masquerade on)" },
        status.accelerator.map_or("not probed yet", |accelerator| accelerator.as_str()),
        reason,
        status.kubeconfig.display(),
        status.bundle,
        status.disk.path.display(),
        gib(status.disk.used),
        gib(status.disk.free),
    );
    if let Some(memory) = status.memory {
        text.push_str(&format!("Memory {}\n", gib(memory)));
    }
    text.push('\n');
    let component = |c: &scute_site::Component| {
        let pid = c.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let state =
            if c.ready { "ready".to_owned() } else { c.reason.clone().unwrap_or("not running".to_owned()) };
        vec![c.name.clone(), c.version.clone().unwrap_or_default(), state, c.restarts.to_string(), pid]
    };
    text.push_str(&output::table(
        &["COMPONENT", "VERSION", "STATE", "RESTARTS", "PID"],
        status.components.iter().map(component),
    ));
    text.push('\n');
    let pool = |p: &scute_site::Pool| vec![p.range.to_string(), p.used.to_string(), p.free.to_string()];
    text.push_str(&output::table(&["POOL", "USED", "FREE"], status.pools.iter().map(pool)));
    let servers = &status.servers;
    text.push_str(&format!(
        "\nServers on the Pod network: {} by DHCP of the rack, {} to be given; /{}, gateway {}, DNS {}\n",
        servers.leased, servers.given, servers.prefix, servers.gateway, servers.dns
    ));
    if !status.problems.is_empty() {
        text.push_str("\nWhat is wrong:\n");
        text.extend(status.problems.iter().map(|problem| format!("  {problem}\n")));
    }
    text
}

/// Runs the supervisor of a site. No thread may exist yet.
pub fn supervise(site: &Site) -> anyhow::Result<ExitCode> {
    // Without a site there is no log of one: then systemd hears why.
    match scute_site::log(&site.site) {
        Ok(log) => {
            crate::log_to(log.clone());
            scute_site::supervise(&site.site, log)
                .inspect_err(|error| tracing::error!(error = %error, "the supervisor ends"))?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs process 1 of a site.
pub fn init(site: &Site) -> anyhow::Result<ExitCode> {
    scute_site::init(&site.site)?;
    Ok(ExitCode::SUCCESS)
}
