//! VMs, and the Nodes that they become.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::Value;

use crate::cluster::{Cluster, MACHINE, NAMESPACE, NODE, POD, SECRET, VM, is_true};
use crate::{Bench, floor, median, process};
use scute_testkit::{Figure, MIB};

/// The first line that a kernel of Linux writes.
const FIRST_LINE: &str = "Linux version";
const IMAGE: &str = "scute.dev/node:v1.35.4";
/// What QEMU is given for its translated code, and what the guest is given.
const TCG_BUFFER: u64 = 512 << 20;
const GUEST: u64 = 512 << 20;

pub async fn measure(bench: &Bench) -> Result<()> {
    kernel(bench).await.context("a kernel's first line")?;
    node(bench).await.context("a Node")
}

/// From the apply of a VM to the guest kernel's first line.
async fn kernel(bench: &Bench) -> Result<()> {
    let (mut times, mut sandboxes, mut qemus) = (vec![], vec![], vec![]);
    for run in 0..bench.runs {
        let start = Instant::now();
        bench.kubectl.apply(&machine())?;
        let pod = pod_of(bench, "bench").await?;
        first_line(bench, pod["metadata"]["name"].as_str().context("a name")?).await?;
        times.push(start.elapsed());
        let direct = Direct::of(&pod)?;
        if run == 0 {
            memory(&pod)?;
        }
        bench.kubectl.run(&["delete", "vm", "bench", "--wait=true"])?;
        bench.kubectl.wait_for_none(&["pods"], Duration::from_secs(120))?;
        qemus.push(direct.first_line()?);
        sandboxes.push(floor::sandbox(bench).await?);
    }
    let floor = median(sandboxes) + median(qemus);
    Figure::of("VM apply to the guest kernel's first line", "s")
        .value(median(times))
        .floor(floor)
        .at_most(floor + 1.5)
        .print();
    Ok(())
}

/// Waits for the Pod of a VM whose guest runs.
async fn pod_of(bench: &Bench, vm: &str) -> Result<Value> {
    let started = |pod: &Value| {
        pod["metadata"]["labels"]["vm.kubevirt.io/name"] == vm
            && pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
    };
    bench.management.any(POD, started).await
}

async fn first_line(bench: &Bench, pod: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(bench.management.client.clone(), NAMESPACE);
    let follow = LogParams { follow: true, container: Some("compute".into()), ..Default::default() };
    let mut lines = pods.log_stream(pod, &follow).await?.lines();
    while let Some(line) = lines.next().await {
        if line?.contains(FIRST_LINE) {
            return Ok(());
        }
    }
    anyhow::bail!("the log of {pod} ended before its kernel spoke")
}

/// The launcher's own memory, and QEMU's beyond its guest's and its translated code's.
fn memory(pod: &Value) -> Result<()> {
    let all = process::of_pod(pod["metadata"]["uid"].as_str().context("a uid")?);
    let find = |part: &str| {
        all.iter().find(|(_, command)| command.contains(part)).map(|(pid, _)| *pid).context(part.to_owned())
    };
    let launcher = process::resident(find("launcher run")?)?;
    Figure::of("launcher's own RSS", "MiB").value(launcher as f64 / MIB).at_most(12.0).print();
    let mappings = process::mappings(find("qemu-system")?)?;
    let beyond: u64 = mappings
        .iter()
        .filter(|(size, _)| *size != GUEST && *size != TCG_BUFFER)
        .map(|(_, resident)| resident)
        .sum();
    Figure::of("QEMU's RSS beyond guest memory and TCG buffer", "MiB").value(beyond as f64 / MIB).print();
    Ok(())
}

/// QEMU with the same kernel, without everything else.
struct Direct {
    files: tempfile::TempDir,
    arguments: String,
}

impl Direct {
    /// Takes the kernel out of a Pod while it runs.
    fn of(pod: &Value) -> Result<Self> {
        let all = process::of_pod(pod["metadata"]["uid"].as_str().context("a uid")?);
        let (pid, _) = all.iter().find(|(_, command)| command.contains("qemu-system")).context("no QEMU")?;
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        let words: Vec<_> = command.split('\0').collect();
        let option = |name: &str| {
            words
                .windows(2)
                .find(|pair| pair[0] == name)
                .map(|pair| pair[1].to_owned())
                .context(name.to_owned())
        };
        let files = tempfile::tempdir()?;
        for (name, from) in [("kernel", option("-kernel")?), ("initrd", option("-initrd")?)] {
            let from = format!("/proc/{pid}/root{from}");
            std::fs::copy(&from, files.path().join(name)).with_context(|| from.clone())?;
        }
        Ok(Self { files, arguments: option("-append")? })
    }

    /// From exec to the kernel's first line.
    fn first_line(&self) -> Result<Duration> {
        use std::io::BufRead as _;
        let file = |name: &str| self.files.path().join(name);
        let start = Instant::now();
        let mut qemu = Killed(
            Command::new("qemu-system-x86_64")
                .args(["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-m", "512", "-smp", "2"])
                .args(["-display", "none", "-nodefaults", "-serial", "stdio", "-no-reboot", "-kernel"])
                .arg(file("kernel"))
                .arg("-initrd")
                .arg(file("initrd"))
                .args(["-append", &self.arguments])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context("qemu-system-x86_64")?,
        );
        let output = std::io::BufReader::new(qemu.0.stdout.take().context("its output")?);
        let found = output.lines().map_while(Result::ok).any(|line| line.contains(FIRST_LINE));
        ensure!(found, "QEMU ended before its kernel spoke");
        Ok(start.elapsed())
    }
}

/// A process that goes with the scope.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From one more replica to a Ready Node of the tenant, and from its deletion until nothing is left.
async fn node(bench: &Bench) -> Result<()> {
    let manifest = include_str!("../../../examples/first-tenant.yaml")
        .replace("172.30.0.171", "172.30.99.171")
        .replace("replicas: 1\n  selector", "replicas: 0\n  selector");
    bench.kubectl.apply(&manifest)?;
    bench.kubectl.wait("cluster/first", "condition=ControlPlaneAvailable", Duration::from_secs(120))?;
    let tenant = bench.site.tenant("first")?;
    let tenant = Cluster::new(tenant.kubeconfig()).await?;
    tenant.answers("/api/v1/nodes").await?;

    let start = Instant::now();
    bench.kubectl.run(&["scale", "machinedeployment/first-md-0", "--replicas=1"])?;
    tenant.any(NODE, |node| is_true(node, "Ready")).await?;
    Figure::of("VM apply to Node Ready, emulated", "s")
        .value(start.elapsed().as_secs_f64())
        .at_most(90.0)
        .print();

    let machine = bench.management.any(MACHINE, |machine| is_true(machine, "Available")).await?;
    let name = machine["metadata"]["name"].as_str().context("a name")?.to_owned();
    let pod = pod_of(bench, &name).await?;
    let all = [
        (MACHINE, name.clone()),
        (VM, name.clone()),
        (POD, pod["metadata"]["name"].as_str().context("a name")?.to_owned()),
        (SECRET, name.clone()),
        (SECRET, format!("{name}-userdata")),
    ];
    let start = Instant::now();
    bench.kubectl.run(&["scale", "machinedeployment/first-md-0", "--replicas=0"])?;
    bench.management.gone(&all).await?;
    Figure::of("Machine delete to VM, Pod, tap and Secret gone", "s")
        .value(start.elapsed().as_secs_f64())
        .at_most(15.0)
        .print();
    bench.site.scute(&["cluster", "delete", "first", "--yes", "--site", bench.site.name()]).map(drop)
}

fn machine() -> String {
    format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: bench}}\nspec:\n  \
         runStrategy: Always\n  template:\n    spec:\n      terminationGracePeriodSeconds: 0\n      domain:\n        \
         cpu: {{cores: 2}}\n        memory: {{guest: 512Mi}}\n        firmware:\n          kernelBoot:\n            \
         kernelArgs: console=ttyS0 root=LABEL=scute-node\n            container: {{image: \"{IMAGE}\", \
         kernelPath: /boot/vmlinuz, initrdPath: /boot/initrd.img}}\n        devices:\n          \
         disks: [{{name: root, disk: {{bus: virtio}}}}]\n      \
         volumes: [{{name: root, containerDisk: {{image: \"{IMAGE}\"}}}}]\n"
    )
}
