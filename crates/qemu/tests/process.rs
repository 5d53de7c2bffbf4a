//! QEMU as a process: it dies with us, it says why it did not start, it cannot start others.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use scute_qemu::bootsector::Guest;
use scute_qemu::{Bus, Command as Order, ControlError, Medium, Qemu, StartError, Vmm};
use tokio::io::unix::AsyncFd;

fn qemu() -> Qemu {
    Qemu::new("qemu-system-x86_64")
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let medium = Medium::raw("/nonexistent/disk");
    let config = common::machine(vec![common::drive("root", medium, Bus::Virtio)]);
    match qemu().start(&config).await {
        Err(StartError::Died(exit)) => assert!(exit.stderr.contains("/nonexistent/disk"), "{exit}"),
        other => panic!("{:?}", other.map(drop)),
    }
    let missing = Qemu::new("/nonexistent/qemu").start(&config).await.map(drop);
    assert!(matches!(missing, Err(StartError::Spawn { .. })), "{missing:?}");
}

/// The seccomp filter is there: a machine whose QEMU could start programs would be a shell for its guest.
#[tokio::test]
async fn qemu_is_sandboxed() {
    let dir = tempfile::tempdir().unwrap();
    let machine = qemu().start(&common::booting(dir.path(), Guest::Hangs, "")).await.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.handle.pid())).unwrap();
    assert!(status.lines().any(|line| line == "Seccomp:\t2"), "{status}");
    assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
}

#[tokio::test]
async fn dropping_the_machine_ends_qemu() {
    let dir = tempfile::tempdir().unwrap();
    let machine = qemu().start(&common::booting(dir.path(), Guest::Hangs, "")).await.unwrap();
    let pid = machine.handle.pid();
    drop(machine);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

/// The process is killed with its last owner, whoever that is.
#[tokio::test]
async fn a_handle_keeps_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let machine = qemu().start(&common::booting(dir.path(), Guest::Hangs, "")).await.unwrap();
    let handle = machine.handle.clone();
    drop(machine);
    handle.state().await.expect("somebody still has it");
    let pid = handle.pid();
    drop(handle);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

/// A QEMU that hangs answers nobody, and can be killed all the same.
#[tokio::test]
async fn a_stopped_qemu_is_silent_and_can_be_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = qemu().start(&common::booting(dir.path(), Guest::Hangs, "")).await.unwrap();
    let pid = Pid::from_raw(machine.handle.pid() as i32).unwrap();
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    tokio::time::pause();
    let asked = machine.handle.state().await.unwrap_err();
    tokio::time::resume();
    assert!(matches!(asked, ControlError::Silent { .. }), "{asked}");
    let handle = machine.handle.clone();
    let waiting = tokio::spawn(async move { handle.command(Order::Pause).await });
    machine.handle.kill();
    let end = tokio::time::timeout(Duration::from_secs(20), machine.events.next()).await.unwrap();
    assert!(matches!(end, scute_qemu::Event::Exited(_)), "{end:?}");
    assert!(matches!(waiting.await.unwrap(), Err(ControlError::Gone)));
}

/// Started from a thread that ends at once: the kernel ties a child to the thread that started it.
#[tokio::test]
async fn a_machine_outlives_the_thread_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = common::booting(dir.path(), Guest::Hangs, "");
    let runtime = tokio::runtime::Handle::current();
    let start = move || runtime.block_on(qemu().start(&config)).unwrap();
    let machine =
        tokio::task::spawn_blocking(move || std::thread::spawn(start).join().unwrap()).await.unwrap();
    machine.handle.state().await.expect("QEMU runs on");
}

/// Runs itself as a second process that owns a machine, kills it with SIGKILL, and watches QEMU follow.
#[tokio::test]
async fn qemu_dies_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_of_a_machine", "--ignored", "--nocapture"])
        .env("OWNER_DIR", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|line| line.split_once("qemu=")?.1.trim().parse().ok());
    let pid = Pid::from_raw(pid.expect("the owner says which process QEMU is")).unwrap();
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
    let pidfd = unsafe { AsyncFd::register(pidfd).unwrap() };
    rustix::process::kill_process(Pid::from_child(&owner), Signal::KILL).unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(20), pidfd.readable()).await;
    owner.wait().unwrap();
    let _ready = gone.expect("QEMU outlived its owner").unwrap();
}

/// The second process of [`qemu_dies_with_its_owner`].
#[tokio::test]
#[ignore = "helper process"]
async fn owner_of_a_machine() {
    let Some(dir) = std::env::var_os("OWNER_DIR") else { return };
    let mut machine = qemu().start(&common::booting(dir.as_ref(), Guest::Hangs, "")).await.unwrap();
    println!("qemu={}", machine.handle.pid());
    machine.events.next().await;
}
