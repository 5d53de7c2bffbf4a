//! Which accelerator guests get, found by starting one. In: nothing. Out: KVM, or TCG and why.

use crate::Accelerator;
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long a probe guest must live to count. A guest that KVM cannot run dies at its first instructions.
const LIFE: Duration = Duration::from_millis(700);

/// Starts an empty guest with KVM and sees whether it lives.
///
/// The probe needs QEMU on the machine. Where only the launcher image has one, the device alone decides nothing, and
/// the answer is the slow one that always works.
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
    // Firmware runs at once and then waits for a disk that is not there: enough to enter the guest.
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
        .args(["-machine", "q35", "-no-reboot"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("no probe guest could be started: qemu-system-x86_64: {e}"))?;
    let began = Instant::now();
    while began.elapsed() < LIFE {
        match guest.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Ok(Some(status)) => {
                let said = guest.wait_with_output().map(|o| o.stderr).unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
                return Err(format!("the probe guest died ({status}): {}", last.trim()));
            }
            Err(e) => return Err(format!("the probe guest was lost: {e}")),
        }
    }
    _ = guest.kill();
    _ = guest.wait();
    Ok(())
}
