//! Which accelerator guests get, found by starting one. In: nothing. Out: KVM, or TCG and why.

use crate::Accelerator;
use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// How long the firmware of a probe guest may take to its first word; a busy machine is no reason to emulate.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts an empty guest with KVM and waits for the first word of its firmware: only code that ran can write it.
///
/// The probe needs QEMU on the machine. Where there is none the answer is the slow accelerator that always works.
pub fn probe() -> (Accelerator, Option<String>) {
    match try_kvm() {
        Ok(()) => (Accelerator::Kvm, None),
        Err(why) => (Accelerator::Tcg, Some(why)),
    }
}

fn try_kvm() -> Result<(), String> {
    if !Path::new("/dev/kvm").exists() {
        return Err("there is no /dev/kvm".to_owned());
    }
    let mut guest = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "64",
            "-nodefaults",
            "-display",
            "none",
            "-no-user-config",
        ])
        // The debug port of the firmware, as QEMU's default one (SeaBIOS) writes to it.
        .args(["-machine", "q35", "-debugcon", "stdio", "-global", "isa-debugcon.iobase=0x402"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("no probe guest could be started: qemu-system-x86_64: {e}"))?;
    let spoke = first_word(&mut guest);
    _ = guest.kill();
    match guest.wait_with_output() {
        _ if spoke => Ok(()),
        Ok(output) => Err(why_silent(&output)),
        Err(e) => Err(format!("the probe guest was lost: {e}")),
    }
}

/// Whether the guest wrote anything before it died or time was up.
fn first_word(guest: &mut Child) -> bool {
    let Some(mut console) = guest.stdout.take() else { return false };
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let spoke = console.read(&mut [0; 1]).is_ok_and(|n| n > 0);
        // Nobody listens when time is up.
        _ = tell.send(spoke);
    });
    told.recv_timeout(PATIENCE).unwrap_or(false)
}

fn why_silent(output: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(last) => format!("the probe guest died: {}", last.trim()),
        None => format!("the probe guest ran no code ({})", output.status),
    }
}
