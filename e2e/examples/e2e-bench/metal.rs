//! A server of a rack, from `apply` to a Node; and what the same takes on the same hardware without a manager.

#[path = "../../../crates/agent/tests/room/mod.rs"]
mod room;
#[path = "../../tests/server/mod.rs"]
mod server;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use room::Room;
use scute_agent::protocol::{Format, Said, Work};
use scute_metaldata::Secrets;
use scute_testkit::{Figure, MIB};
use server::{Firmware, Hardware, Media, Server};
use tokio::time::timeout;

use crate::Bench;
use crate::cluster::{Cluster, NODE, is_true};

/// An emulated machine on a busy one.
const PATIENCE: Duration = Duration::from_secs(600);
/// One vcpu and this memory, as `scute rack up` is told below.
const MEMORY: u32 = 2048;
const GIB: u64 = 1 << 30;
/// The disk of a rack's host.
const DISK: u64 = 20 * GIB;
const HOST: &str = "baremetalhost/bench-host-0";

/// Says where cloud-init's commands begin, and how long a plain copy of the image takes from there.
const USER_DATA: &str = r"#cloud-config
runcmd:
- - bash
  - -c
  - |
    trap poweroff EXIT
    exec > /dev/ttyS0
    echo commands begin
    exec 3<>/dev/tcp/10.0.2.2/PORT
    printf 'GET /images/gigabyte HTTP/1.0\r\n\r\n' >&3
    while read -r line && [ ${#line} -gt 1 ]; do :; done <&3
    begin=$(date +%s%N)
    dd bs=1M iflag=fullblock conv=fsync of=/copy <&3
    echo copied=$(($(date +%s%N) - begin))
";

pub async fn measure(bench: &Bench) -> Result<()> {
    let direct = direct().await.context("without a manager")?;
    let (hello, gigabyte) = (direct.hello.as_secs_f64(), GIB as f64 / MIB);
    let ramdisk = scute_e2e::artifacts()?.bundle().join("ramdisk/ramdisk.iso");
    let size = std::fs::metadata(&ramdisk)?.len();
    Figure::of("ramdisk ISO", "MiB").value(size as f64 / MIB).at_most(60.0).print();
    Figure::of("agent's memory at most, a write included", "MiB").value(direct.peak).at_most(32.0).print();
    Figure::of("image of 1 GiB to disk", "s")
        .value(gigabyte / direct.image)
        .floor(gigabyte / direct.copy)
        .at_most(gigabyte / direct.copy / 0.9)
        .print();

    let rack = ["rack", "up", "--hosts", "1", "--cpus", "1", "--memory", &MEMORY.to_string()];
    bench.site.scute(&[&rack[..], &["--site", bench.site.name()]].concat())?;
    let objects = bench.site.scute(&["rack", "list", "-o", "yaml", "--site", bench.site.name()])?;
    let start = Instant::now();
    bench.kubectl.apply(&objects)?;
    bench.kubectl.wait(HOST, "jsonpath={.status.provisioning.state}=available", PATIENCE)?;
    Figure::of("host registered, inspected, cleaned and available", "s")
        .value(start.elapsed().as_secs_f64())
        .floor(2.0 * hello)
        .at_most(2.0 * hello + 10.0)
        .print();
    node(bench, &direct).await
}

/// What a server takes that is told what to do at once.
struct Direct {
    /// From power on to the agent's first word.
    hello: Duration,
    /// From power on to cloud-init's commands on the Node's image, written on the way.
    commands: Duration,
    /// MiB a second of an image of 1 GiB, checked and written by the agent.
    image: f64,
    /// MiB a second of a plain copy of the same.
    copy: f64,
    /// Of the agent's memory, in MiB.
    peak: f64,
}

async fn direct() -> Result<Direct> {
    let artifacts = scute_e2e::artifacts()?;
    let bundle = artifacts.bundle();
    let room = Room::open();
    let ramdisk = bundle.join("ramdisk/ramdisk.iso");
    // By UEFI nothing is written that could not start; what follows cannot be made smaller.
    let mut gigabyte = server::system(&ramdisk);
    let begins = gigabyte.len();
    gigabyte.resize(GIB as usize, 0);
    aws_lc_rs::rand::fill(&mut gigabyte[begins..]).map_err(|_| anyhow::anyhow!("no random numbers"))?;
    let port = room.images_address.port();
    let user_data = USER_DATA.replace("PORT", &port.to_string());
    let secrets = Secrets { user_data: Some(user_data.as_bytes()), meta_data: None, network_data: None };
    let image = std::fs::read(artifacts.node_disk()?)?;
    let works = [
        ("gigabyte", server::write(port, "gigabyte", Format::Raw, &gigabyte, None)),
        ("node", server::write(port, "node", Format::Qcow2, &image, Some(&server::config_drive(&secrets)))),
    ];
    room.images.put("gigabyte", gigabyte);
    room.images.put("node", image);

    let start = Instant::now();
    let hardware = Hardware {
        firmware: Firmware::Uefi,
        memory_mebibytes: MEMORY,
        disk_bytes: DISK,
        cards: 1,
        bad_byte: None,
    };
    let mut server = Server::start(hardware, &Media::Ramdisk(&ramdisk, &room.parameters("10.0.2.2")));
    room.until("hello", PATIENCE, |memory| memory.hellos.first().cloned()).await;
    let hello = start.elapsed();
    let mut took = Vec::new();
    for (id, write) in works {
        let start = Instant::now();
        room.give(Work::Write { id: id.into(), write: Box::new(write) });
        let end = room.end_of(id, PATIENCE).await;
        ensure!(matches!(end, Said::Written { .. }), "{end:?}");
        took.push(start.elapsed());
    }
    room.give(Work::Reboot);
    let boot = Instant::now();
    // The log of a serial port cannot be watched.
    while !server.serial().contains("commands begin") {
        ensure!(boot.elapsed() < PATIENCE, "the Node does not start:\n{}", server.serial());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let commands = hello + took[1] + boot.elapsed();
    let exit = timeout(PATIENCE, server.qemu.wait()).await.context("the Node does not power off")??;
    ensure!(exit.success(), "QEMU: {exit}");
    let serial = server.serial();
    let copied = serial.split("copied=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let copied: f64 = copied.with_context(|| format!("no copy:\n{serial}"))?.parse()?;
    let gigabyte = GIB as f64 / MIB;
    Ok(Direct {
        hello,
        commands,
        image: gigabyte / took[0].as_secs_f64(),
        copy: gigabyte / (copied / 1e9),
        peak: server.peak() as f64 / 1024.0,
    })
}

/// From a Machine that wants the host to its Node.
async fn node(bench: &Bench, direct: &Direct) -> Result<()> {
    let manifest = include_str!("../../../examples/mixed-tenant.yaml")
        .replace("172.30.0.", "172.30.99.")
        .replace("replicas: 1\n  selector", "replicas: 0\n  selector");
    bench.kubectl.apply(&manifest)?;
    bench.kubectl.wait("cluster/mixed", "condition=ControlPlaneAvailable", PATIENCE)?;
    let tenant = Cluster::new(bench.site.tenant("mixed")?.kubeconfig()).await?;
    tenant.answers("/api/v1/nodes").await?;
    let start = Instant::now();
    bench.kubectl.run(&["scale", "machinedeployment/mixed-metal", "--replicas=1"])?;
    tenant.any(NODE, |_| true).await?;
    let there = start.elapsed();
    tenant.any(NODE, |node| is_true(node, "Ready")).await?;
    let ready = start.elapsed();
    // Of a join only what comes after the Node is there is known here: the floor is lower than it could be.
    let floor = direct.commands + (ready - there);
    Figure::of("host available to its Node Ready", "s")
        .value(ready.as_secs_f64())
        .floor(floor.as_secs_f64())
        .at_most(floor.as_secs_f64() + 15.0)
        .print();
    let delete = ["cluster", "delete", "mixed", "--yes", "--site", bench.site.name()];
    let start = Instant::now();
    bench.site.scute(&delete)?;
    bench.kubectl.wait(HOST, "jsonpath={.status.provisioning.state}=available", PATIENCE)?;
    Figure::of("Cluster deleted until its server is clean and available", "s")
        .value(start.elapsed().as_secs_f64())
        .print();
    Ok(())
}
