//! Which accelerator guests get, found by starting one in the very image that all of them run in.
//! In: containerd with the launcher's image. Out: a record in the site's folder.

use super::init::Site;
use crate::Layout;
use scute_processes::{
    files,
    keep::{OnceError, once},
};
use scute_qemu::{Accelerator, Probe};
use std::{io, path::Path, process::Command};

/// `/dev/kvm` may be there and yet take no guest, so one is started.
///
/// # Errors
/// Only where the record cannot be written: without an answer guests are emulated, which works everywhere.
pub async fn probe(site: &Site) -> io::Result<Probe> {
    let found = match Path::new("/dev/kvm").exists() {
        true => answer(start(site).await),
        false => emulated("there is no /dev/kvm".to_owned()),
    };
    let text = serde_json::to_vec(&found).map_err(io::Error::other)?;
    files::replace(&record(&site.layout), &text, 0o644)?;
    Ok(found)
}

/// What the last start of the site found.
pub fn found(layout: &Layout) -> Option<Probe> {
    serde_json::from_slice(&std::fs::read(record(layout)).ok()?).ok()
}

fn record(layout: &Layout) -> std::path::PathBuf {
    layout.at("accelerator.json")
}

/// Runs the launcher's probe in a container of its own. As root: the device there has the machine's owner and mode.
async fn start(site: &Site) -> Result<String, OnceError> {
    let layout = &site.layout;
    let name = format!("scute-probe-{}", std::process::id());
    let cgroup = format!("/{}/{name}", layout.cgroup());
    let mut ctr = Command::new(layout.bin("ctr"));
    ctr.arg("--address").arg(layout.containerd_socket()).args(["--namespace", "k8s.io", "run", "--rm"]);
    ctr.args([
        "--snapshotter",
        "overlayfs",
        "--device",
        "/dev/kvm",
        "--user",
        "0",
        "--cgroup",
        &cgroup,
        "--runc-binary",
    ]);
    ctr.arg(layout.bin("runc")).args([&scute_install::launcher_image(), &name]);
    once(&site.reaper, ctr.args(["/usr/local/bin/scute", "launcher", "probe"])).await
}

/// The last line is the answer: what is before it was logged.
fn answer(said: Result<String, OnceError>) -> Probe {
    let said = match said {
        Ok(said) => said,
        Err(error) => {
            return emulated(format!("no probe guest could be started: {}", scute_processes::chain(&error)));
        }
    };
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| emulated(format!("the probe gave no answer: {last}")))
}

fn emulated(reason: String) -> Probe {
    Probe { accelerator: Accelerator::Tcg, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_last_line() {
        let said = "a warning\n{\"accelerator\":\"kvm\",\"reason\":\"\"}\n".to_owned();
        assert_eq!(answer(Ok(said)), Probe { accelerator: Accelerator::Kvm, reason: String::new() });
        let broken = answer(Ok("exec format error".to_owned()));
        assert_eq!(broken.accelerator, Accelerator::Tcg);
        assert!(broken.reason.ends_with("exec format error"), "{broken:?}");
    }
}
