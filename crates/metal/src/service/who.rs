//! Which server a host is: what is known of it, and whether one that has come up is another. Pure.

use scute_agent::protocol::Hello;
use scute_api::metal3::{BareMetalHost, InspectionMode, ProvisioningState};

/// What is known of a host. Its disks are touched on no other server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The interface that it has.
    boot_mac: Option<String>,
    /// The serial number that an inspection found.
    serial: Option<String>,
}

/// MAC addresses that are told; a server can have hundreds.
const TOLD: usize = 8;

impl Who {
    /// By its spec and its last inspection; what a user says of the hardware is not proven.
    pub fn of(host: &BareMetalHost) -> Self {
        let hardware = host.status.as_ref().and_then(|status| status.hardware.as_ref());
        let inspected = hardware.filter(|_| host.inspection() != InspectionMode::Disabled);
        let serial = inspected.map(|hardware| hardware.system_vendor.serial_number.clone());
        Self {
            boot_mac: host.spec.boot_mac_address.clone(),
            serial: serial.filter(|serial| !serial.is_empty()),
        }
    }

    /// Why the server that says hello is another. Which serial number it has, an inspection finds out.
    pub fn stranger(&self, hello: &Hello, purpose: ProvisioningState) -> Option<String> {
        if let Some(mac) = &self.boot_mac
            && !hello.macs.iter().any(|known| known.eq_ignore_ascii_case(mac))
        {
            let seen: Vec<_> = hello.macs.iter().take(TOLD).map(String::as_str).collect();
            let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
            return Some(format!(
                "the server behind spec.bmc.address has no interface {mac}, which is spec.bootMACAddress; it has {seen}"
            ));
        }
        let serial = self.serial.as_ref().filter(|_| purpose != ProvisioningState::Inspecting)?;
        let other = !hello.serial.is_empty() && hello.serial != *serial;
        other.then(|| {
            format!(
                "the server behind spec.bmc.address has the serial number {}, and {serial} was inspected: it is another \
                 server, and is left alone; delete this host, and make one for the new server",
                hello.serial
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn host(more: serde_json::Value) -> BareMetalHost {
        let mut spec = json!({"online": true, "bootMACAddress": "52:54:00:00:00:0A"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut host: BareMetalHost =
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
        let mut status = scute_api::metal3::BareMetalHostStatus::default();
        let hardware = status.hardware.insert(Default::default());
        hardware.system_vendor.serial_number = "S1".into();
        host.status = Some(status);
        host
    }

    fn hello(serial: &str, mac: &str) -> Hello {
        let hello =
            json!({"host": "", "token": "", "systemUuid": "", "serial": serial, "macs": [mac], "clock": 0});
        serde_json::from_value(hello).unwrap()
    }

    #[test]
    fn another_interface_or_serial_number_is_another_server() {
        const MAC: &str = "52:54:00:00:00:0a";
        let (clean, inspect) = (ProvisioningState::Preparing, ProvisioningState::Inspecting);
        let who = Who::of(&host(json!({})));
        assert_eq!(who.stranger(&hello("S1", MAC), clean), None);
        assert_eq!(who.stranger(&hello("", MAC), clean), None, "a firmware need not say");
        assert_eq!(who.stranger(&hello("S2", MAC), inspect), None, "it is being found out");
        assert!(who.stranger(&hello("S2", MAC), clean).unwrap().contains("S2"));
        assert!(who.stranger(&hello("S1", "52:54:00:00:00:0b"), inspect).unwrap().contains("0b"));
        let told = Who::of(&host(json!({"inspectionMode": "disabled"})));
        assert_eq!(told.stranger(&hello("S2", MAC), clean), None, "nobody has looked");
    }
}
