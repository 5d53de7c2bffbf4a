//! A management cluster that is shot at: it converges each time, keeps what it knew, and leaves nothing behind.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use scute_e2e::processes::{self, all, until};
use scute_e2e::{Site, Traces, artifacts, step};
use serde_json::Value;

const NAME: &str = "e2e-faults";
const QUICK: Duration = Duration::from_secs(120);

#[test]
fn a_site_survives_the_death_of_any_of_its_processes_and_goes_without_a_trace() {
    let before = Traces::look();
    let site = step("scute up", || Site::up(NAME));
    let management = site.kubectl();
    step("remember something", || management.run(&["create", "configmap", "kept", "--from-literal=a=b"]));

    step("a container of the KVM runtime may open /dev/kvm, another may not", || {
        if !Path::new("/dev/kvm").exists() {
            println!("  (this machine has none)");
            return Ok(());
        }
        management.apply(&opens_kvm("without", ""))?;
        management.wait("pod/without", "jsonpath={.status.phase}=Failed", QUICK)?;
        management.apply(&opens_kvm("with", "runtimeClassName: scute-kvm"))?;
        until("QEMU with /dev/kvm", || holds_kvm("-name with"))?;
        management.run(&["delete", "pod", "with", "without"]).map(drop)
    });

    step("a probe guest told what guests run on", || {
        let status = status(&site)?;
        let (accelerator, reason) = (&status["accelerator"], &status["acceleratorReason"]);
        ensure!(accelerator == "kvm" || (accelerator == "tcg" && reason.is_string()), "{status}");
        // Not: the probe itself did not work.
        ensure!(!reason.to_string().contains("prob"), "{reason}");
        Ok(())
    });
    step("a Service without Pods refuses connections at once", || refuses_at_once(&site));
    step("other LoadBalancer pools under the running site", || another_pool(&site));
    step("the tenants' etcd forgets old revisions by itself", || {
        let etcd = processes::with(&format!("--data-dir=/var/lib/scute/{NAME}/etcd-tenants "))?;
        let command = all().into_iter().find(|(pid, _)| *pid == etcd).context("it ended")?.1;
        let flags = "--auto-compaction-mode=periodic --auto-compaction-retention=5m";
        ensure!(command.contains(flags), "{command}");
        Ok(())
    });
    step("the way out, once it is asked for", || the_way_out(&site));
    step("two scute up at once", || {
        std::thread::scope(|scope| {
            let both = [scope.spawn(|| site.start()), scope.spawn(|| site.start())];
            both.into_iter().try_for_each(|up| up.join().expect("a thread").map(drop))
        })
    });
    step("another site is not made while this one's ranges cannot be read", || {
        let now = fs::read_to_string(site_json())?;
        fs::write(site_json(), "{")?;
        let said = site.up_with(&[]).err().map(|error| format!("{error:#}"));
        let other = artifacts()?.command(&["up", "--site", "e2e-other"]).output()?;
        fs::write(site_json(), now)?;
        let said = said.unwrap_or_default() + &String::from_utf8_lossy(&other.stderr);
        ensure!(said.matches("site.json is not a site's configuration").count() == 2, "{said}");
        ensure!(said.contains("the ranges of site e2e-faults are not known"), "{said}");
        Ok(())
    });
    step("another version of the site is not touched", || {
        let path = site_json();
        let now = fs::read_to_string(&path)?;
        fs::write(&path, now.replace("\"kubernetes\": \"v1.", "\"kubernetes\": \"v9."))?;
        let said = site.up_with(&[]);
        fs::write(&path, now)?;
        let said = said.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(said.contains("exists with Kubernetes v9."), "{said}");
        Ok(())
    });

    for part in ["bin/containerd --config", "bin/kube kubelet"] {
        step(&format!("kill -9 {part}: it is started again"), || {
            let dead = kill(part)?;
            until("another one", || find(part).is_ok_and(|now| now != dead))
        });
    }
    for part in ["site-init", "site-supervisor"] {
        step(&format!("kill -9 {part}, scute up"), || {
            kill(part)?;
            site.start()?;
            management.run(&["get", "configmap", "kept"]).map(drop)
        });
    }
    step("kill -9 of everything, scute up without the bundle that it came from", || {
        kill("site-supervisor")?;
        until("no process of the site", || find("").is_err())?;
        let now: Value = serde_json::from_str(&fs::read_to_string(site_json())?)?;
        let bundle = now["bundle"].as_str().context("a bundle")?;
        fs::write(site_json(), now.to_string().replace(bundle, "/nowhere"))?;
        site.scute(&["up", "--site", NAME])?;
        management.run(&["get", "configmap", "kept"]).map(drop)
    });
    step("etcd restarted", || {
        processes::kill(processes::with(&format!("--data-dir=/var/lib/scute/{NAME}/etcd "))?)?;
        until("the API server answers again", || management.run(&["get", "--raw", "/readyz"]).is_ok())?;
        management.run(&["get", "configmap", "kept"]).map(drop)
    });
    step("a second scute up changes nothing", || {
        let uid = |kind: &str| {
            management.run(&["get", kind, "-A", "-o", "jsonpath={.items[*].metadata.generation}"])
        };
        let before = uid("deployments")?;
        site.start()?;
        ensure!(uid("deployments")? == before, "a Deployment was written again");
        Ok(())
    });
    step("scute down of a site whose init cannot start works at the first try", || {
        // A file where the init needs a folder.
        let folder = Path::new("/var/lib/scute").join(NAME).join("cni");
        fs::remove_dir_all(&folder)?;
        fs::write(&folder, "")?;
        kill("site-init")?;
        let log = Path::new("/var/lib/scute").join(NAME).join("log/site.log");
        let from = fs::read_to_string(&log)?.len();
        let ends = || fs::read_to_string(&log).map_or(0, |text| text[from..].matches("init ended").count());
        // By then its supervisor pauses for seconds.
        until("some lives of its init", || ends() > 4)?;
        site.down()
    });
    step("no trace", || before.nothing_new(&Traces::look()));
}

#[test]
fn a_site_killed_half_way_up_is_removed_whole() {
    let before = Traces::look();
    let artifacts = scute_e2e::artifacts().expect("artifacts");
    let name = "e2e-half";
    let mut up =
        artifacts.command(&["up", "--site", name, "--link", "172.30.98.0/24"]).spawn().expect("scute up");
    step("kill it as soon as its containerd runs", || {
        let part = format!("/var/lib/scute/{name}/bin/containerd --config");
        until("containerd", || pid_of(&part).is_some())?;
        let supervisor = format!("/var/lib/scute/{name}/bin/scute site-supervisor");
        processes::kill(pid_of(&supervisor).context("no supervisor")?)?;
        up.kill()?;
        up.wait().map(drop).context("scute up")
    });
    step("scute down", || {
        let status = artifacts.command(&["down", "--site", name, "--yes"]).status()?;
        ensure!(status.success(), "{status}");
        Ok(())
    });
    step("no trace", || before.nothing_new(&Traces::look()));
}

/// What is said of the site when it is well: its name server may take a moment longer than `scute up` on a busy machine.
fn status(site: &Site) -> Result<Value> {
    let mut said = Err(anyhow!("nobody has asked"));
    // A failure is the last word that was said.
    let _ = processes::until("a site that is well", || {
        said = site.scute(&["status", "--site", NAME, "-o", "json"]);
        said.is_ok()
    });
    Ok(serde_json::from_str(&said?)?)
}

fn site_json() -> PathBuf {
    Path::new("/var/lib/scute").join(NAME).join("site.json")
}

/// An address that only the machine can reach: behind a link of its own, with no route back to any site.
fn the_way_out(site: &Site) -> Result<()> {
    let forward = || fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
    let before = forward()?;
    let beyond = Beyond::make()?;
    ensure!(beyond.call_from_a_pod()?.is_none(), "a packet without a way back was answered");
    site.up_with(&["--masquerade", "on"])?;
    ensure!(status(site)?["masquerade"] == true, "the way out in the status");
    let seen = beyond.call_from_a_pod()?.context("nothing came out")?;
    ensure!(seen.ip().to_string() == "198.51.100.1", "it came with the address {seen}");
    site.up_with(&["--masquerade", "off"])?;
    ensure!(beyond.call_from_a_pod()?.is_none(), "the way out is still there");
    ensure!(forward()? == before, "the machine still forwards");
    // The site's start puts it back, too.
    site.up_with(&["--masquerade", "on"]).map(drop)
}

/// A network beyond the machine; gone when dropped.
struct Beyond {
    calls: mpsc::Receiver<SocketAddr>,
    end: mpsc::Sender<()>,
}

impl Beyond {
    /// A thread in a network namespace of its own, which listens and tells who called.
    fn make() -> Result<Self> {
        let (tell, calls) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let listener = listen_beyond();
            let failed = listener.as_ref().err().map(ToString::to_string);
            _ = ready.send(failed);
            let Ok(listener) = listener else { return };
            // The namespace, and the link with it, ends with its last thread and socket.
            while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
                match listener.accept() {
                    Ok((_, from)) => _ = tell.send(from),
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        match is_ready.recv()? {
            None => Ok(Self { calls, end }),
            Some(why) => bail!("no network beyond: {why}"),
        }
    }

    /// Calls from the Node, with an address of its Pods; gives who was seen, if the call came through.
    fn call_from_a_pod(&self) -> Result<Option<SocketAddr>> {
        let called = std::thread::spawn(|| -> Result<bool> {
            let site = fs::File::open(format!("/run/netns/scute-{NAME}"))?;
            move_into_link_name_space(site.as_fd(), Some(LinkNameSpaceType::Network))?;
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            set_socket_timeout(&socket, Timeout::Send, Some(Duration::from_secs(2)))?;
            // The bridge of Pods.
            bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(10, 185, 0, 1), 0))?;
            Ok(connect(&socket, &SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 2), 80)).is_ok())
        });
        match called.join().expect("a thread")? {
            true => Ok(Some(self.calls.recv_timeout(QUICK)?)),
            false => Ok(None),
        }
    }
}

impl Drop for Beyond {
    fn drop(&mut self) {
        _ = self.end.send(());
        // The link goes a moment after the namespace.
        _ = until("no link beyond", || !Path::new("/sys/class/net/e2e-beyond").exists());
    }
}

fn listen_beyond() -> Result<TcpListener> {
    // SAFETY: the thread shares no file descriptors with others that it would lose, and ends after the test.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    let machine = std::process::id();
    for line in [
        &format!("link add eth0 type veth peer name e2e-beyond netns {machine}"),
        "addr add 198.51.100.2/24 dev eth0",
        "link set eth0 up",
    ] {
        ensure!(Command::new("ip").args(line.split(' ')).status()?.success(), "ip {line}");
    }
    for line in ["addr add 198.51.100.1/24 dev e2e-beyond", "link set e2e-beyond up"] {
        let ip = format!("ip {line}");
        let mut run = Command::new("nsenter");
        run.arg(format!("--net=/proc/{machine}/ns/net")).args(ip.split(' '));
        ensure!(run.status()?.success(), "{ip}");
    }
    let listener = TcpListener::bind("198.51.100.2:80")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Every one is refused, not one a second: what is not refused is tried again by its client a second later.
fn refuses_at_once(site: &Site) -> Result<()> {
    let management = site.kubectl();
    management.apply(WITHOUT_PODS)?;
    let address = "jsonpath={.status.loadBalancer.ingress[0].ip}";
    management.wait("service/lonely", address, QUICK)?;
    let ip = management.run(&["get", "service", "lonely", "-o", address])?;
    let address = SocketAddr::new(ip.trim().parse()?, 80);
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop);
    let refused = || connect().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    until("a refusal", refused)?;
    ensure!((0..20).all(|_| refused()), "some connection was not refused");
    management.run(&["delete", "service", "lonely"]).map(drop)
}

/// A Service gets an address of the new pool, and what answers there answers to the host.
fn another_pool(site: &Site) -> Result<()> {
    let refused =
        site.up_with(&["--pool", "10.185.7.1-10.185.7.9"]).err().context("a pool among the Pods")?;
    ensure!(format!("{refused:#}").contains("overlaps the Pod network"), "{refused:#}");
    let management = site.kubectl();
    management.apply(BEHIND_A_POOL)?;
    let address = "jsonpath={.status.loadBalancer.ingress[0].ip}";
    let wait = |condition: &str| {
        let (condition, timeout) = (format!("--for={condition}"), format!("--timeout={}s", QUICK.as_secs()));
        management.run(&["wait", "-n", "kube-system", "service/pooled", &condition, &timeout])
    };
    wait(address)?;
    site.up_with(&["--pool", "172.30.101.8/30"])?;
    wait(&format!("{address}=172.30.101.8"))?;
    let answers = || TcpStream::connect("172.30.101.8:53").is_ok();
    until("the new address answers", answers)?;
    ensure!(status(site)?["pools"][0]["range"] == "172.30.101.8-172.30.101.11", "the pool in the status");
    management.run(&["delete", "service", "-n", "kube-system", "pooled"]).map(drop)
}

const WITHOUT_PODS: &str = "
apiVersion: v1
kind: Service
metadata: {name: lonely}
spec: {type: LoadBalancer, selector: {app: nobody}, ports: [{port: 80}]}
";

/// The DNS server of the site, to be reached from outside.
const BEHIND_A_POOL: &str = "apiVersion: v1
kind: Service
metadata: {name: pooled, namespace: kube-system}
spec:
  type: LoadBalancer
  selector: {k8s-app: kube-dns}
  ports: [{port: 53, protocol: TCP}]
";

/// A Pod of user 107 with a QEMU that opens KVM, makes no machine, and waits.
fn opens_kvm(name: &str, class: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {class}\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 0\n  securityContext: {{runAsUser: 107, runAsGroup: 107}}\n  containers:\n  \
         - name: qemu\n    image: scute.dev/launcher:{version}\n    command: [/usr/bin/qemu-system-x86_64, -name, \
         {name}, -accel, kvm, -machine, none, -nodefaults, -display, none, -S]\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn holds_kvm(part: &str) -> bool {
    let open = |pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|to| to == Path::new("/dev/kvm"))
    };
    all().into_iter().any(|(pid, command)| command.contains(part) && open(pid))
}

/// The process of the site whose command line goes on with `part`.
fn find(part: &str) -> Result<u32> {
    processes::of_site(NAME, part)
}

fn pid_of(start: &str) -> Option<u32> {
    all().into_iter().find(|(_, command)| command.starts_with(start)).map(|(pid, _)| pid)
}

fn kill(part: &str) -> Result<u32> {
    let pid = find(part)?;
    processes::kill(pid)?;
    Ok(pid)
}
