//! A virtual machine whose processes are shot at, and one whose image is not there yet.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scute_e2e::{Kubectl, Site, Traces, processes, step};

const NAME: &str = "e2e-vm";
const QUICK: Duration = Duration::from_secs(120);
const IMAGE: &str = "scute.dev/node:v1.35.4";
/// A name that no image has until the test gives it one.
const LATER: &str = "scute.dev/later:1";

#[test]
fn a_virtual_machine_survives_its_processes_and_waits_for_its_image() {
    let before = Traces::look();
    let site = step("scute up", || Site::up(NAME));
    let management = site.kubectl();
    step("a VM runs", || {
        management.apply(&vm("a", IMAGE))?;
        management.wait("vmi/a", "jsonpath={.status.phase}=Running", QUICK)
    });
    step("kill -9 its QEMU: said, and another one runs", || {
        let (vmi, qemu) = (uid(&management, "a")?, qemu("a")?);
        processes::kill(qemu)?;
        another(&management, "a", &vmi)?;
        said(&management, "a")
    });
    step("kill -9 its launcher: said, and another one runs", || {
        let (vmi, qemu) = (uid(&management, "a")?, qemu("a")?);
        processes::kill(processes::parent(qemu)?)?;
        another(&management, "a", &vmi)?;
        ensure!(!processes::all().iter().any(|(pid, _)| *pid == qemu), "QEMU outlived its launcher");
        Ok(())
    });
    step("an image that is missing is named", || {
        management.apply(&vm("b", LATER))?;
        management.wait("vm/b", "jsonpath={.status.printableStatus}=ImagePullBackOff", QUICK)?;
        let said = management.run(&["get", "vmi", "b", "-o", "jsonpath={.status.conditions}"])?;
        ensure!(said.contains(LATER), "no condition names the image:\n{said}");
        Ok(())
    });
    step("once it is there, the VM runs", || {
        images(&["tag", IMAGE, LATER])?;
        management.wait("vmi/b", "jsonpath={.status.phase}=Running", Duration::from_secs(400))
    });
    step("deleted, they leave nothing", || {
        management.run(&["delete", "vm", "a", "b", "--wait=true"])?;
        for kind in ["virtualmachineinstances", "pods", "secrets", "poddisruptionbudgets"] {
            management.wait_for_none(&[kind], QUICK)?;
        }
        Ok(())
    });
    step("scute down", || site.down());
    step("no trace", || before.nothing_new(&Traces::look()));
}

fn vm(name: &str, image: &str) -> String {
    format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: {name}}}\nspec:\n  runStrategy: Always\n  \
         template:\n    spec:\n      terminationGracePeriodSeconds: 0\n      domain:\n        \
         memory: {{guest: 256Mi}}\n        devices: {{disks: [{{name: root, disk: {{bus: virtio}}}}]}}\n      \
         volumes: [{{name: root, containerDisk: {{image: \"{image}\"}}}}]\n"
    )
}

fn uid(management: &Kubectl, vmi: &str) -> Result<String> {
    management.run(&["get", "vmi", vmi, "-o", "jsonpath={.metadata.uid}"])
}

fn qemu(name: &str) -> Result<u32> {
    processes::in_pod_of_site(NAME, &format!("-name guest=default/{name} "))
}

/// Waits for an instance that is not the old one, and runs.
fn another(management: &Kubectl, name: &str, old: &str) -> Result<()> {
    processes::until("another instance", || uid(management, name).is_ok_and(|new| new != old))?;
    management.wait(&format!("vmi/{name}"), "jsonpath={.status.phase}=Running", QUICK)
}

/// An event of the VM, or of what it made, tells that the guest was lost.
fn said(management: &Kubectl, name: &str) -> Result<()> {
    let events =
        management.run(&["get", "events", "--field-selector", &format!("involvedObject.name={name}")])?;
    ensure!(events.contains("crashed"), "no word of it:\n{events}");
    Ok(())
}

/// `ctr images`, in the site's own mounts.
fn images(arguments: &[&str]) -> Result<()> {
    let folder = format!("/var/lib/scute/{NAME}/bin");
    let containerd = processes::with(&format!("{folder}/containerd --config"))?;
    let status = Command::new("nsenter")
        .args(["--mount", "--target", &containerd.to_string(), "--", &format!("{folder}/ctr")])
        .args(["--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io", "images"])
        .args(arguments)
        .status()
        .context("nsenter")?;
    ensure!(status.success(), "ctr images {arguments:?}: {status}");
    Ok(())
}
