//! What a System is made of.

use serde_json::{Value, json};

use super::ok;
use crate::machine::{Memory, Nic, Processor};

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
