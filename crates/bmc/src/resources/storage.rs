//! Disks: one controller without RAID, and the drives in the chassis.

use serde_json::{Value, json};

use super::{collection, link, ok};
use crate::machine::Drive;

/// What all drives are attached to.
pub fn storage(system: &str, chassis: &str, drives: usize) -> Value {
    let path = format!("{system}/Storage/1");
    let members: Vec<Value> = (1..=drives).map(|at| link(format!("{chassis}/Drives/{at}"))).collect();
    json!({
        "@odata.id": path,
        "@odata.type": "#Storage.v1_15_0.Storage",
        "Id": "1",
        "Name": "Storage",
        "Controllers": link(format!("{path}/Controllers")),
        "Volumes": link(format!("{path}/Volumes")),
        "Drives@odata.count": members.len(),
        "Drives": members,
        "Status": ok(),
    })
}

pub fn controller(system: &str) -> Value {
    json!({
        "@odata.id": format!("{system}/Storage/1/Controllers/1"),
        "@odata.type": "#StorageController.v1_7_0.StorageController",
        "Id": "1",
        "Name": "Storage Controller",
        "SupportedDeviceProtocols": ["NVMe"],
        "SupportedRAIDTypes": ["None"],
        "Status": ok(),
    })
}

/// Without RAID there are none, and none can be made.
pub fn volumes(system: &str) -> Value {
    let mut document = collection("Volume", &format!("{system}/Storage/1/Volumes"), Vec::new());
    document["@Redfish.OperationApplyTimeSupport"] = json!({
        "@odata.type": "#Settings.v1_3_5.OperationApplyTimeSupport",
        "SupportedValues": ["Immediate"],
    });
    document
}

pub fn drive(chassis: &str, at: usize, drive: &Drive) -> Value {
    json!({
        "@odata.id": format!("{chassis}/Drives/{}", at + 1),
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
