//! A management cluster that is shot at: it converges each time, keeps what it knew, and leaves nothing behind.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scute_e2e::processes::{self, all, until};
use scute_e2e::{Site, Traces, step};
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
    step("another version of the site is not touched", || {
        let path = Path::new("/var/lib/scute").join(NAME).join("site.json");
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
    step("kill -9 of everything, scute up", || {
        kill("site-supervisor")?;
        until("no process of the site", || find("").is_err())?;
        site.start()?;
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
    step("scute down", || site.down());
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

fn status(site: &Site) -> Result<Value> {
    Ok(serde_json::from_str(&site.scute(&["status", "--site", NAME, "-o", "json"])?)?)
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
