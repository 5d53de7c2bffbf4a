//! A Pod as a CNI plugin leaves it: two network namespaces, a veth between them, folders for the volumes.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

/// Carries the launcher's arguments to the helper process.
pub const ARGS: &str = "LAUNCHER_ARGS";

/// MAC of the Pod's interface.
pub const MAC: &str = "0a:58:0a:55:00:09";

/// A Pod and the node it is on; both go when it is dropped.
pub struct Pod {
    node: String,
    pod: String,
    dir: tempfile::TempDir,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Pod {
    /// Pod 10.85.0.9/16, gateway 10.85.0.1 on the node, MTU 1450.
    pub fn new() -> Pod {
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        let pod = Pod { node: format!("scute-tn-{id}"), pod: format!("scute-tp-{id}"), dir };
        run("ip", &["netns", "add", &pod.node]);
        run("ip", &["netns", "add", &pod.pod]);
        pod.plug();
        for folder in ["run", "state", "disks/root/disk"] {
            std::fs::create_dir_all(pod.at(folder)).unwrap();
        }
        std::fs::write(pod.at("resolv.conf"), "nameserver 10.86.0.10\nsearch svc.cluster.local\n").unwrap();
        pod
    }

    /// What the CNI plugin does.
    pub fn plug(&self) {
        let peer = ["link", "add", "veth0", "address", "0a:58:0a:55:00:01", "type", "veth"];
        self.node_ip(&[&peer[..], &["peer", "name", "eth0", "netns", &self.pod]].concat());
        self.node_ip(&["addr", "add", "10.85.0.1/16", "dev", "veth0"]);
        self.node_ip(&["link", "set", "veth0", "mtu", "1450", "up"]);
        self.ip(&["link", "set", "eth0", "address", MAC, "mtu", "1450", "up"]);
        self.ip(&["addr", "add", "10.85.0.9/16", "dev", "eth0"]);
        self.ip(&["route", "add", "default", "via", "10.85.0.1"]);
    }

    /// Takes the veth away, as when the sandbox is made anew.
    pub fn unplug(&self) {
        self.node_ip(&["link", "delete", "veth0"]);
    }

    /// A path in the Pod's folders.
    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// `ip` in the Pod.
    pub fn ip(&self, args: &[&str]) -> String {
        run("ip", &[&["-n", &self.pod], args].concat())
    }

    /// `ip` on the node.
    pub fn node_ip(&self, args: &[&str]) -> String {
        run("ip", &[&["-n", &self.node], args].concat())
    }

    /// `ip -json` in the Pod.
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ip(&[&["-json", "-details"], args].concat())).unwrap()
    }

    /// The Pod's network namespace.
    pub fn namespace(&self) -> Namespace {
        Namespace::open(&self.pod)
    }

    /// Runs `work` in the Pod's network namespace, on a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace().run(work)
    }

    /// Runs `work` in the node's network namespace.
    pub fn on_node<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        Namespace::open(&self.node).run(work)
    }

    /// A VM with one disk from the image in `disks/root`, on the Pod's network.
    pub fn spec(&self) -> Value {
        json!({
            "name": "vm-1", "namespace": "default", "uid": "1", "hostname": "vm-1", "accelerator": "tcg",
            "cpu": {"sockets": 1, "cores": 2, "threads": 1}, "memoryBytes": 64 << 20, "gracePeriodSeconds": 20,
            "disks": [{"name": "root", "source": {"containerDisk": {"root": self.at("disks/root")}}}],
            "interfaces": [{"name": "default", "multiqueue": true}]
        })
    }

    /// Puts a disk into the image of the VM.
    pub fn put_disk(&self, bytes: &[u8]) {
        std::fs::write(self.at("disks/root/disk/disk.img"), bytes).unwrap();
    }

    /// Starts `scute launcher VERB` in the Pod's network namespace, as root.
    pub fn launcher(&self, verb: &str, spec: &Value) -> Child {
        self.start(verb, spec, &std::env::current_exe().unwrap(), &[])
    }

    /// Starts `scute launcher run` as the container `compute` does: user 107, no capability, and none to be had.
    pub fn compute(&self, spec: &Value) -> Child {
        let program = self.at("launcher");
        // By another process: a child that some other test starts meanwhile would hold our open file, and a program that
        // somebody may write to does not start.
        run("cp", &[std::env::current_exe().unwrap().to_str().unwrap(), program.to_str().unwrap()]);
        self.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "67").unwrap());
        run("chown", &["-R", "107:107", self.dir.path().to_str().unwrap()]);
        let user = [
            "setpriv",
            "--reuid=107",
            "--regid=107",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--no-new-privs",
        ];
        self.start("run", spec, &program, &user)
    }

    fn start(&self, verb: &str, spec: &Value, program: &Path, user: &[&str]) -> Child {
        let path = self.at("spec.json");
        std::fs::write(&path, spec.to_string()).unwrap();
        let places = [
            ("--run-dir", "run"),
            ("--state-dir", "state"),
            ("--termination-log", "end"),
            ("--resolv-conf", "resolv.conf"),
        ];
        let mut args = vec![verb.to_owned(), "--spec".to_owned(), path.display().to_string()];
        args.extend(
            places
                .iter()
                .flat_map(|(option, path)| [(*option).to_owned(), self.at(path).display().to_string()]),
        );
        Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.pod))
            .args(user)
            .arg(program)
            .args(["--exact", "tests::launcher_process", "--ignored", "--nocapture", "--quiet"])
            .env(ARGS, args.join("\u{1f}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs `scute launcher network`; whether it worked.
    pub fn network(&self, spec: &Value) -> bool {
        self.launcher("network", spec).wait().unwrap().success()
    }

    /// The termination message.
    pub fn ending(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.at("end")).unwrap()).unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for name in [&self.pod, &self.node] {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

/// A network namespace that threads can enter.
pub struct Namespace(std::fs::File);

impl Namespace {
    pub fn open(name: &str) -> Namespace {
        Namespace(std::fs::File::open(Path::new("/run/netns").join(name)).unwrap())
    }

    /// Moves this thread there for good.
    pub fn enter(&self) {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(self.0.as_fd(), kind).unwrap();
    }

    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }
}

/// Runs a program that must succeed; its output.
pub fn run(program: &str, args: &[&str]) -> String {
    let output =
        Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
