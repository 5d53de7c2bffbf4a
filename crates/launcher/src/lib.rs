//! PID 1 of a VM's Pod. In: a [`LauncherSpec`], volumes, the Pod's network. Out: one guest, its serial console on
//! standard output, and how it ended in the termination message. Never: the Kubernetes API.
//!
//! Two containers run it, from the same image and with the same [`spec::SPEC_ENV`] and [`spec::RUN_DIR`]:
//! * init container `network`: `scute launcher network`, as root with NET_ADMIN (interfaces, taps) and MKNOD (a tun
//!   device node that `compute` may open), everything else dropped. Only for VMs with an interface.
//! * `compute`: `scute launcher run`, as user and group 107, all capabilities dropped. It answers DHCP on port 67, so
//!   the Pod sets the safe sysctl `net.ipv4.ip_unprivileged_port_start` to at most 67 (or adds NET_BIND_SERVICE where
//!   the runtime makes that effective for users other than root). Started: exec of `scute launcher started`; ready, or why not:
//!   exec of `scute launcher ready`.
//!
//! The image holds what [`Places`] names: the binary itself, `/usr/bin/qemu-system-x86_64` (7.2 or newer, with its
//! shared libraries; no block or display modules), `/usr/share/seabios/bios-256k.bin`, `/usr/share/qemu/{kvmvapic.bin,
//! linuxboot_dma.bin}`, and for EFI guests `/usr/share/OVMF/OVMF_{CODE,VARS}_4M.fd`.

mod dhcp;
mod disks;
mod ending;
mod health;
mod machine;
mod network;
mod options;
mod reaper;
mod run;
mod seed;
mod serial;
pub mod spec;
mod supervise;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

pub use ending::{Ending, Phase};
pub use health::PAUSED;
pub use options::Places;
pub use spec::LauncherSpec;

use options::{Options, Verb};

/// `scute launcher run|network|started|ready|probe`: `args` is what follows `launcher`. Blocks until the job is done.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("scute launcher: {error}");
            return ExitCode::from(2);
        }
    };
    match options.verb {
        Verb::Run => run::run(&options),
        Verb::Network => network::main(&options),
        Verb::Started => run::started(&options.places),
        Verb::Ready => run::ready(&options.places),
        Verb::Probe => probe(&options.places),
    }
}

/// Prints a [`scute_qemu::Probe`] as one line of JSON.
fn probe(places: &Places) -> ExitCode {
    let qemu = scute_qemu::Qemu::new(&places.qemu);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("scute launcher: {error}");
            return ExitCode::FAILURE;
        }
    };
    let found = runtime.block_on(scute_qemu::probe(&qemu));
    println!("{}", serde_json::json!(found));
    ExitCode::SUCCESS
}
