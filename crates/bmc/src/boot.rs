//! The boot override: what is shown, what a PATCH makes of it, and what the machine is told.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::answer::{Message, Refusal};
use crate::machine::{BootDevice, BootMode, Lasting, Machine, NextBoot, Power};
use crate::quirks::{CdName, Quirks};
use crate::service::Service;

const ENABLED: &str = "BootSourceOverrideEnabled";
const TARGET: &str = "BootSourceOverrideTarget";
const MODE: &str = "BootSourceOverrideMode";

/// The override as the BMC shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    pub target: String,
    pub enabled: String,
    pub mode: String,
}

impl Boot {
    /// What a machine that was there before is told to do.
    pub fn of(machine: &dyn Machine, quirks: &Quirks) -> Self {
        let mode_name = |mode| if mode == BootMode::Uefi { "UEFI" } else { "Legacy" };
        let Some(next) = machine.next_boot() else {
            let mode = mode_name(machine.facts().boot_mode).into();
            return Self { target: "None".into(), enabled: "Disabled".into(), mode };
        };
        let target = match next.device {
            BootDevice::Cd if quirks.boots_only == Some(CdName::UsbCd) => "UsbCd",
            BootDevice::Cd => "Cd",
            BootDevice::Hdd => "Hdd",
            BootDevice::Pxe => "Pxe",
            BootDevice::BiosSetup => "BiosSetup",
        };
        let enabled = if next.lasting == Lasting::Once { "Once" } else { "Continuous" };
        Self { target: target.into(), enabled: enabled.into(), mode: mode_name(next.mode).into() }
    }

    /// What the machine is told.
    fn next(&self, quirks: &Quirks) -> Option<NextBoot> {
        let device = match self.target.as_str() {
            "Cd" if quirks.idrac_old || quirks.boots_only == Some(CdName::UsbCd) => BootDevice::Hdd,
            "UsbCd" if quirks.idrac_old || quirks.boots_only == Some(CdName::Cd) => BootDevice::Hdd,
            "Cd" | "UsbCd" => BootDevice::Cd,
            "Hdd" => BootDevice::Hdd,
            "Pxe" => BootDevice::Pxe,
            "BiosSetup" => BootDevice::BiosSetup,
            _ => return None,
        };
        let lasting = match self.enabled.as_str() {
            "Once" => Lasting::Once,
            "Continuous" => Lasting::Continuous,
            _ => return None,
        };
        let mode = if self.mode == "Legacy" { BootMode::Legacy } else { BootMode::Uefi };
        Some(NextBoot { device, lasting, mode })
    }
}

fn targets(quirks: &Quirks) -> &'static [&'static str] {
    if quirks.boots_only.is_some() {
        &["None", "Pxe", "Cd", "UsbCd", "Hdd", "BiosSetup"]
    } else {
        &["None", "Pxe", "Cd", "Hdd", "BiosSetup"]
    }
}

fn enableds(quirks: &Quirks) -> &'static [&'static str] {
    if quirks.no_continuous { &["Disabled", "Once"] } else { &["Disabled", "Once", "Continuous"] }
}

/// `Boot` of the System or of its settings.
pub fn document(boot: &Boot, quirks: &Quirks) -> Value {
    let mut document = json!({
        ENABLED: boot.enabled,
        TARGET: boot.target,
        format!("{TARGET}@Redfish.AllowableValues"): targets(quirks),
        format!("{ENABLED}@Redfish.AllowableValues"): enableds(quirks),
    });
    if !quirks.no_mode {
        document[MODE] = json!(boot.mode);
        document[format!("{MODE}@Redfish.AllowableValues")] = json!(["UEFI", "Legacy"]);
    }
    document
}

impl Service {
    /// The override of now: one that was for once is off when the machine has used it.
    pub(crate) fn boot(&self) -> Boot {
        let used = self.machine.next_boot().is_none();
        let mut state = self.state();
        if state.boot.enabled == "Once" && used {
            state.boot.enabled = "Disabled".into();
            state.boot.target = "None".into();
        }
        state.boot.clone()
    }

    /// A PATCH of `Boot`.
    pub(crate) async fn write_boot(&self, wanted: &Map<String, Value>) -> Result<(), Refusal> {
        let quirks = &self.profile.quirks;
        if self.in_post() {
            return Err(Refusal::bad(Message::oem("iLO.2.25.UnableToModifyDuringSystemPOST")));
        }
        let next = patched(self.boot(), wanted, quirks)?;
        self.machine.set_next_boot(next.next(quirks)).await.map_err(|failed| {
            let message = Message::base("InternalError", &[&failed.0]);
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        })?;
        self.state().boot = next;
        Ok(())
    }

    /// Whether the firmware is busy with a start that the BMC made.
    pub(crate) fn in_post(&self) -> bool {
        let until = self.state().post_until;
        self.machine.power() == Power::On && until.is_some_and(|until| Instant::now() < until)
    }

    /// What the vendor's own attributes ask for, an old iDRAC's way to boot virtual media.
    pub(crate) async fn write_attributes(&self, wanted: &Map<String, Value>) -> Result<(), Refusal> {
        let next = {
            let mut state = self.state();
            for (name, value) in wanted {
                let value = value.as_str().unwrap_or_default();
                match name.as_str() {
                    "ServerBoot.1.FirstBootDevice" => value.clone_into(&mut state.vendor_boot.first_device),
                    "ServerBoot.1.BootOnce" => state.vendor_boot.once = value == "Enabled",
                    _ => return Err(unknown(name, "/Attributes")),
                }
            }
            let vendor = &state.vendor_boot;
            let lasting = if vendor.once { Lasting::Once } else { Lasting::Continuous };
            let cd = vendor.first_device == "VCD-DVD";
            cd.then_some(NextBoot { device: BootDevice::Cd, lasting, mode: BootMode::Uefi })
        };
        let failed = |failed: crate::MachineError| Refusal::bad(Message::base("InternalError", &[&failed.0]));
        self.machine.set_next_boot(next).await.map_err(failed)
    }
}

fn unknown(name: &str, below: &str) -> Refusal {
    Refusal::bad(Message::base("PropertyUnknown", &[name]).about(&format!("{below}/{name}")))
}

/// What a PATCH makes of the override, with what the profile gets wrong.
fn patched(old: Boot, wanted: &Map<String, Value>, quirks: &Quirks) -> Result<Boot, Refusal> {
    if wanted.is_empty() {
        return Err(Refusal::bad(Message::base("NoOperation", &[])));
    }
    let mut next = old.clone();
    for (name, value) in wanted {
        let (known, field): (&[&str], _) = match name.as_str() {
            TARGET => (targets(quirks), &mut next.target),
            ENABLED => (enableds(quirks), &mut next.enabled),
            MODE if !quirks.no_mode && !quirks.minimal_boot => (&["UEFI", "Legacy"], &mut next.mode),
            MODE if !quirks.no_mode => return Err(not_writable(name)),
            _ => return Err(unknown(name, "/Boot")),
        };
        let Some(text) = value.as_str() else {
            let message = Message::base("PropertyValueTypeError", &[&value.to_string(), name]);
            return Err(Refusal::bad(message.about(&format!("/Boot/{name}"))));
        };
        if !known.contains(&text) {
            let message = Message::base("PropertyValueNotInList", &[text, name]);
            return Err(Refusal::bad(message.about(&format!("/Boot/{name}"))));
        }
        text.clone_into(field);
    }
    got_wrong(old, next, wanted, quirks)
}

fn not_writable(name: &str) -> Refusal {
    Refusal::bad(Message::base("PropertyNotWritable", &[name]).about(&format!("/Boot/{name}")))
}

fn got_wrong(
    old: Boot,
    mut next: Boot,
    wanted: &Map<String, Value>,
    quirks: &Quirks,
) -> Result<Boot, Refusal> {
    let sent = |name: &str| wanted.contains_key(name);
    if quirks.target_required && !sent(TARGET) {
        return Err(Refusal::bad(
            Message::base("PropertyMissing", &[TARGET]).about(&format!("/Boot/{TARGET}")),
        ));
    }
    if quirks.full_boot_required {
        let missing = [TARGET, ENABLED, MODE].into_iter().find(|name| !sent(name));
        if let Some(name) = missing {
            let message = Message::base("PropertyMissing", &[name]).about(&format!("/Boot/{name}"));
            return Err(Refusal::bad(message));
        }
    }
    if quirks.enabled_unchanged_400 && sent(ENABLED) && next.enabled == old.enabled {
        let message = Message::base("PropertyValueNotInList", &[&next.enabled, ENABLED]);
        return Err(Refusal::bad(message.about(&format!("/Boot/{ENABLED}"))));
    }
    if quirks.once_stays && next.enabled == "Once" {
        next.enabled = "Continuous".into();
    }
    if quirks.enabled_required && !sent(ENABLED) {
        return Ok(old);
    }
    if quirks.mode_reset_on_target && sent(TARGET) && next.target != old.target && !sent(MODE) {
        next.mode = "Legacy".into();
    }
    if quirks.silent_boot_downgrade && sent(TARGET) && sent(MODE) {
        next.mode = "Legacy".into();
        next.enabled = "Disabled".into();
    }
    Ok(next)
}
