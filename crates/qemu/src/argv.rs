//! A [`MachineConfig`] to QEMU's arguments: pure.
//!
//! Devices and block nodes are passed as JSON, so that no file name or serial number can add an option.

use std::os::fd::RawFd;
use std::path::Path;

use scute_image::qcow2::Format;
use serde_json::{Map, Value, json};

use crate::config::{Accelerator, Bus, Drive, DriveImage, Firmware, MachineConfig, Nic, NicModel};

/// Size of the translator's buffer. QEMU's own default is a quarter of its guess of the host's memory.
pub const TCG_BUFFER_MIB: u64 = 512;

const MIB: u64 = 1024 * 1024;

/// Descriptors that QEMU inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// Connected socket for QMP.
    pub qmp: RawFd,
    /// Connected socket for the first serial port.
    pub serial: RawFd,
    /// Queues of each NIC's tap, in the order of [`MachineConfig::nics`].
    pub taps: Vec<Vec<RawFd>>,
}

/// All arguments after the program's name. The vCPUs wait for `cont`.
pub fn render(config: &MachineConfig, fds: &Inherited) -> Vec<String> {
    let mut argv = Argv::default();
    base(config, &mut argv);
    channels(fds, &mut argv);
    firmware(config, &mut argv);
    if let Some(kernel) = &config.kernel {
        argv.option("-kernel", path(&kernel.image));
        if let Some(initrd) = &kernel.initrd {
            argv.option("-initrd", path(initrd));
        }
        if !kernel.args.is_empty() {
            argv.option("-append", &kernel.args);
        }
    }
    // NICs come first and sit behind a root port each: guests then call the first one enp1s0, as under KubeVirt.
    for (index, (nic, taps)) in config.nics.iter().zip(&fds.taps).enumerate() {
        network(index, nic, taps, &mut argv);
    }
    if config.drives.iter().any(|drive| drive.bus == Bus::Scsi) {
        argv.device(json!({"driver": "virtio-scsi-pci", "id": "scsi0"}));
    }
    let mut ports = Ports::default();
    for (index, drive) in config.drives.iter().enumerate() {
        storage(index, drive, &mut ports, &mut argv);
    }
    argv.json("-object", json!({"qom-type": "rng-builtin", "id": "rng0"}));
    argv.device(json!({"driver": "virtio-rng-pci", "rng": "rng0"}));
    argv.0
}

#[derive(Default)]
struct Argv(Vec<String>);

impl Argv {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.0.extend([name.to_owned(), value.into()]);
    }

    fn json(&mut self, name: &str, value: Value) {
        self.option(name, value.to_string());
    }

    fn device(&mut self, value: Value) {
        self.json("-device", value);
    }
}

fn base(config: &MachineConfig, argv: &mut Argv) {
    argv.option("-name", format!("guest={}", commas(&config.name)));
    argv.flag("-nodefaults");
    argv.flag("-no-user-config");
    argv.flag("-S");
    argv.option("-display", "none");
    argv.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    // graphics=off makes SeaBIOS write to the serial port: "No bootable device" then reaches the Pod's log.
    argv.option(
        "-machine",
        format!("{},graphics=off,vmport=off,usb=off,memory-backend=ram", commas(&config.machine)),
    );
    match config.accelerator {
        Accelerator::Kvm => {
            argv.option("-accel", "kvm");
            argv.option("-cpu", "host");
        }
        Accelerator::Tcg => {
            argv.option("-accel", format!("tcg,thread=multi,tb-size={TCG_BUFFER_MIB}"));
            // Five-level page tables cost the translator one more look-up per miss, and no guest is that large.
            argv.option("-cpu", "max,la57=off");
        }
    }
    let cpu = &config.cpu;
    argv.option(
        "-smp",
        format!("cpus={},sockets={},cores={},threads={}", cpu.vcpus(), cpu.sockets, cpu.cores, cpu.threads),
    );
    let memory = (config.memory_bytes / MIB).max(1);
    argv.option("-m", format!("size={memory}M"));
    argv.json("-object", json!({"qom-type": "memory-backend-ram", "id": "ram", "size": memory * MIB}));
    argv.option("-rtc", "base=utc");
    argv.option("-boot", "strict=on");
    // Nothing resumes a guest that suspends itself.
    argv.option("-global", "ICH9-LPC.disable_s3=1");
    argv.option("-global", "ICH9-LPC.disable_s4=1");
    // Guests and their tools recognise this manufacturer.
    let mut smbios = "type=1,manufacturer=KubeVirt,product=None".to_owned();
    if let Some(uuid) = &config.identity.uuid {
        argv.option("-uuid", uuid);
        smbios += &format!(",uuid={}", commas(uuid));
    }
    if let Some(serial) = &config.identity.serial {
        smbios += &format!(",serial={}", commas(serial));
    }
    argv.option("-smbios", smbios);
}

fn channels(fds: &Inherited, argv: &mut Argv) {
    argv.option("-chardev", format!("socket,id=qmp,fd={}", fds.qmp));
    argv.option("-mon", "chardev=qmp,mode=control");
    argv.option("-chardev", format!("socket,id=serial0,fd={}", fds.serial));
    argv.option("-serial", "chardev:serial0");
}

fn firmware(config: &MachineConfig, argv: &mut Argv) {
    let Firmware::Efi { code, vars } = &config.firmware else { return };
    for (unit, file, readonly) in [(0, code, true), (1, vars, false)] {
        let node = format!("flash{unit}");
        argv.json("-blockdev", raw_node(&node, file, readonly, false));
        argv.option("-machine", format!("pflash{unit}={node}"));
    }
}

fn network(index: usize, nic: &Nic, taps: &[RawFd], argv: &mut Argv) {
    let port = format!("port{index}");
    argv.device(json!({"driver": "pcie-root-port", "id": port, "chassis": index + 1}));
    let fds: Vec<String> = taps.iter().map(RawFd::to_string).collect();
    argv.option("-netdev", format!("tap,id=net{index},vhost=off,fds={}", fds.join(":")));
    let driver = match nic.model {
        NicModel::Virtio => "virtio-net-pci",
        NicModel::E1000e => "e1000e",
        NicModel::E1000 => "e1000",
    };
    // No romfile: the guest never boots from the network.
    let mut device = json!({"driver": driver, "bus": port, "netdev": format!("net{index}"), "mac": nic.mac, "romfile": ""});
    if nic.model == NicModel::Virtio {
        if let Some(mtu) = nic.mtu {
            device["host_mtu"] = json!(mtu);
        }
        if nic.queues > 1 {
            device["mq"] = json!(true);
            device["vectors"] = json!(2 * nic.queues + 2);
        }
    }
    argv.device(device);
}

/// Numbers of the buses that have addresses.
#[derive(Default)]
struct Ports {
    sata: usize,
    scsi: usize,
}

/// Name of a drive's block node. It has a number, as QEMU takes no more than 31 characters.
fn node_of(index: usize) -> String {
    format!("{NODE}{index}")
}

const NODE: &str = "drive-";

/// The drive that a block node belongs to.
pub fn drive_of(node: &str) -> Option<usize> {
    node.strip_prefix(NODE)?.parse().ok()
}

fn storage(index: usize, drive: &Drive, ports: &mut Ports, argv: &mut Argv) {
    let node = node_of(index);
    for block in blocks(index, drive, &node) {
        argv.json("-blockdev", block);
    }
    let mut device = Map::new();
    let mut put = |key: &str, value: Value| device.insert(key.to_owned(), value);
    put("id", json!(format!("disk-{}", drive.name)));
    put("drive", json!(node));
    match (drive.bus, drive.cdrom) {
        // virtio has no CD-ROM: a read-only disk is what guests expect then.
        (Bus::Virtio, _) => {
            put("driver", json!("virtio-blk-pci"));
        }
        (Bus::Sata, cdrom) => {
            put("driver", json!(if cdrom { "ide-cd" } else { "ide-hd" }));
            put("bus", json!(format!("ide.{}", ports.sata)));
            ports.sata += 1;
        }
        (Bus::Scsi, cdrom) => {
            put("driver", json!(if cdrom { "scsi-cd" } else { "scsi-hd" }));
            put("bus", json!("scsi0.0"));
            put("lun", json!(ports.scsi));
            ports.scsi += 1;
        }
    }
    if let Some(serial) = &drive.serial {
        put("serial", json!(serial));
    }
    if let Some(index) = drive.boot_index {
        put("bootindex", json!(index));
    }
    argv.device(Value::Object(device));
}

/// The block nodes behind a drive, leaf first.
fn blocks(index: usize, drive: &Drive, node: &str) -> Vec<Value> {
    let readonly = drive.readonly || drive.cdrom;
    match &drive.image {
        DriveImage::Scratch(file) => vec![raw_node(node, file, readonly, true)],
        DriveImage::ReadOnly(file) => vec![raw_node(node, file, true, false)],
        DriveImage::Overlay { top, base, base_format } => {
            let base_node = format!("base-{index}");
            let base = match base_format {
                Format::Raw => raw_node(&base_node, base, true, false),
                // "backing": null: whatever the image says, QEMU opens no further file for it.
                Format::Qcow2 => {
                    json!({"driver": "qcow2", "node-name": base_node, "read-only": true, "backing": null,
                                        "file": file(base, true)})
                }
            };
            let top = json!({"driver": "qcow2", "node-name": node, "backing": base_node, "read-only": readonly,
                             "discard": "unmap", "cache": scratch_cache(), "file": file(top, readonly)});
            vec![base, top]
        }
    }
}

fn raw_node(node: &str, image: &Path, readonly: bool, scratch: bool) -> Value {
    let mut block =
        json!({"driver": "raw", "node-name": node, "read-only": readonly, "file": file(image, readonly)});
    if scratch {
        block["discard"] = json!("unmap");
        block["cache"] = scratch_cache();
    }
    block
}

/// A flush is for a medium that outlives the machine; this one does not, and guests flush a lot.
fn scratch_cache() -> Value {
    json!({"direct": false, "no-flush": true})
}

fn file(image: &Path, readonly: bool) -> Value {
    json!({"driver": "file", "filename": path(image), "read-only": readonly, "discard": "unmap"})
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// QEMU's key=value options end at a comma unless it is doubled.
fn commas(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CpuTopology, Identity, Kernel};

    fn config() -> MachineConfig {
        MachineConfig {
            name: "a,b".into(),
            machine: "q35".into(),
            accelerator: Accelerator::Tcg,
            cpu: CpuTopology { sockets: 1, cores: 2, threads: 2 },
            memory_bytes: 256 * MIB + 5,
            firmware: Firmware::Bios,
            identity: Identity { uuid: None, serial: Some("x,y=z".into()) },
            kernel: None,
            drives: vec![],
            nics: vec![],
        }
    }

    fn fds(taps: Vec<Vec<RawFd>>) -> Inherited {
        Inherited { qmp: 3, serial: 4, taps }
    }

    fn drive(name: &str, image: DriveImage, bus: Bus) -> Drive {
        Drive { name: name.into(), image, bus, cdrom: false, readonly: false, serial: None, boot_index: None }
    }

    /// The JSON after each `option`.
    fn json_of(argv: &[String], option: &str) -> Vec<Value> {
        let pairs = argv.windows(2).filter(|pair| pair[0] == option);
        pairs.filter_map(|pair| serde_json::from_str(&pair[1]).ok()).collect()
    }

    #[test]
    fn text_cannot_add_options() {
        let argv = render(&config(), &fds(vec![]));
        assert!(argv.contains(&"guest=a,,b".to_owned()));
        assert!(argv.iter().any(|arg| arg.ends_with("serial=x,,y=z")), "{argv:?}");
        assert!(argv.contains(&"size=256M".to_owned()), "memory is whole MiB");
        assert!(argv.contains(&"cpus=4,sockets=1,cores=2,threads=2".to_owned()));
    }

    #[test]
    fn overlay_over_qcow2_stops_the_chain_at_the_base() {
        let image = DriveImage::Overlay {
            top: "/s/root".into(),
            base: "/d/a,file=b".into(),
            base_format: Format::Qcow2,
        };
        let mut config = config();
        config.drives = vec![drive("root", image, Bus::Virtio)];
        let argv = render(&config, &fds(vec![]));
        let nodes = json_of(&argv, "-blockdev");
        assert_eq!(nodes[0]["backing"], Value::Null);
        assert!(nodes[0].as_object().unwrap().contains_key("backing"));
        assert_eq!(nodes[0]["read-only"], true);
        assert_eq!(nodes[0]["file"]["filename"], "/d/a,file=b");
        assert_eq!(nodes[1]["backing"], "base-0");
        assert_eq!(drive_of(nodes[1]["node-name"].as_str().unwrap()), Some(0));
        assert_eq!(nodes[1]["cache"]["no-flush"], true);
    }

    #[test]
    fn each_bus_has_its_addresses() {
        let scratch = |name: &str| DriveImage::Scratch(format!("/s/{name}").into());
        let mut config = config();
        config.drives = vec![
            drive("a", scratch("a"), Bus::Sata),
            Drive { cdrom: true, ..drive("b", DriveImage::ReadOnly("/s/b".into()), Bus::Sata) },
            drive("c", scratch("c"), Bus::Scsi),
            Drive { boot_index: Some(1), serial: Some("S1".into()), ..drive("d", scratch("d"), Bus::Scsi) },
        ];
        let devices = json_of(&render(&config, &fds(vec![])), "-device");
        let of = |id: &str| devices.iter().find(|device| device["id"] == id).unwrap().clone();
        assert_eq!(of("disk-a")["bus"], "ide.0");
        assert_eq!(
            (of("disk-b")["driver"].clone(), of("disk-b")["bus"].clone()),
            (json!("ide-cd"), json!("ide.1"))
        );
        assert_eq!(of("disk-d")["lun"], 1);
        assert_eq!(of("disk-d")["bootindex"], 1);
        assert_eq!(of("disk-d")["serial"], "S1");
        assert!(devices.iter().any(|device| device["driver"] == "virtio-scsi-pci"));
    }

    #[test]
    fn queues_are_the_tap_s() {
        let mut config = config();
        let mac = "02:00:00:00:00:01".to_owned();
        let (tap, tun) = ("tap0".to_owned(), "/dev/net/tun".into());
        config.nics = vec![Nic { mac, model: NicModel::Virtio, queues: 2, mtu: Some(1450), tap, tun }];
        let argv = render(&config, &fds(vec![vec![7, 8]]));
        assert!(argv.contains(&"tap,id=net0,vhost=off,fds=7:8".to_owned()));
        let nic = json_of(&argv, "-device").into_iter().find(|device| device["netdev"] == "net0").unwrap();
        assert_eq!((nic["mq"].clone(), nic["vectors"].clone()), (json!(true), json!(6)));
        assert_eq!(nic["host_mtu"], 1450);
    }

    #[test]
    fn direct_kernel_boot_keeps_the_command_line_whole() {
        let mut config = config();
        let args = "console=ttyS0 root=/dev/vda,x".to_owned();
        config.kernel = Some(Kernel { image: "/k".into(), initrd: None, args: args.clone() });
        let argv = render(&config, &fds(vec![]));
        let at = argv.iter().position(|arg| arg == "-append").unwrap();
        assert_eq!(argv[at + 1], args);
        assert!(!argv.contains(&"-initrd".to_owned()));
    }
}
