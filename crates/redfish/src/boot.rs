//! The boot override. Vendors take it in different pieces and some only say that they did: a short ladder of ways to
//! write it, each read back, and the one that worked is tried first the next time.

use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::document::{link, text, texts};
use crate::error::Error;
use crate::line::Reply;
use crate::types::{BootDevice, BootMode, BootSet, NextBoot};
use crate::vendor;

const ENABLED: &str = "BootSourceOverrideEnabled";
const TARGET: &str = "BootSourceOverrideTarget";
const MODE: &str = "BootSourceOverrideMode";

/// A way to write an override: the PATCHes, each with the properties that it has.
type Way = &'static [&'static [&'static str]];

/// The ladder.
const WAYS: [Way; 5] = [
    // What is advertised, all together. An override is taken back by Enabled alone, as the specification has it.
    &[&[TARGET, ENABLED, MODE]],
    // No mode: some cannot write it. Some want a target to take an override back, even that of none.
    &[&[TARGET, ENABLED]],
    // The mode first, alone: together with the target some drop it.
    &[&[MODE], &[TARGET, ENABLED]],
    // The mode again, when the target has put it back.
    &[&[TARGET, ENABLED], &[MODE]],
    // The target alone: some refuse a value that is so already.
    &[&[TARGET]],
];

/// What is wanted of each property.
struct Wanted {
    target: String,
    enabled: &'static str,
    /// None where the BMC has no mode, or the override is taken back.
    mode: Option<&'static str>,
}

impl Client {
    pub async fn write_boot(&self, boot: NextBoot) -> Result<BootSet, Error> {
        let system = self.read_system().await?;
        if boot.device == BootDevice::Cd && self.boots_by_attributes(&system.document).await? {
            return self.write_attributes(&system.document).await;
        }
        let (path, home) = self.home(system).await?;
        let names = targets(&home.document, boot.device)?;
        let first = vendor::first_cd_name(&home.document, &names);
        let target = names[(first + usize::from(boot.attempt)) % names.len()].clone();
        let usual = boot.device == BootDevice::Usual;
        let mode = if boot.mode == BootMode::Uefi { "UEFI" } else { "Legacy" };
        let wanted = Wanted {
            target,
            enabled: if usual { "Disabled" } else { "Once" },
            mode: (!usual && text(&home.document, &format!("/Boot/{MODE}")).is_some()).then_some(mode),
        };
        let home = match wanted.not_taken(&home.document) {
            None => home,
            Some(_) => self.climb(&path, home, &wanted).await?,
        };
        let shown = text(&home.document, &format!("/Boot/{ENABLED}"));
        Ok(BootSet {
            target: wanted.target,
            names: names.len(),
            once: shown.as_deref() != Some("Continuous"),
        })
    }

    /// Tries the ways, from the one that worked last; returns what is shown then.
    async fn climb(&self, path: &str, home: Reply, wanted: &Wanted) -> Result<Reply, Error> {
        let first = self.line.learned().boot;
        let order = std::iter::once(first).chain((0..WAYS.len()).filter(|way| *way != first));
        let mut home = home;
        let mut failed = None;
        for way in order {
            let written = self.go(path, &mut home, wanted, way).await;
            let error = match written {
                Ok(()) => match wanted.not_taken(&home.document) {
                    None => {
                        self.line.learned().boot = way;
                        return Ok(home);
                    }
                    Some(error) => error,
                },
                Err(error @ (Error::Rejected { .. } | Error::NotSupported(_))) => error,
                Err(error) => return Err(error),
            };
            // The first failure is that of the way that says most.
            failed.get_or_insert(error);
            home = self.line.get(path).await?;
        }
        Err(failed.unwrap_or_else(|| Error::NotSupported("the boot override".into())))
    }

    /// Goes one way; `home` is what is shown afterwards.
    async fn go(&self, path: &str, home: &mut Reply, wanted: &Wanted, way: usize) -> Result<(), Error> {
        for properties in WAYS[way] {
            let mut boot = Map::new();
            for name in *properties {
                let value = match *name {
                    TARGET if wanted.enabled == "Disabled" && way == 0 => None,
                    TARGET => Some(wanted.target.as_str()),
                    ENABLED => Some(wanted.enabled),
                    _ => wanted.mode,
                };
                if let Some(value) = value {
                    boot.insert((*name).to_owned(), json!(value));
                }
            }
            if boot.is_empty() {
                continue;
            }
            let written = self.line.patch(path, &json!({"Boot": boot}), home.etag.take()).await;
            written.map_err(|asked| self.line.told(asked))?;
            *home = self.line.get(path).await?;
        }
        Ok(())
    }

    /// Where the override is: in the System, or in the settings that it points to. Some point to settings that take none.
    async fn home(&self, system: Reply) -> Result<(String, Reply), Error> {
        let shown = |document: &Value| text(document, &format!("/Boot/{TARGET}")).is_some();
        let path = self.system_path().await?;
        let settings = link(&system.document, "/@Redfish.Settings/SettingsObject");
        if !shown(&system.document)
            && let Some(settings) = settings
        {
            match self.line.get(&settings).await {
                Ok(reply) if shown(&reply.document) => return Ok((settings, reply)),
                Ok(_) | Err(Error::NotSupported(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((path, system))
    }
}

/// The names that the BMC has for a device.
fn targets(document: &Value, device: BootDevice) -> Result<Vec<String>, Error> {
    let names: &[&str] = match device {
        BootDevice::Cd => &["Cd", "UsbCd"],
        BootDevice::Disk => &["Hdd"],
        BootDevice::Usual => return Ok(vec!["None".into()]),
    };
    let Some(known) = texts(document, &format!("/Boot/{TARGET}@Redfish.AllowableValues")) else {
        return Ok(names.iter().take(1).map(|name| (*name).to_owned()).collect());
    };
    let ours: Vec<String> = names
        .iter()
        .filter(|name| known.iter().any(|it| it == *name))
        .map(|name| (*name).to_owned())
        .collect();
    if ours.is_empty() {
        let known = known.join(", ");
        return Err(Error::NotSupported(format!("it boots from {known}, not from {}", names.join(" or "))));
    }
    Ok(ours)
}

impl Wanted {
    /// The property that is not as it should be.
    fn not_taken(&self, document: &Value) -> Option<Error> {
        let found = |name: &str| text(document, &format!("/Boot/{name}"));
        let disabled = self.enabled == "Disabled";
        if disabled && found(TARGET).as_deref() == Some("None") {
            // An override to nothing is none, whatever else is shown.
            return None;
        }
        let properties = [
            (TARGET, (!disabled).then_some(self.target.as_str())),
            (ENABLED, Some(self.enabled)),
            (MODE, self.mode),
        ];
        properties.into_iter().find_map(|(field, wanted)| {
            let (wanted, found) = (wanted?, found(field).unwrap_or_default());
            // A BMC that only knows Continuous keeps the override: it is taken back when the host has booted.
            let enough = field == ENABLED && wanted == "Once" && found == "Continuous";
            (wanted != found && !enough).then(|| Error::NotTaken { field, wanted: wanted.to_owned(), found })
        })
    }
}
