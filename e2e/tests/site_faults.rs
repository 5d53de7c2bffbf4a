//! A management cluster that is shot at: it converges each time, keeps what it knew, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scute_e2e::processes::{self, all, until};
use scute_e2e::{Site, Traces, step};

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
    let folder = format!("/var/lib/scute/{NAME}/");
    all()
        .into_iter()
        .find(|(_, command)| command.starts_with(&folder) && command.contains(part))
        .map(|(pid, _)| pid)
        .with_context(|| format!("no process {part:?} of the site"))
}

fn pid_of(start: &str) -> Option<u32> {
    all().into_iter().find(|(_, command)| command.starts_with(start)).map(|(pid, _)| pid)
}

fn kill(part: &str) -> Result<u32> {
    let pid = find(part)?;
    processes::kill(pid)?;
    Ok(pid)
}
