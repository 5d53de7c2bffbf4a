//! Finding the System that is meant, and what it says of itself.

use serde_json::Value;

use crate::client::Client;
use crate::document::{link, links, text};
use crate::error::Error;
use crate::line::Reply;
use crate::types::{Health, Identity, Power, State};

const SYSTEMS: &str = "/redfish/v1/Systems";

impl Client {
    /// The System as it is now.
    pub async fn read_system(&self) -> Result<Reply, Error> {
        if let Some(path) = self.system.get() {
            return self.line.get(path).await;
        }
        let (path, reply) = match &self.which.path {
            Some(path) => (path.clone(), self.named(path).await?),
            None => self.only().await?,
        };
        // Another request may have found it meanwhile: the same one.
        let _ = self.system.set(path);
        Ok(reply)
    }

    /// Address of the System.
    pub async fn system_path(&self) -> Result<String, Error> {
        if self.system.get().is_none() {
            self.read_system().await?;
        }
        self.system.get().cloned().ok_or_else(|| Error::NoSystem("the BMC shows no System".into()))
    }

    async fn named(&self, path: &str) -> Result<Reply, Error> {
        let reply = self.line.get(path).await.map_err(|error| match error {
            Error::NotSupported(words) => {
                Error::NoSystem(format!("the BMC has no System at {path}: {words}"))
            }
            other => other,
        })?;
        if is_system(&reply.document) {
            return Ok(reply);
        }
        Err(Error::NoSystem(format!("what the BMC has at {path} is no System: it has no PowerState")))
    }

    /// The System that fits; there must be one only.
    async fn only(&self) -> Result<(String, Reply), Error> {
        let collection = {
            let mut talk = self.line.queue.lock().await;
            let root = self.line.root(&mut talk).await.map_err(|asked| self.line.told(asked))?;
            link(&root, "/Systems").unwrap_or_else(|| SYSTEMS.to_owned())
        };
        let members = links(&self.line.get(&collection).await?.document, "/Members");
        let mut fitting = Vec::new();
        for path in &members {
            // Some list members that are none, or that cannot be read: they are not ours.
            match self.line.get(path).await {
                Ok(reply) if is_system(&reply.document) => fitting.push((path.clone(), reply)),
                Ok(_) | Err(Error::NotSupported(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(uuid) = &self.which.uuid {
            fitting.retain(|(_, it)| {
                text(&it.document, "/UUID").is_some_and(|own| own.eq_ignore_ascii_case(uuid))
            });
        }
        if let Some(mac) = self.which.mac.as_ref().filter(|_| fitting.len() > 1) {
            self.keep_with_mac(&mut fitting, mac).await?;
        }
        if fitting.len() > 1 {
            fitting.retain(|(_, it)| text(&it.document, "/SystemType").is_none_or(|kind| kind == "Physical"));
        }
        match fitting.len() {
            1 => fitting.pop().ok_or_else(|| Error::NoSystem("none".into())),
            0 => Err(Error::NoSystem(format!(
                "none of the BMC's {} Systems is the one that is meant",
                members.len()
            ))),
            _ => {
                let paths: Vec<String> = fitting.into_iter().map(|(path, _)| path).collect();
                let paths = paths.join(", ");
                Err(Error::NoSystem(format!(
                    "the BMC has several Systems; the address must name one of: {paths}"
                )))
            }
        }
    }

    async fn keep_with_mac(&self, systems: &mut Vec<(String, Reply)>, mac: &str) -> Result<(), Error> {
        let mut kept = Vec::new();
        for (path, reply) in systems.drain(..) {
            let nics = self.read_nics(&reply.document).await?;
            if nics.iter().any(|nic| nic.mac.eq_ignore_ascii_case(mac)) {
                kept.push((path, reply));
            }
        }
        *systems = kept;
        Ok(())
    }

    pub async fn read_identity(&self) -> Result<Identity, Error> {
        let document = self.read_system().await?.document;
        Ok(Identity {
            path: self.system_path().await?,
            uuid: text(&document, "/UUID").map(|uuid| uuid.to_ascii_lowercase()),
            manufacturer: text(&document, "/Manufacturer"),
            model: text(&document, "/Model"),
            serial: text(&document, "/SerialNumber"),
            sku: text(&document, "/SKU"),
            bios_version: text(&document, "/BiosVersion"),
            state: state(&document),
        })
    }

    pub async fn read_state(&self) -> Result<State, Error> {
        Ok(state(&self.read_system().await?.document))
    }
}

fn is_system(document: &Value) -> bool {
    document.get("PowerState").is_some()
}

/// Power and health as a System shows them.
pub fn state(document: &Value) -> State {
    let power = match text(document, "/PowerState").as_deref() {
        Some("On") => Power::On,
        Some("Off") => Power::Off,
        Some("PoweringOn") => Power::PoweringOn,
        Some("PoweringOff") => Power::PoweringOff,
        _ => Power::Unknown,
    };
    let said = text(document, "/Status/HealthRollup").or_else(|| text(document, "/Status/Health"));
    let health = match said.as_deref() {
        Some("OK") => Health::Ok,
        Some("Warning") => Health::Warning,
        Some("Critical") => Health::Critical,
        _ => Health::Unknown,
    };
    State { power, health }
}
