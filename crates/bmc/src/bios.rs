//! Settings of the firmware: what is in force, and what is to be from the next start on.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::answer::{Message, Refusal};
use crate::machine::BootMode;
use crate::service::Service;

/// The settings that can be changed: name and values, the first of them as the firmware leaves the factory.
const ATTRIBUTES: [(&str, [&str; 2]); 2] =
    [("ProcVirtualization", ["Enabled", "Disabled"]), ("SriovEnable", ["Enabled", "Disabled"])];

/// Settings by name.
type Settings = [&'static str; ATTRIBUTES.len()];

/// What the firmware is set to.
pub struct Bios {
    current: Settings,
    pending: Settings,
}

impl Default for Bios {
    fn default() -> Self {
        let factory = ATTRIBUTES.map(|(_, values)| values[0]);
        Self { current: factory, pending: factory }
    }
}

impl Bios {
    /// The machine starts: what was pending is in force.
    pub fn starts(&mut self) {
        self.current = self.pending;
    }
}

/// The Bios resource.
pub fn document(service: &Service, system: &str) -> Value {
    let path = format!("{system}/Bios");
    let current = service.state().bios.current;
    let mut document = resource(service, &path, "Bios", "BIOS Settings", &current);
    document["@Redfish.Settings"] = json!({
        "@odata.type": "#Settings.v1_3_5.Settings",
        "SettingsObject": {"@odata.id": format!("{path}/Settings")},
        "SupportedApplyTimes": ["OnReset"],
        "Messages": [],
    });
    document
}

/// The Bios resource as it is from the next start on.
pub fn settings(service: &Service, system: &str) -> Value {
    let path = format!("{system}/Bios/Settings");
    let pending = service.state().bios.pending;
    resource(service, &path, "Settings", "Pending BIOS Settings", &pending)
}

fn resource(service: &Service, path: &str, id: &str, name: &str, settings: &Settings) -> Value {
    let mode = if service.machine.facts().boot_mode == BootMode::Uefi { "Uefi" } else { "Bios" };
    let named = ATTRIBUTES.iter().zip(settings).map(|((name, _), value)| ((*name).to_owned(), json!(value)));
    let mut attributes: Map<String, Value> = named.collect();
    attributes.insert("BootMode".into(), json!(mode));
    json!({
        "@odata.id": path,
        "@odata.type": "#Bios.v1_2_1.Bios",
        "Id": id,
        "Name": name,
        "Attributes": attributes,
    })
}

/// Writes pending settings: all that were sent, or none.
pub fn write(service: &Service, sent: &Map<String, Value>) -> Result<(), Refusal> {
    let mut state = service.state();
    let mut pending = state.bios.pending;
    let mut refused = Vec::new();
    for (name, value) in sent {
        match take(&mut pending, name, value) {
            Ok(()) => {}
            Err(message) => refused.push(message.about(&format!("/Attributes/{name}"))),
        }
    }
    if refused.is_empty() {
        state.bios.pending = pending;
        return Ok(());
    }
    Err(Refusal { status: StatusCode::BAD_REQUEST, messages: refused, headers: Vec::new() })
}

fn take(pending: &mut Settings, name: &str, value: &Value) -> Result<(), Message> {
    let Some(at) = ATTRIBUTES.iter().position(|(known, _)| *known == name) else {
        let kind = if name == "BootMode" { "PropertyNotWritable" } else { "PropertyUnknown" };
        return Err(Message::base(kind, &[name]));
    };
    let wanted = ATTRIBUTES[at].1.into_iter().find(|known| value.as_str() == Some(*known));
    pending[at] = wanted.ok_or_else(|| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Message::base("PropertyValueNotInList", &[&value, name])
    })?;
    Ok(())
}
