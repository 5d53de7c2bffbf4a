//! Devices and their places on the buses, as `crate::devices` counts them.

use std::os::fd::RawFd;

use serde_json::{Map, Value, json};

use super::{Argv, Inherited, blocks, path};
use crate::config::{Bus, Drive, MachineConfig, Nic, NicBackend, NicModel};
use crate::devices::{Devices, FUNCTIONS, SATA_PORTS};

/// Name of a drive's device.
pub fn device_of(drive: &str) -> String {
    format!("disk-{drive}")
}

/// Name of a network device.
pub fn nic_of(index: usize) -> String {
    format!("nic-{index}")
}

pub fn all(config: &MachineConfig, fds: &Inherited, argv: &mut Argv) {
    let mut places = Places::default();
    // NICs come first and sit behind a root port each: guests then call the first one enp1s0, as under KubeVirt.
    for (index, (nic, taps)) in config.nics.iter().zip(&fds.taps).enumerate() {
        let port = places.root_port(argv);
        network(index, nic, &port, taps, argv);
    }
    let devices = Devices::of(config);
    if devices.scsi > 0 {
        argv.device(json!({"driver": "virtio-scsi-pci", "id": "scsi0", "addr": places.slot()}));
    }
    argv.json("-object", json!({"qom-type": "rng-builtin", "id": "rng0"}));
    argv.device(json!({"driver": "virtio-rng-pci", "rng": "rng0", "addr": places.slot()}));
    for controller in 1..=devices.controllers() {
        argv.device(json!({"driver": "ich9-ahci", "id": format!("ahci{controller}"), "addr": places.slot()}));
    }
    let mut virtio = Packed::default();
    for (index, drive) in config.drives.iter().enumerate() {
        for block in blocks::of_drive(index, drive) {
            argv.json("-blockdev", block);
        }
        storage(index, drive, &mut places, &mut virtio, argv);
    }
    let mut spare = Packed::default();
    for _ in 0..config.spare_slots {
        let (address, first) = spare.next(&mut places);
        places.port_at(address, first, argv);
    }
}

/// What is taken.
#[derive(Default)]
struct Places {
    slots: usize,
    ports: usize,
    sata: usize,
    scsi: usize,
}

impl Places {
    /// The next free slot of the root bus; the chipset has slot 0.
    fn slot(&mut self) -> String {
        self.slots += 1;
        format!("{:#x}", self.slots)
    }

    fn root_port(&mut self, argv: &mut Argv) -> String {
        let slot = self.slot();
        self.port_at(slot, false, argv)
    }

    /// A root port, into which one device fits; its name.
    fn port_at(&mut self, address: String, first_of_several: bool, argv: &mut Argv) -> String {
        let id = format!("port{}", self.ports);
        self.ports += 1;
        argv.device(json!({"driver": "pcie-root-port", "id": id, "chassis": self.ports, "addr": address,
                           "multifunction": first_of_several}));
        id
    }
}

/// Devices that share slots, eight to each.
#[derive(Default)]
struct Packed {
    slot: String,
    used: usize,
}

impl Packed {
    /// The next place, and whether it is the first of its slot.
    fn next(&mut self, places: &mut Places) -> (String, bool) {
        let function = self.used % FUNCTIONS;
        if function == 0 {
            self.slot = places.slot();
        }
        self.used += 1;
        (format!("{}.{function:x}", self.slot), function == 0)
    }
}

fn network(index: usize, nic: &Nic, port: &str, taps: &[RawFd], argv: &mut Argv) {
    let driver = match nic.model {
        NicModel::Virtio => "virtio-net-pci",
        NicModel::E1000e => "e1000e",
        NicModel::E1000 => "e1000",
    };
    // Without a file no ROM: the guest never boots from the network.
    let rom = nic.rom.as_deref().map(path).unwrap_or_default();
    let mut device =
        json!({"driver": driver, "id": nic_of(index), "bus": port, "mac": nic.mac, "romfile": rom});
    if let NicBackend::Tap { .. } = nic.backend {
        let fds: Vec<String> = taps.iter().map(RawFd::to_string).collect();
        argv.option("-netdev", format!("tap,id=net{index},vhost=off,fds={}", fds.join(":")));
        device["netdev"] = json!(format!("net{index}"));
    }
    if let Some(place) = nic.boot_index {
        device["bootindex"] = json!(place);
    }
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

fn storage(index: usize, drive: &Drive, places: &mut Places, virtio: &mut Packed, argv: &mut Argv) {
    let mut device = Map::new();
    let mut put = |key: &str, value: Value| device.insert(key.to_owned(), value);
    put("id", json!(device_of(&drive.name)));
    if drive.medium.is_some() {
        put("drive", json!(blocks::node_of(index)));
    }
    match (drive.bus, drive.cdrom) {
        // virtio has no CD-ROM: a read-only disk is what guests expect then.
        (Bus::Virtio, _) => {
            let (address, first) = virtio.next(places);
            put("driver", json!("virtio-blk-pci"));
            put("addr", json!(address));
            put("multifunction", json!(first));
        }
        (Bus::Sata, cdrom) => {
            let (controller, port) = (places.sata / SATA_PORTS, places.sata % SATA_PORTS);
            places.sata += 1;
            put("driver", json!(if cdrom { "ide-cd" } else { "ide-hd" }));
            // The chipset's own controller has another kind of name.
            let bus = if controller == 0 { "ide".to_owned() } else { format!("ahci{controller}") };
            put("bus", json!(format!("{bus}.{port}")));
        }
        (Bus::Scsi, cdrom) => {
            put("driver", json!(if cdrom { "scsi-cd" } else { "scsi-hd" }));
            put("bus", json!("scsi0.0"));
            put("lun", json!(places.scsi));
            places.scsi += 1;
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
