//! The System, its Manager and its Chassis.

use serde_json::{Value, json};

use super::{collection, link, media_link, ok};
use crate::boot;
use crate::machine::{Facts, Power, Reset};
use crate::path::Owner;
use crate::service::Service;

fn paths(service: &Service) -> (String, String, String) {
    let ids = &service.profile.ids;
    (
        format!("/redfish/v1/Systems/{}", ids.system),
        format!("/redfish/v1/Managers/{}", ids.manager),
        format!("/redfish/v1/Chassis/{}", ids.chassis),
    )
}

pub fn systems(service: &Service) -> Value {
    let mut names = vec![service.profile.ids.system.clone()];
    if service.profile.quirks.decoy_systems {
        names.splice(0..0, ["HGX_Baseboard_0".into(), "DPU1".into()]);
    }
    collection("ComputerSystem", "/redfish/v1/Systems", names)
}

fn power_state(service: &Service) -> &'static str {
    match service.machine.power() {
        Power::On => "On",
        Power::Off => "Off",
    }
}

fn identity<'a>(service: &'a Service, facts: &'a Facts) -> (&'a str, &'a str) {
    let own = (facts.manufacturer.as_str(), facts.model.as_str());
    let imitated = service.profile.system.as_ref();
    imitated.map_or(own, |(manufacturer, model)| (manufacturer.as_str(), model.as_str()))
}

pub fn system(service: &Service, facts: &Facts) -> Value {
    let quirks = &service.profile.quirks;
    let (path, manager, chassis) = paths(service);
    let (manufacturer, model) = identity(service, facts);
    let mut document = json!({
        "@odata.id": path,
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": service.profile.ids.system,
        "Name": facts.name,
        "SystemType": "Physical",
        "UUID": facts.uuid,
        "Manufacturer": manufacturer,
        "Model": model,
        "SerialNumber": facts.serial,
        "SKU": facts.sku,
        "BiosVersion": facts.bios_version,
        "PowerState": power_state(service),
        "Status": ok(),
        "Boot": boot::document(&service.boot(), quirks),
        "ProcessorSummary": {
            "Count": facts.processors.len(),
            "CoreCount": facts.processors.iter().map(|cpu| cpu.cores).sum::<u32>(),
            "LogicalProcessorCount": facts.processors.iter().map(|cpu| cpu.threads).sum::<u32>(),
            "Model": facts.processors.first().map(|cpu| cpu.model.as_str()),
        },
        "MemorySummary": {"TotalSystemMemoryGiB": facts.memory.iter().map(|dimm| dimm.mib).sum::<u64>() / 1024},
        "Processors": link(format!("{path}/Processors")),
        "Memory": link(format!("{path}/Memory")),
        "EthernetInterfaces": link(format!("{path}/EthernetInterfaces")),
        "Storage": link(format!("{path}/Storage")),
        "Bios": link(format!("{path}/Bios")),
        "Links": {"Chassis": [link(chassis)]},
        "Actions": {"#ComputerSystem.Reset": {
            "target": format!("{path}/Actions/ComputerSystem.Reset"),
            "ResetType@Redfish.AllowableValues": Reset::ALL.map(Reset::name),
        }},
    });
    let managers = if quirks.links_managers { "Managers" } else { "ManagedBy" };
    document["Links"][managers] = json!([link(manager)]);
    if let Some(media) = media_link(service, Owner::System) {
        document["VirtualMedia"] = media;
    }
    if quirks.boot_in_settings || quirks.settings_decoy {
        document["@Redfish.Settings"] = json!({
            "@odata.type": "#Settings.v1_3_5.Settings",
            "SettingsObject": link(format!("{path}/Settings")),
        });
    }
    if quirks.boot_in_settings {
        // Shown, and null: the real one is in the settings.
        for value in document["Boot"].as_object_mut().into_iter().flat_map(|boot| boot.values_mut()) {
            *value = Value::Null;
        }
    }
    document
}

/// The settings resource: of the boot override, or of something else.
pub fn settings(service: &Service) -> Value {
    let (path, ..) = paths(service);
    let mut document = json!({
        "@odata.id": format!("{path}/Settings"),
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": "Settings",
        "Name": "Pending Settings",
    });
    if service.profile.quirks.boot_in_settings {
        document["Boot"] = boot::document(&service.boot(), &service.profile.quirks);
    }
    document
}

/// Another machine's System behind the same BMC.
pub fn decoy() -> Value {
    json!({
        "@odata.id": "/redfish/v1/Systems/DPU1",
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": "DPU1",
        "Name": "Network card with a system of its own",
        "SystemType": "DPU",
        "UUID": "00000000-0000-0000-0000-0000000000d1",
        "PowerState": "On",
    })
}

pub fn manager(service: &Service, facts: &Facts) -> Value {
    let (system, path, chassis) = paths(service);
    let mut document = json!({
        "@odata.id": path,
        "@odata.type": "#Manager.v1_19_0.Manager",
        "Id": service.profile.ids.manager,
        "Name": "Manager",
        "ManagerType": "BMC",
        "UUID": service_uuid(facts),
        "FirmwareVersion": service.profile.firmware,
        "PowerState": "On",
        "Status": ok(),
        "Links": {
            "ManagerForServers": [link(system)],
            "ManagerForChassis": [link(chassis)],
        },
    });
    if let Some(media) = media_link(service, Owner::Manager) {
        document["VirtualMedia"] = media;
    }
    document
}

/// An old iDRAC's attributes, as far as they are about booting.
pub fn attributes(service: &Service) -> Value {
    let (_, manager, _) = paths(service);
    let state = service.state();
    json!({
        "@odata.id": format!("{manager}/Attributes"),
        "@odata.type": "#DellAttributes.v1_0_0.DellAttributes",
        "Id": "iDRACAttributes",
        "Name": "OEMAttributeRegistry",
        "Attributes": {
            "ServerBoot.1.FirstBootDevice": state.vendor_boot.first_device,
            "ServerBoot.1.BootOnce": if state.vendor_boot.once { "Enabled" } else { "Disabled" },
        },
    })
}

pub fn chassis(service: &Service, facts: &Facts) -> Value {
    let (system, manager, path) = paths(service);
    let (manufacturer, model) = identity(service, facts);
    json!({
        "@odata.id": path,
        "@odata.type": "#Chassis.v1_25_0.Chassis",
        "Id": service.profile.ids.chassis,
        "Name": "Chassis",
        "ChassisType": "RackMount",
        "Manufacturer": manufacturer,
        "Model": model,
        "SerialNumber": facts.serial,
        "PowerState": power_state(service),
        "Status": ok(),
        "Drives": link(format!("{path}/Drives")),
        "Links": {"ComputerSystems": [link(system)], "ManagedBy": [link(manager)]},
    })
}

/// The UUID of the service: the System's with another first group.
pub fn service_uuid(facts: &Facts) -> String {
    let rest = facts.uuid.split_once('-').map_or("0000-4000-8000-000000000000", |(_, rest)| rest);
    format!("b3c00000-{rest}")
}
