//! What a System is made of.

use serde_json::{Value, json};

use super::{link, ok};
use crate::machine::{Drive, Memory, Nic, Processor};

pub fn nic(system: &str, at: usize, nic: &Nic) -> Value {
    json!({
        "@odata.id": format!("{system}/EthernetInterfaces/{}", at + 1),
        "@odata.type": "#EthernetInterface.v1_9_0.EthernetInterface",
        "Id": (at + 1).to_string(),
        "Name": format!("Port {}", at + 1),
        "MACAddress": nic.mac,
        "PermanentMACAddress": nic.mac,
        "SpeedMbps": nic.speed_mbps,
        "LinkStatus": if nic.link_up { "LinkUp" } else { "LinkDown" },
        "InterfaceEnabled": true,
        "Status": ok(),
    })
}

pub fn processor(system: &str, at: usize, processor: &Processor) -> Value {
    let set = if processor.architecture == "ARM" { "ARM-A64" } else { "x86-64" };
    json!({
        "@odata.id": format!("{system}/Processors/{}", at + 1),
        "@odata.type": "#Processor.v1_18_0.Processor",
        "Id": (at + 1).to_string(),
        "Name": format!("Processor {}", at + 1),
        "Socket": format!("CPU{}", at + 1),
        "ProcessorType": "CPU",
        "ProcessorArchitecture": processor.architecture,
        "InstructionSet": set,
        "Model": processor.model,
        "MaxSpeedMHz": processor.max_mhz,
        "TotalCores": processor.cores,
        "TotalThreads": processor.threads,
        "Status": ok(),
    })
}

pub fn memory(system: &str, at: usize, memory: &Memory) -> Value {
    json!({
        "@odata.id": format!("{system}/Memory/{}", at + 1),
        "@odata.type": "#Memory.v1_17_0.Memory",
        "Id": (at + 1).to_string(),
        "Name": format!("DIMM {}", at + 1),
        "MemoryType": "DRAM",
        "MemoryDeviceType": "DDR5",
        "CapacityMiB": memory.mib,
        "Status": ok(),
    })
}

pub fn storage(system: &str, drives: usize) -> Value {
    let path = format!("{system}/Storage/1");
    let members: Vec<Value> = (1..=drives).map(|at| link(format!("{path}/Drives/{at}"))).collect();
    json!({
        "@odata.id": path,
        "@odata.type": "#Storage.v1_15_0.Storage",
        "Id": "1",
        "Name": "Storage",
        "Drives@odata.count": members.len(),
        "Drives": members,
        "Status": ok(),
    })
}

pub fn drive(system: &str, at: usize, drive: &Drive) -> Value {
    json!({
        "@odata.id": format!("{system}/Storage/1/Drives/{}", at + 1),
        "@odata.type": "#Drive.v1_17_0.Drive",
        "Id": (at + 1).to_string(),
        "Name": format!("Drive {}", at + 1),
        "Model": drive.model,
        "SerialNumber": drive.serial,
        "CapacityBytes": drive.bytes,
        "MediaType": drive.media_type,
        "Protocol": "NVMe",
        "Status": ok(),
    })
}

pub fn bios(system: &str) -> Value {
    json!({
        "@odata.id": format!("{system}/Bios"),
        "@odata.type": "#Bios.v1_2_1.Bios",
        "Id": "Bios",
        "Name": "BIOS Settings",
        "Attributes": {"BootMode": "Uefi", "ProcVirtualization": "Enabled"},
    })
}
