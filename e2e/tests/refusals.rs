//! What `scute up` says of a machine that cannot take a site. Each machine is real: a thread or a process that has
//! namespaces of its own sees the disk, memory, links and ports that the test gave it. Nothing is left of a refusal.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::thread::UnshareFlags;
use scute_e2e::{Artifacts, Traces, artifacts};

const SITE: &str = "e2e-refused";

#[test]
fn a_small_disk() {
    refused(&[], "GiB of free disk, a site needs", |dir| {
        Ok(mount("tmpfs", dir, "tmpfs", MountFlags::empty(), Some(c"size=64m"))?)
    });
}

#[test]
fn little_memory() {
    refused(&[], "GiB of memory are available, a site needs", |dir| {
        let few = dir.join("meminfo");
        fs::write(&few, "MemTotal:        1048576 kB\nMemAvailable:     524288 kB\n")?;
        Ok(mount_bind(few, "/proc/meminfo")?)
    });
}

#[test]
fn a_file_system_that_takes_no_overlay() {
    refused(&[], "no overlay file system on the site's disk", |dir| {
        // An overlay takes no other one as its upper layer.
        let of = |folder: &str| dir.join(folder).display().to_string();
        for folder in ["lower", "upper", "work"] {
            fs::create_dir(of(folder))?;
        }
        let options = format!("lowerdir={},upperdir={},workdir={}", of("lower"), of("upper"), of("work"));
        let options = std::ffi::CString::new(options)?;
        Ok(mount("overlay", dir, "overlay", MountFlags::empty(), Some(options.as_c_str()))?)
    });
}

#[test]
fn a_taken_port() {
    refused(&["--network", "host"], "port 6443 is taken", |_| {
        for line in [
            "link set lo up",
            "link add lan type bridge",
            "addr add 10.77.0.2/24 dev lan",
            "link set lan up",
            "route add default via 10.77.0.1",
        ] {
            ip(line)?;
        }
        // Held until the thread ends, with its namespace.
        std::mem::forget(TcpListener::bind("0.0.0.0:6443")?);
        Ok(())
    });
}

#[test]
fn a_pool_over_the_machines_own_address() {
    let text = "the LoadBalancer pool 10.77.0.1-10.77.0.3 overlaps the link network";
    refused(&["--network", "host", "--pool", "10.77.0.1-10.77.0.3"], text, |_| {
        for line in [
            "link add lan type bridge",
            "addr add 10.77.0.2/24 dev lan",
            "link set lan up",
            "route add default via 10.77.0.9",
        ] {
            ip(line)?;
        }
        Ok(())
    });
}

#[test]
fn a_folder_with_something_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("thesis.tex"), "").expect("a file");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("its mode");
    let said = up(&artifacts().expect("artifacts"), folder.path(), &[]).expect("scute up");
    assert!(said.contains("is neither empty nor a site's (it has thesis.tex)"), "{said}");
    let mode = fs::metadata(folder.path()).expect("the folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "its mode was changed");
}

#[test]
fn no_default_route_in_the_host_network() {
    refused(&["--network", "host"], "needs a default route", |_| Ok(()));
}

#[test]
fn a_taken_address_range() {
    let text = "the Pod network 10.77.0.0-10.77.255.255 overlaps the network of lan 10.77.3.0-10.77.3.255";
    let ranges = ["--link", "172.30.97.0/24", "--pods", "10.77.0.0/16", "--services", "10.78.0.0/16"];
    refused(&ranges, text, |_| {
        ["link add lan type bridge", "addr add 10.77.3.2/24 dev lan"].into_iter().try_for_each(ip)
    });
}

#[test]
fn a_network_that_is_too_small() {
    refused(&["--pods", "10.77.0.0/28"], "the Pod network 10.77.0.0/28 is too small", |_| Ok(()));
}

#[test]
fn a_user_who_is_not_root() {
    let artifacts = artifacts().expect("artifacts");
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    let own = folder.path().join("scute");
    fs::copy(artifacts.program(), &own).expect("a copy that everybody may run");
    let output = Command::new(own).args(["up", "--site", SITE]).uid(65534).output().expect("scute up");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("this needs root"), "{said}");
}

static ALONE: Mutex<()> = Mutex::new(());

/// Runs `scute up` on a machine that `prepare` spoiled, and expects `words`. The folder that `prepare` gets becomes the
/// site's disk.
fn refused(arguments: &[&str], words: &str, prepare: impl FnOnce(&Path) -> Result<()> + Send) {
    // Each looks for what is left on the machine, where another would show.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let artifacts = artifacts().expect("artifacts");
    let before = Traces::look();
    let folder = tempfile::tempdir().expect("a folder");
    let said = std::thread::scope(|scope| {
        let told = scope.spawn(|| {
            own_namespaces()?;
            prepare(folder.path())?;
            up(&artifacts, &folder.path().join("site"), arguments)
        });
        told.join().expect("the thread")
    });
    let said = said.expect("scute up on a spoiled machine");
    assert!(said.contains(words), "{words:?} is not in:\n{said}");
    before.nothing_new(&Traces::look()).expect("no trace");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("the folder").flatten().collect();
    assert!(!left.iter().any(|entry| entry.file_name() == "site"), "left: {left:?}");
}

/// What this thread mounts and links, and what the processes do that it starts, nobody else sees.
fn own_namespaces() -> Result<()> {
    // SAFETY: the thread shares no file descriptors with others that it would lose, and ends after the test.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }?;
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

fn up(artifacts: &Artifacts, dir: &Path, arguments: &[&str]) -> Result<String> {
    let mut up = artifacts.command(&["up", "--site", SITE]);
    let output = up.arg("--dir").arg(dir).args(arguments).output().context("scute up")?;
    ensure!(!output.status.success(), "it was not refused");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn ip(line: &str) -> Result<()> {
    let status = Command::new("ip").args(line.split(' ')).status()?;
    ensure!(status.success(), "ip {line}: {status}");
    Ok(())
}
