//! `scute launcher run` with real QEMU: the console, the end, and what must not survive it.

use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use scute_image::qcow2::{Format, create_overlay};
use scute_qemu::bootsector::{self, Guest};
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;

use super::pod::{Pod, run};

/// A launcher whose guest is up.
struct Running {
    child: Child,
    heard: String,
}

/// No interface: these tests are about the machine.
fn offline(pod: &Pod) -> Value {
    let mut spec = pod.spec();
    spec["interfaces"] = json!([]);
    spec
}

impl Running {
    /// Starts the launcher and waits until the guest has spoken.
    fn start(pod: &Pod, spec: &Value, message: &str) -> Running {
        Running::of(pod.launcher("run", spec), message)
    }

    fn of(child: Child, message: &str) -> Running {
        let mut running = Running { child, heard: String::new() };
        running.listen(message);
        running
    }

    fn listen(&mut self, message: &str) {
        let stdout = self.child.stdout.as_mut().unwrap();
        let mut chunk = [0; 512];
        while !self.heard.contains(message) {
            let read = stdout.read(&mut chunk).unwrap();
            assert!(read > 0, "the launcher ended: {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&chunk[..read]));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; all that was on the console, and whether the exit status was 0.
    fn end(mut self) -> (String, bool) {
        self.child.stdout.take().unwrap().read_to_string(&mut self.heard).unwrap();
        (std::mem::take(&mut self.heard), self.child.wait().unwrap().success())
    }

    /// QEMU's process: the launcher's only child.
    fn qemu(&self) -> u32 {
        let tasks = format!("/proc/{}/task", self.child.id());
        let tasks = std::fs::read_dir(tasks).unwrap().flatten();
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        children.collect::<String>().split_whitespace().next().expect("QEMU runs").parse().unwrap()
    }
}

/// A test that fails leaves no launcher, and so no QEMU, behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a process that is not our child.
async fn gone(pid: u32) {
    let pid = Pid::from_raw(pid as i32).unwrap();
    // It may be gone, and reaped, already.
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
    let pidfd = unsafe { AsyncFd::register(pidfd).unwrap() };
    let ended = tokio::time::timeout(Duration::from_secs(20), pidfd.readable()).await;
    let _ready = ended.expect("QEMU survived").unwrap();
}

fn result(pod: &Pod) -> (String, String) {
    let ending = pod.ending();
    (ending["phase"].as_str().unwrap().to_owned(), ending["reason"].as_str().unwrap().to_owned())
}

#[test]
fn a_guest_that_powers_off_has_succeeded() {
    let pod = Pod::new();
    pod.put_disk(&bootsector::disk(Guest::PowersOff, "line one\r\nline two\r\n"));
    let (console, success) =
        Running { child: pod.launcher("run", &offline(&pod)), heard: String::new() }.end();
    assert_eq!(result(&pod), ("Succeeded".into(), "GuestShutdown".into()), "{}", pod.ending());
    assert!(success);
    assert!(console.contains("line one\nline two\n"), "{console:?}");
    assert!(!pod.at("run/health").exists());
}

/// On the Pod's network, with a queue per vCPU, an empty disk and a seed beside the root disk, and without privileges.
#[test]
fn the_whole_machine_starts_and_stops_by_the_power_button() {
    let pod = Pod::new();
    pod.put_disk(&bootsector::disk(Guest::WaitsForButton, "up\r\n"));
    let mut spec = pod.spec();
    let disks = spec["disks"].as_array_mut().unwrap();
    disks.push(json!({"name": "data", "source": {"emptyDisk": {"capacityBytes": 1_000_000}}, "bus": "scsi", "serial": "D1"}));
    disks.push(json!({"name": "seed", "cdrom": true, "bus": "sata",
        "source": {"cloudInit": {"format": "NoCloud", "userData": [pod.at("userdata")]}}}));
    std::fs::write(pod.at("userdata"), "#cloud-config\n").unwrap();
    assert!(pod.network(&spec));
    let running = Running::of(pod.compute(&spec), "up");
    assert!(pod.launcher("started", &spec).wait().unwrap().success());
    assert!(pod.launcher("ready", &spec).wait().unwrap().success());
    assert_eq!(std::fs::metadata(pod.at("state/data.raw")).unwrap().len() % 512, 0);
    running.signal(Signal::TERM);
    let (_, success) = running.end();
    assert_eq!(result(&pod), ("Succeeded".into(), "GuestShutdown".into()));
    assert!(success);
    assert!(!pod.launcher("ready", &spec).wait().unwrap().success());
}

/// Guests without virtio drivers.
#[test]
fn every_model_of_card_starts() {
    let pod = Pod::new();
    pod.put_disk(&bootsector::disk(Guest::Hangs, "up\r\n"));
    for model in ["e1000", "e1000e"] {
        let mut spec = pod.spec();
        spec["interfaces"] = json!([{"name": "default", "model": model}]);
        spec["gracePeriodSeconds"] = json!(0);
        assert!(pod.network(&spec));
        let running = Running::start(&pod, &spec, "up");
        running.signal(Signal::TERM);
        running.end();
    }
}

#[test]
fn a_guest_that_ignores_the_button_is_stopped_after_its_grace() {
    let pod = Pod::new();
    pod.put_disk(&bootsector::disk(Guest::Hangs, "up\r\n"));
    let mut spec = offline(&pod);
    spec["gracePeriodSeconds"] = json!(1);
    let running = Running::start(&pod, &spec, "up");
    let asked = Instant::now();
    running.signal(Signal::TERM);
    let (_, success) = running.end();
    assert!(asked.elapsed() >= Duration::from_secs(1));
    assert_eq!(result(&pod), ("Failed".into(), "GracePeriodExpired".into()));
    assert!(!success);
}

#[test]
fn a_killed_qemu_is_a_failure_with_its_name() {
    let pod = Pod::new();
    pod.put_disk(&bootsector::disk(Guest::Hangs, "up\r\n"));
    let running = Running::start(&pod, &offline(&pod), "up");
    kill_process(Pid::from_raw(running.qemu() as i32).unwrap(), Signal::KILL).unwrap();
    let (_, success) = running.end();
    assert!(!success);
    assert_eq!(result(&pod), ("Failed".into(), "QemuCrashed".into()));
    assert!(pod.ending()["message"].as_str().unwrap().contains("signal 9"));
}

#[tokio::test]
async fn qemu_does_not_survive_the_launcher() {
    let pod = Pod::new();
    pod.put_disk(&bootsector::disk(Guest::Hangs, "up\r\n"));
    let running = Running::start(&pod, &offline(&pod), "up");
    let qemu = running.qemu();
    running.signal(Signal::KILL);
    gone(qemu).await;
    running.end();
}

/// The Pod's folder for disks, small; unmounted when it is dropped.
struct SmallFs(std::path::PathBuf);

impl SmallFs {
    fn mount(at: std::path::PathBuf) -> SmallFs {
        use rustix::mount::{MountFlags, mount};
        mount("tmpfs", &at, "tmpfs", MountFlags::empty(), Some(c"size=1m")).unwrap();
        SmallFs(at)
    }
}

impl SmallFs {
    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.0).unwrap();
        found.f_bavail * found.f_frsize
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// What the readiness probe says.
fn probe(pod: &Pod) -> (bool, String) {
    let running = Running { child: pod.launcher("ready", &offline(pod)), heard: String::new() };
    let (said, ready) = running.end();
    (ready, said)
}

/// Asks until the probe answers so.
fn probe_until(pod: &Pod, ready: bool) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match probe(pod) {
            (found, said) if found == ready => return said,
            (_, said) => assert!(Instant::now() < end, "still: {said}"),
        }
    }
}

/// The guest writes to a disk that cannot grow: it is paused, the Pod is not ready, and once there is room the guest goes
/// on by itself, to its own end.
#[test]
fn a_full_disk_pauses_the_guest_until_there_is_room() {
    let pod = Pod::new();
    let small = SmallFs::mount(pod.at("state"));
    let disk = bootsector::disk(Guest::WritesDisk, "up\r\n");
    pod.put_disk(&disk);
    // Room for the overlay as it is made, and for nothing that the guest writes.
    let (trial, base) = (small.0.join("trial"), pod.at("disks/root/disk/disk.img"));
    let before = small.free();
    create_overlay(&trial, disk.len() as u64, &base, Format::Raw).unwrap();
    let overlay = before - small.free();
    std::fs::remove_file(trial).unwrap();
    let filler = small.0.join("filler");
    std::fs::write(&filler, vec![1; (before - overlay) as usize]).unwrap();
    let running = Running::start(&pod, &offline(&pod), "up");
    let said = probe_until(&pod, false);
    assert!(said.contains("the guest is paused: disk root cannot grow"), "{said}");
    std::fs::remove_file(filler).unwrap();
    let (_, success) = running.end();
    assert_eq!(result(&pod), ("Succeeded".into(), "GuestShutdown".into()), "{}", pod.ending());
    assert!(success);
}

/// A QEMU that hangs is not ready, and is again when it goes on.
#[test]
fn a_stopped_qemu_is_not_ready() {
    let pod = Pod::new();
    pod.put_disk(&bootsector::disk(Guest::Hangs, "up\r\n"));
    let running = Running::start(&pod, &offline(&pod), "up");
    let qemu = Pid::from_raw(running.qemu() as i32).unwrap();
    probe_until(&pod, true);
    kill_process(qemu, Signal::STOP).unwrap();
    assert!(probe_until(&pod, false).contains("QEMU does not answer"));
    kill_process(qemu, Signal::CONT).unwrap();
    probe_until(&pod, true);
    running.signal(Signal::KILL);
    running.end();
}

/// The guest's own word for its end, by the panic device of the real machine.
#[test]
fn a_guest_that_panics_has_failed() {
    let pod = Pod::new();
    pod.put_disk(&bootsector::disk(Guest::Panics, "up\r\n"));
    let (_, success) = Running::start(&pod, &offline(&pod), "up").end();
    assert_eq!(result(&pod), ("Failed".into(), "GuestPanicked".into()), "{}", pod.ending());
    assert!(!success);
}

#[test]
fn bad_disks_are_refused_in_words_a_user_understands() {
    let pod = Pod::new();
    let end = |pod: &Pod| {
        let (_, success) = Running { child: pod.launcher("run", &offline(pod)), heard: String::new() }.end();
        assert!(!success);
        let ending = pod.ending();
        assert_eq!(ending["phase"], "Failed");
        format!("{}: {}", ending["reason"].as_str().unwrap(), ending["message"].as_str().unwrap())
    };
    let none = end(&pod);
    assert!(none.starts_with("InvalidContainerDisk: volume root: no disk present"), "{none}");
    let disk = pod.at("disks/root/disk/disk.qcow2");
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-u",
            "-f",
            "qcow2",
            "-b",
            "/etc/shadow",
            "-F",
            "raw",
            disk.to_str().unwrap(),
            "1M",
        ],
    );
    let backed = end(&pod);
    assert!(
        backed.starts_with("DiskImageRefused: volume root") && backed.contains("/etc/shadow"),
        "{backed}"
    );
    pod.put_disk(b"second");
    let two = end(&pod);
    assert!(two.contains("only one disk is allowed"), "{two}");
}

#[test]
fn a_broken_document_is_a_failure_too() {
    let pod = Pod::new();
    let mut spec = offline(&pod);
    spec["memoryMegabytes"] = json!(1);
    let (_, success) = Running { child: pod.launcher("run", &spec), heard: String::new() }.end();
    assert!(!success);
    assert!(pod.ending()["message"].as_str().unwrap().contains("memoryMegabytes"));
}

/// The launcher's own memory is paid once per VM.
#[test]
fn the_launcher_is_small() {
    let pod = Pod::new();
    pod.put_disk(&bootsector::disk(Guest::Hangs, "up\r\n"));
    assert!(pod.network(&pod.spec()));
    let running = Running::start(&pod, &pod.spec(), "up");
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    running.signal(Signal::KILL);
    running.end();
    eprintln!("launcher: {kib} KiB");
    // An unoptimised build beside other tests; the shipped one has its figure, 12 MiB.
    assert!(kib <= 16 * 1024, "{kib} KiB");
}
