//! Process 1: makes the kernel usable, starts the agent as a child, and outlives it. A kernel whose init ends panics
//! without saying why; here whatever happens to the agent (a bug, no memory) is told on the console, and then the host is
//! powered off, which its BMC tells everybody.

mod modules;
mod system;

use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use rustix::process::{WaitOptions, waitpid};
use rustix::system::RebootCommand;

use crate::protocol::Parameters;
use crate::work::End;
use crate::{inventory, network, work};

/// Set for the child: it may end the machine.
const CHILD: &str = "SCUTE_AGENT_CHILD";
/// How long a message stays on the console before the power goes.
const READ: Duration = Duration::from_secs(10);

/// Whether this is the init of a ramdisk, or the agent that it has started.
#[must_use]
pub fn is_ramdisk() -> bool {
    let is_init = std::process::id() == 1 && std::env::args_os().next().is_some_and(|name| name == "/init");
    is_init || std::env::var_os(CHILD).is_some()
}

/// Never comes back.
pub fn run() -> ExitCode {
    let why = match system::set_up().and_then(|()| spawn()) {
        Ok(child) => outlive(&child),
        Err(error) => format!("cannot start: {error}"),
    };
    eprintln!("scute agent: {why}; powering off");
    std::thread::sleep(READ);
    system::end(RebootCommand::PowerOff)
}

fn spawn() -> std::io::Result<Child> {
    Command::new("/proc/self/exe").arg("agent").env(CHILD, "1").spawn()
}

/// Buries every child until the agent is among them.
fn outlive(agent: &Child) -> String {
    loop {
        match waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() as u32 == agent.id() => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => format!("the agent ended with status {code}"),
                    (None, signal) => format!("the agent was ended by signal {}", signal.unwrap_or_default()),
                };
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return format!("cannot wait for the agent: {error}"),
        }
    }
}

/// The agent itself, in the child.
pub fn agent() -> ExitCode {
    if std::env::var_os(CHILD).is_none() {
        eprintln!("scute agent: this is the init of a ramdisk; it is of no use elsewhere");
        return ExitCode::FAILURE;
    }
    match live() {
        Ok(End::Reboot) => system::end(RebootCommand::Restart),
        Ok(End::PowerOff) => system::end(RebootCommand::PowerOff),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn live() -> Result<End, Box<dyn std::error::Error>> {
    // First, so that a broken command line is told before drivers take their time.
    let parameters = Parameters::parse(&std::fs::read_to_string("/proc/cmdline")?)?;
    modules::load_all()?;
    system::attach_efi_variables();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let network = network::Network::up(&parameters.addresses).await?;
        let machine = inventory::Machine::here(network.hostname());
        Ok(work::run(&parameters, &machine).await?)
    })
}
