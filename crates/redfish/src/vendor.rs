//! What cannot be detected: a table by manufacturer. Each line is here because the BMC answers success and does something
//! else, so that asking would not tell.

use serde_json::{Value, json};

use crate::client::Client;
use crate::document::{link, links, text};
use crate::error::Error;
use crate::types::BootSet;

/// Supermicro's boards of these generations boot virtual media as `UsbCd`, and the disk as `Cd`.
const USB_CD: [&str; 2] = ["SUPERMICRO", "SUPER MICRO"];
/// Of Supermicro's, this one is the other way round.
const NOT_USB_CD: &str = "ARS-111GL-NHR";
/// iDRACs older than this boot virtual media by the vendor's attributes only.
const IDRAC_BOOTS_CD: u32 = 6;

/// Which of the names of the CD is taken first.
pub fn first_cd_name(system: &Value, names: &[String]) -> usize {
    let manufacturer = text(system, "/Manufacturer").unwrap_or_default().to_ascii_uppercase();
    let model = text(system, "/Model").unwrap_or_default();
    let usb = USB_CD.iter().any(|name| manufacturer.starts_with(name)) && !model.contains(NOT_USB_CD);
    names.iter().position(|name| usb && name == "UsbCd").unwrap_or(0)
}

impl Client {
    /// Whether this is an iDRAC that takes the override and does not follow it.
    pub async fn boots_by_attributes(&self, system: &Value) -> Result<bool, Error> {
        let dell =
            text(system, "/Manufacturer").is_some_and(|name| name.to_ascii_uppercase().starts_with("DELL"));
        if !dell {
            return Ok(false);
        }
        let known = self.line.learned().old_idrac;
        if let Some(known) = known {
            return Ok(known);
        }
        let Some(manager) = managers(system).into_iter().next() else { return Ok(false) };
        let version = text(&self.line.get(&manager).await?.document, "/FirmwareVersion");
        let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        let old = major.is_some_and(|major| major < IDRAC_BOOTS_CD);
        self.line.learned().old_idrac = Some(old);
        Ok(old)
    }

    /// Boots virtual media once, by the attributes of an iDRAC.
    pub async fn write_attributes(&self, system: &Value) -> Result<BootSet, Error> {
        const DEVICE: &str = "ServerBoot.1.FirstBootDevice";
        const CD: &str = "VCD-DVD";
        let none = || Error::NotSupported("it shows no Manager to be asked for virtual media".into());
        let manager = managers(system).into_iter().next().ok_or_else(none)?;
        let path = format!("{manager}/Attributes");
        let before = self.line.get(&path).await?;
        let body = json!({"Attributes": {"ServerBoot.1.BootOnce": "Enabled", DEVICE: CD}});
        self.line.patch(&path, &body, before.etag).await.map_err(|asked| self.line.told(asked))?;
        let found = text(&self.line.get(&path).await?.document, &format!("/Attributes/{DEVICE}"));
        match found.unwrap_or_default() {
            found if found == CD => Ok(BootSet { target: CD.into(), names: 1, once: true }),
            found => Err(Error::NotTaken { field: DEVICE, wanted: CD.into(), found }),
        }
    }
}

/// The Managers of a System, by whichever name it links to them.
pub fn managers(system: &Value) -> Vec<String> {
    let mut all = links(system, "/Links/ManagedBy");
    all.extend(links(system, "/Links/Managers"));
    all.extend(link(system, "/Links/Manager"));
    all
}
