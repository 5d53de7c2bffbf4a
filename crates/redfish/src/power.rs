//! Power: changed, and looked at until the change is seen.

use serde_json::{Value, json};

use crate::client::{Client, Wanted};
use crate::document::{text, texts};
use crate::error::Error;
use crate::system::state;
use crate::types::{Power, PowerAction};

/// The names by which an action may be had, the best first.
fn names(action: PowerAction, power: Power) -> &'static [&'static str] {
    match (action, power) {
        (PowerAction::On, _) | (PowerAction::Restart, Power::Off) => &["On", "ForceOn"],
        (PowerAction::GracefulOff, _) => &["GracefulShutdown", "PushPowerButton"],
        (PowerAction::ForceOff, _) => &["ForceOff"],
        (PowerAction::Restart, _) => &["ForceRestart", "PowerCycle", "GracefulRestart"],
    }
}

fn wanted(action: PowerAction) -> Power {
    match action {
        PowerAction::On | PowerAction::Restart => Power::On,
        PowerAction::GracefulOff | PowerAction::ForceOff => Power::Off,
    }
}

impl Client {
    pub async fn change_power(&self, action: PowerAction) -> Result<(), Error> {
        let system = self.read_system().await?.document;
        let power = state(&system).power;
        if power == wanted(action) && action != PowerAction::Restart {
            return Ok(());
        }
        let (target, name) = reset(&system, &self.system_path().await?, names(action, power))?;
        let half = self.line.patience.settle / 2;
        for last in [false, true] {
            match self.line.post(&target, &json!({"ResetType": name})).await {
                Ok(_) => {}
                // Where the first one was taken after all, the second finds it done.
                Err(asked) if last => {
                    let error = self.line.told(asked);
                    return if self.is_power(wanted(action)).await? { Ok(()) } else { Err(error) };
                }
                Err(asked) => return Err(self.line.told(asked)),
            }
            let seen = self.until(half, &Wanted::Power(wanted(action))).await;
            match seen {
                // Some take a Reset and do nothing; the guest that was asked in vain is not asked again.
                Err(Error::NotTaken { .. }) if !last && action != PowerAction::GracefulOff => {}
                other => return other,
            }
        }
        Ok(())
    }

    async fn is_power(&self, wanted: Power) -> Result<bool, Error> {
        Ok(self.read_state().await?.power == wanted)
    }

    /// What is not as wanted yet.
    pub async fn look_at_power(&self, wanted: Power) -> Result<Option<Error>, Error> {
        let found = self.read_state().await?.power;
        let (shown, missed) = (format!("{found:?}"), format!("{wanted:?}"));
        Ok((found != wanted).then_some(Error::NotTaken { field: "PowerState", wanted: missed, found: shown }))
    }
}

/// Where the action is, and by which of these names the BMC has it.
fn reset(system: &Value, path: &str, names: &[&'static str]) -> Result<(String, &'static str), Error> {
    let action = "/Actions/#ComputerSystem.Reset";
    let target = text(system, &format!("{action}/target"));
    let target = target.filter(|target| target.starts_with("/redfish"));
    let target = target.unwrap_or_else(|| format!("{path}/Actions/ComputerSystem.Reset"));
    let Some(known) = texts(system, &format!("{action}/ResetType@Redfish.AllowableValues")) else {
        return names.first().map(|name| (target, *name)).ok_or_else(|| Error::NotSupported("Reset".into()));
    };
    let name = names.iter().find(|name| known.iter().any(|it| it == *name));
    let none =
        || Error::NotSupported(format!("of {} it has none, but {}", names.join(", "), known.join(", ")));
    name.map(|name| (target, *name)).ok_or_else(none)
}
