//! Hosts for people, and as objects that can be applied.

use std::path::Path;

use scute_api::metal3::{BareMetalHost, BareMetalHostSpec, BmcDetails, BootMode, RootDeviceHints};
use scute_bmc::Power;
use scute_rack::control::View;
use scute_rack::{Firmware, HostFolder};
use serde_json::json;

use crate::output;

/// Hosts for people.
pub fn table(hosts: &[View]) -> String {
    let row = |host: &View| {
        let power = if host.power == Power::On { "on" } else { "off" };
        let first = host.nics.first();
        let address = first.and_then(|nic| nic.address).map(|address| address.to_string());
        vec![
            host.name.clone(),
            power.to_owned(),
            host.bmc.to_string(),
            first.map(|nic| nic.mac.to_string()).unwrap_or_default(),
            address.unwrap_or_default(),
            host.firmware.to_string(),
            host.profile.clone(),
        ]
    };
    output::table(&["NAME", "POWER", "BMC", "MAC", "IP", "FIRMWARE", "PROFILE"], hosts.iter().map(row))
}

/// A BareMetalHost and its Secret for each.
pub fn objects(rack: &Path, hosts: &[View], namespace: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    for host in hosts {
        let folder = HostFolder::at(rack.join(&host.name));
        let config = folder.load()?;
        let credentials = format!("{}-bmc", host.name);
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": credentials, "namespace": namespace},
            "type": "Opaque",
            "stringData": {"username": config.user, "password": folder.password()?},
        });
        let mut object = BareMetalHost::new(
            &host.name,
            BareMetalHostSpec {
                online: true,
                bmc: Some(BmcDetails {
                    address: format!("redfish-virtualmedia+https://{}{}", host.bmc, host.system),
                    credentials_name: credentials,
                    // Its certificate is signed by itself.
                    disable_certificate_verification: true,
                }),
                boot_mac_address: config.nics.first().map(|nic| nic.mac.to_string()),
                root_device_hints: config.disks.first().map(|disk| RootDeviceHints {
                    serial_number: Some(disk.serial.clone()),
                    ..RootDeviceHints::default()
                }),
                boot_mode: Some(match config.firmware {
                    Firmware::Uefi => BootMode::Uefi,
                    Firmware::Bios => BootMode::Legacy,
                }),
                ..BareMetalHostSpec::default()
            },
        );
        object.metadata.namespace = Some(namespace.to_owned());
        // Those of the kind are added when it is made.
        object.metadata.labels = None;
        text += &format!("---\n{}---\n{}", output::yaml(&secret)?, output::yaml(&object)?);
    }
    Ok(text)
}
