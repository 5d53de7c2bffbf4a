//! The one binary: argument parsing and wiring, nothing else.

mod bootstrap;
mod client;
mod cluster;
mod etcd_member;
mod install;
mod manager;
mod movement;
mod output;
mod planner;
mod podnet;
mod rack;
mod site;
mod vip;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Cuts bare-metal servers into Kubernetes clusters.
#[derive(Parser)]
#[command(name = "scute", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring up a management cluster on this machine, or bring it up to date
    Up(site::Up),
    /// Stop the management cluster of this machine and remove every trace of it
    Down(site::Down),
    /// Show the management cluster of this machine and what is wrong with it
    Status(site::StatusArgs),
    /// Keep a site alive (started by `up`)
    #[command(hide = true)]
    SiteSupervisor(site::Site),
    /// Be process 1 of a site (started by its supervisor)
    #[command(hide = true)]
    SiteInit(site::Site),
    /// List, describe and delete tenant clusters, and get their kubeconfigs
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Plan how servers are cut: which stay whole, which hold VMs of which size, what binds, what it costs
    Plan(Box<planner::PlanCommand>),
    /// Check manifests or a management cluster: addresses, networks, versions, references, capacity
    Lint(planner::LintCommand),
    /// Say why a cluster, machine or host is not ready, and what to change
    Explain(planner::ExplainCommand),
    /// Virtual bare-metal servers beside a site, for trying things out
    #[command(subcommand)]
    Rack(rack::RackCommand),
    /// Put Scute into a Kubernetes cluster, or bring what is there up to date
    Install(install::InstallArgs),
    Move(movement::MoveArgs),
    Bootstrap(bootstrap::BootstrapArgs),
    /// Run the controllers and the admission server
    Manager(manager::ManagerArgs),
    /// Prepare the start of a member of the installed etcd (the init container of its Pod)
    #[command(hide = true)]
    EtcdMember(etcd_member::EtcdMemberArgs),
    /// Run a virtual machine as process 1 of its Pod
    Launcher {
        /// What the launcher is asked for
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Prepare a server as the init of the provisioning ramdisk
    Agent,
    /// Hold an address that one of several servers has: the endpoint of their control plane
    Vip(vip::VipArgs),
    /// Run the embedded Pod network's agent on a Node, or print what puts it there
    Podnet(podnet::PodnetArgs),
    /// Print the CustomResourceDefinitions that Scute serves
    Crds,
    /// Print a shell completion script
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    // What a kernel leaves of its command line for init is not meant for us; and a panic of the agent is told to the service
    // before anything ends.
    if scute_agent::is_ramdisk() {
        return agent();
    }
    scute_kit::guard::end_process_on_panic();
    // Fails only when one is installed already, which is just as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if error.is::<output::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scute: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(command) => runtime()?.block_on(command.run()),
        Command::Down(command) => runtime()?.block_on(command.run()),
        Command::Status(command) => runtime()?.block_on(command.run()),
        Command::SiteSupervisor(site) => site::supervise(&site),
        Command::SiteInit(site) => {
            log_to_stderr();
            site::init(&site)
        }
        Command::Cluster(command) => runtime()?.block_on(command.run()),
        Command::Plan(command) => runtime()?.block_on(command.run()),
        Command::Lint(command) => runtime()?.block_on(command.run()),
        Command::Explain(command) => runtime()?.block_on(command.run()),
        Command::Rack(command) => runtime()?.block_on(command.run()),
        Command::Install(command) => runtime()?.block_on(command.run()),
        Command::Move(command) => runtime()?.block_on(command.run()),
        Command::Bootstrap(command) => runtime()?.block_on(command.run()),
        Command::Manager(command) => {
            log_to_stderr();
            runtime()?.block_on(command.run())
        }
        Command::EtcdMember(command) => {
            log_to_stderr();
            one_thread()?.block_on(command.run())
        }
        Command::Launcher { arguments } => {
            log_to_stderr();
            Ok(scute_launcher::main(arguments))
        }
        Command::Agent => Ok(agent()),
        Command::Vip(command) => {
            log_to_stderr();
            one_thread()?.block_on(command.run())
        }
        Command::Podnet(command) => {
            if command.is_agent() {
                log_to_stderr();
            }
            one_thread()?.block_on(command.run())
        }
        Command::Crds => {
            for crd in scute_api::crds() {
                output::say(&format!("---\n{}\n", output::yaml(&crd)?))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "scute", &mut script);
            output::say(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn agent() -> ExitCode {
    log_to_stderr();
    scute_agent::main()
}

/// Commands bring up their own runtime: the launcher needs none of several threads.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// For who waits, and answers in microseconds.
fn one_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// What is logged unless `RUST_LOG` says otherwise.
const LOGGED: &str = "info";

/// What is not logged whatever `RUST_LOG` says: the client library writes answers that it cannot decode into the log, and
/// they may be Secrets. Its own errors are ours to tell: a tenant that is not up yet is none.
const NEVER_LOGGED: [&str; 2] = ["kube_client::client=error", "kube_client::client::builder=off"];

/// Logs for processes that run in the background; `RUST_LOG` chooses what.
fn log_to_stderr() {
    log_by(std::io::stderr);
}

/// Logs into a file that somebody else writes to as well.
fn log_to(log: impl std::io::Write + Clone + Send + Sync + 'static) {
    log_by(move || log.clone());
}

fn log_by<W>(writer: impl Fn() -> W + Send + Sync + 'static)
where
    W: std::io::Write + 'static,
{
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false).init();
}

fn filter(asked: Option<&str>) -> EnvFilter {
    let asked = asked.and_then(|asked| asked.parse().ok()).unwrap_or_else(|| EnvFilter::new(LOGGED));
    let never = NEVER_LOGGED.iter().filter_map(|never| never.parse().ok());
    never.fold(asked, EnvFilter::add_directive)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    #[test]
    fn answers_of_an_api_server_are_not_logged_whatever_is_asked_for() {
        for asked in [None, Some("trace"), Some("kube_client=trace"), Some("kube_client::client=trace")] {
            let subscriber = tracing_subscriber::fmt().with_env_filter(super::filter(asked)).finish();
            tracing::subscriber::with_default(subscriber, || {
                assert!(!tracing::enabled!(target: "kube_client::client", Level::WARN), "{asked:?}");
                assert!(
                    !tracing::enabled!(target: "kube_client::client::builder", Level::ERROR),
                    "{asked:?}"
                );
                assert!(tracing::enabled!(target: "scute_kit::follow", Level::WARN) || asked.is_some());
            });
        }
    }
}
