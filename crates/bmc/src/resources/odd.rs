//! What servers send where nobody looks: missing, null, of another type, nonsense.

use serde_json::{Value, json};

use crate::path::Place;

/// Makes a document as odd as it may be without losing what a client needs.
pub fn spoil(document: &mut Value, place: &Place) {
    let Some(fields) = document.as_object_mut() else { return };
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    match place {
        Place::Root => {
            put("Vendor", Value::Null);
            put("ProtocolFeaturesSupported", json!("none"));
        }
        Place::System => {
            put("Name", Value::Null);
            put("SKU", json!(5));
            put("BiosVersion", json!({}));
            put("LastResetTime", json!("0000-00-00T00:00:00+00:00"));
            put("MemorySummary", Value::Null);
            put("ProcessorSummary", json!({"Count": "two"}));
            put("Status", json!("fine"));
        }
        Place::Nic(1) => put("MACAddress", json!("")),
        Place::Nic(_) => put("SpeedMbps", json!("25 Gbps")),
        Place::Processor(_) => put("MaxSpeedMHz", json!(-1)),
        Place::Drive(_) => put("CapacityBytes", json!(960_197_124_096.0)),
        Place::MemoryModule(_) => put("MemoryType", json!(["DRAM"])),
        Place::Firmware(_) => put("ReleaseDate", json!("00:00:00Z")),
        Place::Tasks => put("Members", Value::Null),
        Place::Manager => {
            put("UUID", json!(""));
            put("DateTime", json!("now"));
        }
        Place::Chassis => {
            fields.remove("ChassisType");
            fields.remove("Name");
        }
        _ => {}
    }
}
