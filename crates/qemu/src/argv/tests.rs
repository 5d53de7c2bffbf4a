//! What the arguments must say, whatever is in the configuration.

use scute_image::qcow2::Format;

use super::*;
use crate::config::{Bus, CpuTopology, Drive, Kernel, Medium, Nic, NicBackend, NicModel};

fn config() -> MachineConfig {
    MachineConfig {
        name: "a,b".into(),
        accelerator: Accelerator::Tcg,
        cpu: CpuTopology { sockets: 1, cores: 2, threads: 2 },
        memory_bytes: 256 * MIB + 5,
        firmware: Firmware::Bios,
        smbios: Smbios { serial: Some("x,y=z".into()), ..Smbios::default() },
        kernel: None,
        drives: vec![],
        nics: vec![],
        spare_slots: 0,
    }
}

fn fds(taps: Vec<Vec<RawFd>>) -> Inherited {
    Inherited { qmp: 3, serial: 4, taps }
}

fn drive(name: &str, medium: Medium, bus: Bus) -> Drive {
    Drive {
        name: name.into(),
        medium: Some(medium),
        bus,
        cdrom: false,
        readonly: false,
        persistent: false,
        serial: None,
        boot_index: None,
        bad: None,
    }
}

fn scratch(name: &str, bus: Bus) -> Drive {
    drive(name, Medium::raw(format!("/s/{name}")), bus)
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
    assert!(argv.iter().any(|arg| arg == "type=1,serial=x,,y=z"), "{argv:?}");
    assert!(argv.contains(&"size=256M".to_owned()), "memory is whole MiB");
    assert!(argv.contains(&"cpus=4,sockets=1,cores=2,threads=2".to_owned()));
}

#[test]
fn overlay_over_qcow2_stops_the_chain_at_the_base() {
    let medium =
        Medium::Overlay { top: "/s/root".into(), base: "/d/a,file=b".into(), base_format: Format::Qcow2 };
    let mut config = config();
    config.drives = vec![drive("root", medium, Bus::Virtio)];
    let argv = render(&config, &fds(vec![]));
    let nodes = json_of(&argv, "-blockdev");
    assert_eq!(nodes[0]["backing"], Value::Null);
    assert!(nodes[0].as_object().unwrap().contains_key("backing"));
    assert_eq!(nodes[0]["read-only"], true);
    assert_eq!(nodes[0]["file"]["filename"], "/d/a,file=b");
    assert_eq!(nodes[1]["backing"], "base-0");
    assert_eq!(drive_of(nodes[1]["node-name"].as_str().unwrap()), Some(0));
}

/// A machine whose disks outlive it loses data when its flushes go nowhere.
#[test]
fn only_disks_that_are_thrown_away_ignore_flushes() {
    let overlay = Medium::Overlay { top: "/t".into(), base: "/b".into(), base_format: Format::Raw };
    let image = Medium::File { path: "/i".into(), format: Format::Qcow2 };
    for medium in [Medium::raw("/r"), image, overlay] {
        for persistent in [false, true] {
            let mut config = config();
            config.drives = vec![Drive { persistent, ..drive("a", medium.clone(), Bus::Virtio) }];
            let nodes = json_of(&render(&config, &fds(vec![])), "-blockdev");
            let top = nodes.last().unwrap();
            assert_eq!(top["cache"]["no-flush"], !persistent, "{top}");
        }
    }
    let mut efi = config();
    efi.firmware = Firmware::Efi { code: "/c".into(), vars: "/v".into() };
    let nodes = json_of(&render(&efi, &fds(vec![])), "-blockdev");
    assert_eq!(nodes[1]["cache"]["no-flush"], false, "variables are kept by whoever keeps their file");
}

#[test]
fn each_bus_has_its_addresses() {
    let mut config = config();
    config.drives = vec![
        scratch("a", Bus::Sata),
        Drive { cdrom: true, medium: None, ..scratch("b", Bus::Sata) },
        scratch("c", Bus::Scsi),
        Drive { boot_index: Some(1), serial: Some("S1".into()), ..scratch("d", Bus::Scsi) },
    ];
    let devices = json_of(&render(&config, &fds(vec![])), "-device");
    let of = |id: &str| devices.iter().find(|device| device["id"] == id).unwrap().clone();
    assert_eq!(of("disk-a")["bus"], "ide.0");
    let cdrom = of("disk-b");
    assert_eq!((&cdrom["driver"], &cdrom["bus"]), (&json!("ide-cd"), &json!("ide.1")));
    assert_eq!(cdrom["drive"], Value::Null, "an empty drive has no medium");
    assert_eq!(of("disk-d")["lun"], 1);
    assert_eq!(of("disk-d")["bootindex"], 1);
    assert_eq!(of("disk-d")["serial"], "S1");
    assert!(devices.iter().any(|device| device["driver"] == "virtio-scsi-pci"));
}

#[test]
fn no_two_devices_share_a_place() {
    let mut config = config();
    for bus in [Bus::Virtio, Bus::Sata, Bus::Scsi] {
        config.drives.extend((0..20).map(|number| scratch(&format!("{bus:?}{number}"), bus)));
    }
    config.spare_slots = 9;
    let devices = json_of(&render(&config, &fds(vec![])), "-device");
    let place = |device: &Value| {
        let addressed = device.get("addr").or_else(|| device.get("bus").filter(|bus| *bus != "scsi0.0"));
        addressed.or_else(|| device.get("lun")).map(Value::to_string)
    };
    let places: Vec<_> = devices.iter().filter_map(place).collect();
    let distinct: std::collections::BTreeSet<_> = places.iter().collect();
    assert_eq!(distinct.len(), places.len(), "{places:?}");
    let of = |id: &str| devices.iter().find(|device| device["id"] == id).unwrap().clone();
    assert_eq!(of("disk-Sata6")["bus"], "ahci1.0");
    assert_eq!(of("disk-Virtio8")["multifunction"], true, "function 0 says that there are others");
    assert_eq!(of("disk-Virtio9")["multifunction"], false);
}

#[test]
fn queues_are_the_tap_s() {
    let mut config = config();
    config.nics = vec![Nic {
        mac: "02:00:00:00:00:01".into(),
        model: NicModel::Virtio,
        backend: NicBackend::Tap { name: "tap0".into(), tun: "/dev/net/tun".into() },
        queues: 2,
        mtu: Some(1450),
        rom: None,
        boot_index: None,
    }];
    let argv = render(&config, &fds(vec![vec![7, 8]]));
    assert!(argv.contains(&"tap,id=net0,vhost=off,fds=7:8".to_owned()));
    let nic = json_of(&argv, "-device").into_iter().find(|device| device["netdev"] == "net0").unwrap();
    assert_eq!((nic["mq"].clone(), nic["vectors"].clone()), (json!(true), json!(6)));
    assert_eq!((nic["host_mtu"].clone(), nic["romfile"].clone()), (json!(1450), json!("")));
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
