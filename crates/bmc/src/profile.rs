//! Which vendor's BMC is imitated: names of resources, words of identity, and quirks that come together.

use crate::quirks::{Quirks, UnknownQuirk};

/// A BMC to imitate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// `Vendor` of the service root.
    pub vendor: String,
    /// Manufacturer and model of the System in place of the machine's own.
    pub system: Option<(String, String)>,
    /// `FirmwareVersion` of the Manager.
    pub firmware: String,
    /// Names of the resources.
    pub ids: Ids,
    /// What it does differently.
    pub quirks: Quirks,
}

/// The last part of the addresses of the three resources that each BMC names in its own way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Of the System.
    pub system: String,
    /// Of the Manager.
    pub manager: String,
    /// Of the Chassis.
    pub chassis: String,
}

/// There is no such profile, or one of its knobs is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownProfile {
    /// No such name.
    #[error("profile {0:?} is not one of: {known}", known = Profile::names().collect::<Vec<_>>().join(", "))]
    Name(String),
    /// No such knob.
    #[error(transparent)]
    Quirk(#[from] UnknownQuirk),
}

struct Known {
    name: &'static str,
    vendor: &'static str,
    system: Option<(&'static str, &'static str)>,
    firmware: &'static str,
    ids: [&'static str; 3],
    knobs: &'static [&'static str],
}

const GENERIC: [&str; 3] = ["1", "bmc", "1"];
const DELL: [&str; 3] = ["System.Embedded.1", "iDRAC.Embedded.1", "System.Embedded.1"];

/// Whole machines. Each quirk alone is made by `plain` and a knob.
const KNOWN: [Known; 7] = [
    Known { name: "plain", vendor: "Scute", system: None, firmware: "1.0.0", ids: GENERIC, knobs: &[] },
    Known {
        name: "supermicro-x12",
        vendor: "Supermicro",
        system: Some(("Supermicro", "SYS-620P-TRT")),
        firmware: "01.01.20",
        ids: ["1", "1", "1"],
        knobs: &[
            "boots-only=usbcd",
            "vmedia-minimal",
            "enabled-required",
            "vmedia-on=manager",
            "eject-needs-body",
        ],
    },
    Known {
        name: "supermicro-as1015cs",
        vendor: "Supermicro",
        system: Some(("Supermicro", "AS -1015CS-TNR-EU")),
        firmware: "01.03.15",
        ids: ["1", "1", "1"],
        knobs: &["silent-boot-downgrade", "vmedia-on=manager"],
    },
    Known {
        name: "hpe-ilo5",
        vendor: "HPE",
        system: Some(("HPE", "ProLiant DL360 Gen10")),
        firmware: "iLO 5 v2.78",
        ids: GENERIC,
        knobs: &["vmedia-on=manager", "slots=usb,cd", "eject-needs-body", "post=2s", "no-continuous"],
    },
    Known {
        name: "lenovo-xcc",
        vendor: "Lenovo",
        system: Some(("Lenovo", "ThinkSystem SR630 V2")),
        firmware: "AFBT30P",
        ids: ["1", "1", "1"],
        knobs: &["vmedia-patch-only", "vmedia-on=manager", "ifmatch-required", "slots=kvm400,cd,cd"],
    },
    Known {
        name: "dell-idrac9",
        vendor: "Dell",
        system: Some(("Dell Inc.", "PowerEdge R650")),
        firmware: "7.00.30.00",
        ids: DELL,
        knobs: &["eject-lag=1s", "silent-reset", "sessions=8", "vmedia-on=both"],
    },
    Known {
        name: "dell-idrac9-old",
        vendor: "Dell",
        system: Some(("Dell Inc.", "PowerEdge R640")),
        firmware: "4.40.00.00",
        ids: DELL,
        knobs: &["idrac-old", "vmedia-on=manager", "sessions=8", "eject-lag=1s"],
    },
];

impl Profile {
    /// Names of the profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|known| known.name)
    }

    /// What the specification says, and nothing else.
    #[must_use]
    pub fn plain() -> Self {
        Self::of(&KNOWN[0], Quirks::default())
    }

    /// A profile by its name, and further knobs.
    ///
    /// # Errors
    /// When there is no such name, or no such knob.
    pub fn named(name: &str, knobs: &[&str]) -> Result<Self, UnknownProfile> {
        let known = KNOWN.iter().find(|known| known.name == name);
        let known = known.ok_or_else(|| UnknownProfile::Name(name.to_owned()))?;
        let mut quirks = Quirks::default();
        for knob in known.knobs.iter().chain(knobs) {
            quirks.set(knob)?;
        }
        Ok(Self::of(known, quirks))
    }

    fn of(known: &Known, quirks: Quirks) -> Self {
        let [system, manager, chassis] = known.ids.map(str::to_owned);
        Self {
            name: known.name.to_owned(),
            vendor: known.vendor.to_owned(),
            system: known.system.map(|(manufacturer, model)| (manufacturer.to_owned(), model.to_owned())),
            firmware: known.firmware.to_owned(),
            ids: Ids { system, manager, chassis },
            quirks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_can_be_made() {
        for name in Profile::names() {
            assert_eq!(Profile::named(name, &[]).unwrap().name, name);
        }
        assert_eq!(Profile::named("plain", &[]).unwrap(), Profile::plain());
        let unknown = Profile::named("tandy", &[]).unwrap_err().to_string();
        assert!(unknown.contains("hpe-ilo5"), "{unknown}");
        assert!(Profile::named("plain", &["tape"]).is_err());
    }
}
