//! The Node's image on a server: the agent writes it with a config drive, and it starts by UEFI and by BIOS.

#[path = "../../crates/agent/tests/room/mod.rs"]
mod room;
mod server;

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use room::Room;
use scute_agent::protocol::{Format, Said, Work};
use scute_e2e::artifacts;
use scute_metaldata::Secrets;
use serde_json::json;
use server::{Firmware, Hardware, Media, Server};
use tokio::time::timeout;

/// An emulated machine on a busy one.
const BOOT: Duration = Duration::from_secs(400);
/// Two gigabytes more than the image.
const DISK: u64 = 12 << 30;

const USER_DATA: &str = r#"## template: jinja
#cloud-config
runcmd:
- |
  exec > /dev/ttyS0
  echo "host=$(hostname) provider={{ ds.meta_data.providerid }}"
  for link in $(ls /sys/class/net); do echo "$link: $(ip -4 -o addr show dev $link | awk '{print $4}')"; done
  echo "gateway=$(ip route show default | awk 'NR == 1 {print $3, $5}') dns=$(resolvectl dns | grep -o '10\.0\.2\.3' | head -n 1)"
  grep -h 'Bonding Mode\|Slave Interface' /proc/net/bonding/bond0
  echo "root=$(df --output=size --block-size=M / | tail -n 1) failed=$(systemctl --failed --plain --no-legend | wc -l)"
  echo "firmware=$(test -d /sys/firmware/efi && echo uefi || echo bios)"
  poweroff
"#;

/// Static addresses on a card, a VLAN on it and a bond of two others; DHCP on the last.
fn config_drive() -> Vec<u8> {
    let card = |id: &str, number: u8| json!({"type": "phy", "id": id, "ethernet_mac_address": format!("02:00:00:00:00:0{number}")});
    let fixed = |link: &str, address: &str, routes| json!({"type": "ipv4", "id": link, "link": link, "ip_address": address, "netmask": "255.255.255.0", "routes": routes});
    let default = json!([{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.2.2"}]);
    let network = json!({
        "links": [
            card("eno1", 1), card("eno2", 2), card("eno3", 3), card("eno4", 4),
            {"type": "vlan", "id": "storage", "vlan_id": 7, "vlan_link": "eno1", "vlan_mac_address": "02:00:00:00:00:01"},
            {"type": "bond", "id": "pair", "bond_mode": "active-backup", "bond_miimon": 100,
             "bond_links": ["eno2", "eno3"], "ethernet_mac_address": "02:00:00:00:00:02"},
        ],
        "networks": [
            fixed("eno1", "10.0.2.77", default), fixed("storage", "10.7.0.20", json!([])), fixed("pair", "10.8.0.20", json!([])),
            {"type": "ipv4_dhcp", "id": "guests", "link": "eno4", "routes": []},
        ],
        "services": [{"type": "dns", "address": "10.0.2.3"}],
    })
    .to_string();
    let secrets = Secrets {
        user_data: Some(USER_DATA.as_bytes()),
        meta_data: Some(b"local-hostname: worker-7\nproviderid: metal3://site/host-0/worker-7\n"),
        network_data: Some(network.as_bytes()),
    };
    server::config_drive(&secrets)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_image_starts_by_uefi_and_by_bios_and_does_what_its_config_drive_says() {
    let artifacts = artifacts().unwrap();
    let bundle = artifacts.bundle();
    let room = Room::open();
    let image = std::fs::read(artifacts.node_disk().unwrap()).unwrap();
    let port = room.images_address.port();
    let write = server::write(port, "node.qcow2", Format::Qcow2, &image, Some(&config_drive()));
    room.images.put("node.qcow2", image);
    let mut parameters = room.parameters("10.0.2.2");
    parameters.addresses = vec!["02:00:00:00:00:01,10.0.2.15/24,10.0.2.2".parse().unwrap()];
    let hardware = Hardware {
        firmware: Firmware::Uefi,
        memory_mebibytes: 1536,
        disk_bytes: DISK,
        cards: 4,
        bad_byte: None,
    };
    let started = Instant::now();
    let said = |what: &str| println!("  {what} after {:.1} s", started.elapsed().as_secs_f64());
    let mut uefi = Server::start(hardware, &Media::Ramdisk(&bundle.join("ramdisk/ramdisk.iso"), &parameters));
    room.give(Work::Write { id: "write".into(), write: Box::new(write) });
    assert!(matches!(room.end_of("write", BOOT).await, Said::Written { .. }));
    said("written");

    // Before its first boot: for the other firmware.
    let copy = uefi.path("copy.raw");
    let copied = Command::new("cp").arg("--sparse=always").args([&uefi.path("disk.raw"), &copy]).status();
    assert!(copied.unwrap().success() && File::open(&copy).is_ok());
    let mut bios = Server::start(Hardware { firmware: Firmware::Bios, ..hardware }, &Media::Disk(&copy));
    room.give(Work::Reboot);
    for (server, firmware) in [(&mut uefi, "uefi"), (&mut bios, "bios")] {
        let exit = timeout(BOOT, server.qemu.wait()).await.expect("the Node powers off").unwrap();
        said(firmware);
        assert!(exit.success());
        check(&server.serial(), firmware);
    }
}

/// What the Node says of itself.
fn check(serial: &str, firmware: &str) {
    let lines: Vec<&str> = serial.lines().map(str::trim).collect();
    let mut wanted = vec![
        "host=worker-7 provider=metal3://site/host-0/worker-7".to_owned(),
        "gateway=10.0.2.2 enp0s17 dns=10.0.2.3".to_owned(),
        "Bonding Mode: fault-tolerance (active-backup)".to_owned(),
        format!("firmware={firmware}"),
    ];
    wanted.extend(
        ["enp0s17: 10.0.2.77/24", "enp0s17.7: 10.7.0.20/24", "bond0: 10.8.0.20/24"].map(String::from),
    );
    wanted.extend(
        ["Slave Interface: enp0s18", "Slave Interface: enp0s19", "enp0s20: 10.0.2.15/24"].map(String::from),
    );
    for line in wanted {
        assert!(lines.contains(&line.as_str()), "no {line:?}");
    }
    let root = lines.iter().find_map(|line| line.strip_prefix("root=")?.trim().strip_suffix("M failed=0"));
    let root: u64 = root.expect("a size, and no unit that failed").parse().unwrap();
    assert!(
        (11 << 10..12 << 10).contains(&root),
        "the root file system is grown up to the config drive: {root} MiB"
    );
}
