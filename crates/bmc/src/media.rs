//! Virtual media: slots, and what inserting and ejecting demand.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::answer::{Message, Refusal};
use crate::path::Owner;
use crate::quirks::{Insert, Slot};
use crate::service::Service;

const KNOWN: [&str; 7] =
    ["Image", "Inserted", "WriteProtected", "TransferProtocolType", "TransferMethod", "UserName", "Password"];

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    pub kind: Slot,
    pub image: Option<String>,
    pub inserted: bool,
    pub write_protected: bool,
    /// Until when an eject runs on.
    pub busy_until: Option<Instant>,
}

impl SlotState {
    /// The slots of a machine that may have an image in its drive already.
    pub fn all(kinds: &[Slot], medium: Option<String>) -> Vec<Self> {
        let empty = |kind: &Slot| Self {
            kind: *kind,
            image: None,
            inserted: false,
            write_protected: true,
            busy_until: None,
        };
        let mut slots: Vec<Self> = kinds.iter().map(empty).collect();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.kind.is_cd()) {
            slot.inserted = medium.is_some();
            slot.image = medium;
        }
        slots
    }
}

impl Slot {
    /// Whether it is the machine's CD drive.
    pub(crate) fn is_cd(self) -> bool {
        matches!(self, Self::Cd | Self::Dvd)
    }

    fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Dvd => &["DVD"],
            Self::UsbStick => &["USBStick"],
            Self::Cd | Self::Kvm400 | Self::Nbd405 | Self::NoAction => &["CD", "DVD"],
        }
    }
}

/// The VirtualMedia resource of a slot.
pub fn document(service: &Service, owner: Owner, index: usize) -> Option<Value> {
    let path = format!("{}/{}", collection(service, owner), index + 1);
    let slot = service.slot(index)?;
    let image = slot.image.as_deref();
    let mut document = json!({
        "@odata.id": path,
        "@odata.type": "#VirtualMedia.v1_6_0.VirtualMedia",
        "Id": (index + 1).to_string(),
        "Name": "Virtual Media",
        "MediaTypes": slot.kind.media_types(),
        "Image": image,
        "ImageName": image.and_then(|image| image.rsplit('/').next()),
        "Inserted": slot.inserted,
        "WriteProtected": slot.write_protected,
        "ConnectedVia": if slot.inserted { "URI" } else { "NotConnected" },
    });
    if slot.kind != Slot::NoAction && service.profile.quirks.insert != Insert::PatchOnly {
        document["Actions"] = json!({
            "#VirtualMedia.InsertMedia": {"target": format!("{path}/Actions/VirtualMedia.InsertMedia")},
            "#VirtualMedia.EjectMedia": {"target": format!("{path}/Actions/VirtualMedia.EjectMedia")},
        });
    }
    Some(document)
}

pub fn collection(service: &Service, owner: Owner) -> String {
    let ids = &service.profile.ids;
    match owner {
        Owner::System => format!("/redfish/v1/Systems/{}/VirtualMedia", ids.system),
        Owner::Manager => format!("/redfish/v1/Managers/{}/VirtualMedia", ids.manager),
    }
}

impl Service {
    /// A slot as it is now.
    pub(crate) fn slot(&self, index: usize) -> Option<SlotState> {
        let mut state = self.state();
        let sticky = self.profile.quirks.eject_sticky;
        let slot = state.slots.get_mut(index)?;
        if slot.busy_until.is_some_and(|until| until <= Instant::now()) {
            slot.busy_until = None;
            slot.emptied(sticky);
        }
        Some(slot.clone())
    }

    /// `VirtualMedia.InsertMedia`.
    pub(crate) async fn insert(&self, index: usize, sent: &Map<String, Value>) -> Result<(), Refusal> {
        let slot = self.slot(index).ok_or_else(|| Refusal::missing("this slot"))?;
        let style = self.profile.quirks.insert;
        match slot.kind {
            Slot::Kvm400 => return Err(Refusal::bad(Message::oem("Oem.1.0.SlotIsForTheConsole"))),
            Slot::Nbd405 => return Err(Refusal::not_allowed("GET, HEAD")),
            Slot::NoAction => return Err(Refusal::missing("this action")),
            Slot::Cd | Slot::Dvd | Slot::UsbStick if style == Insert::PatchOnly => {
                return Err(Refusal::missing("this action"));
            }
            Slot::Cd | Slot::Dvd | Slot::UsbStick => {}
        }
        let image = demanded(style, sent)?;
        self.put(index, &slot, image, sent).await
    }

    /// `VirtualMedia.EjectMedia`.
    pub(crate) async fn eject(&self, index: usize) -> Result<(), Refusal> {
        let slot = self.slot(index).ok_or_else(|| Refusal::missing("this slot"))?;
        if matches!(slot.kind, Slot::Nbd405 | Slot::NoAction) {
            return Err(Refusal::not_allowed("GET, HEAD"));
        }
        if !slot.inserted {
            return Ok(());
        }
        if slot.kind.is_cd() {
            self.machine.eject().await.map_err(|failed| drive_failed(&failed.0))?;
        }
        let quirks = &self.profile.quirks;
        let mut state = self.state();
        let Some(slot) = state.slots.get_mut(index) else { return Ok(()) };
        if quirks.eject_lag.is_zero() {
            slot.emptied(quirks.eject_sticky);
        } else {
            slot.busy_until = Some(Instant::now() + quirks.eject_lag);
        }
        Ok(())
    }

    /// A PATCH of the resource, the way without actions.
    pub(crate) async fn write_slot(&self, index: usize, sent: &Map<String, Value>) -> Result<(), Refusal> {
        let slot = self.slot(index).ok_or_else(|| Refusal::missing("this slot"))?;
        if self.profile.quirks.insert != Insert::PatchOnly
            || !(slot.kind.is_cd() || slot.kind == Slot::UsbStick)
        {
            return Err(Refusal::not_allowed("GET, HEAD"));
        }
        match sent.get("Image") {
            Some(Value::String(image)) => {
                let image = image.clone();
                self.put(index, &slot, &image, sent).await
            }
            Some(Value::Null) => self.eject(index).await,
            _ => Err(Refusal::bad(Message::base("PropertyMissing", &["Image"]).about("/Image"))),
        }
    }

    async fn put(
        &self,
        index: usize,
        slot: &SlotState,
        image: &str,
        sent: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        if slot.busy_until.is_some() {
            let message = Message::base("GeneralError", &[]);
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
        if slot.inserted {
            return Err(Refusal::bad(Message::oem("VirtualMedia.1.0.MediumIsInserted")));
        }
        if slot.kind.is_cd() {
            self.machine.insert(image).await.map_err(|failed| drive_failed(&failed.0))?;
        }
        let mut state = self.state();
        if let Some(slot) = state.slots.get_mut(index) {
            slot.image = Some(image.to_owned());
            slot.inserted = sent.get("Inserted").and_then(Value::as_bool).unwrap_or(true);
            slot.write_protected = sent.get("WriteProtected").and_then(Value::as_bool).unwrap_or(true);
        }
        Ok(())
    }
}

impl SlotState {
    fn emptied(&mut self, sticky: bool) {
        self.inserted = false;
        if !sticky {
            self.image = None;
        }
    }
}

fn drive_failed(why: &str) -> Refusal {
    let message = Message::base("InternalError", &[why]).about("#/Image");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// The image, when everything was sent that is demanded, and nothing that is refused.
fn demanded(style: Insert, sent: &Map<String, Value>) -> Result<&str, Refusal> {
    const ACTION: &str = "VirtualMedia.InsertMedia";
    let missing = |name: &str| {
        let message = Message::base("ActionParameterMissing", &[ACTION, name]);
        Refusal::bad(message.about(&format!("#/{name}")))
    };
    if let Some(name) = sent.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        let message = Message::base("ActionParameterUnknown", &[ACTION, name]);
        return Err(Refusal::bad(message.about(&format!("#/{name}"))));
    }
    let image = sent.get("Image").and_then(Value::as_str).ok_or_else(|| missing("Image"))?;
    let needs: &[&str] = match style {
        Insert::Plain | Insert::PatchOnly | Insert::Minimal => &[],
        Insert::NeedsProtocol { method: false } => &["TransferProtocolType"],
        Insert::NeedsProtocol { method: true } => &["TransferProtocolType", "TransferMethod"],
        Insert::NeedsCredentials => &["UserName", "Password"],
    };
    if let Some(name) = needs.iter().find(|name| !sent.contains_key(**name)) {
        return Err(missing(name));
    }
    let refused = ["Inserted", "WriteProtected"].into_iter().find(|name| sent.contains_key(*name));
    if let Some(name) = refused.filter(|_| style == Insert::Minimal) {
        let message = Message::base("ActionParameterNotSupported", &[name, ACTION]);
        return Err(Refusal::bad(message.about(&format!("#/{name}"))));
    }
    Ok(image)
}
