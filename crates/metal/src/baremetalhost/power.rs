//! The power of a host at which nothing else goes on: pure.

use scute_api::metal3::{ErrorType, REBOOT_ANNOTATION, RebootMode};

use super::order::Order;
use super::seen::{Call, Seen};
use super::turn::{Effect, Notes, Step, Turn, until};
use crate::dataimage::Disc;

/// Keeps the power as it is asked for, by `online` and by annotations.
pub fn power(seen: &Seen<'_>, notes: &mut Notes) -> Result<Turn, Turn> {
    let kind = ErrorType::PowerManagement;
    if let Call::Running(order) | Call::Ended(order, _) = &seen.call
        && matches!(order, Order::On { .. } | Order::Off { .. } | Order::Look)
    {
        let done = notes.order(seen, order.clone(), kind);
        if let (Order::On { disc }, Call::Ended(..)) = (order, &seen.call)
            && *disc != Disc::Leave
        {
            let failed = done.is_err().then(|| notes.status.error_message.clone());
            let told = Effect::Disc(disc.clone(), failed);
            return done.map(|_| Turn::again(told.clone())).map_err(|turn| turn.after(told));
        }
        done?;
        // One that is never powered off has been restarted.
        if matches!(order, Order::Off { .. }) && seen.host.annotation(REBOOT_ANNOTATION).is_some() {
            return Ok(Turn::again(Effect::RemoveAnnotation(REBOOT_ANNOTATION)));
        }
    }
    let looked = notes.memory.looked.and_then(|at| at.checked_add(seen.patience.look).ok());
    let Some(left) = looked.and_then(|due| until(seen.now, due)) else {
        return Err(notes.order(seen, Order::Look, kind).map_or_else(|turn| turn, |_| settled(seen)));
    };
    let reboots = seen.host.reboots();
    let held = reboots.keys().any(|name| *name != REBOOT_ANNOTATION);
    let restart = reboots.contains_key(REBOOT_ANNOTATION);
    let on = notes.status.powered_on;
    if restart && !on {
        return Ok(Turn::again(Effect::RemoveAnnotation(REBOOT_ANNOTATION)));
    }
    // One that is never powered off can only be restarted.
    let off =
        if seen.host.spec.disable_power_off { restart } else { restart || held || !seen.host.spec.online };
    if !off && !on {
        notes.order(seen, Order::On { disc: seen.disc.clone() }, kind)?;
    }
    if off && on {
        let hard = reboots.values().any(|reboot| reboot.mode == RebootMode::Hard);
        notes.order(seen, Order::Off { softly: !hard }, kind)?;
    }
    Ok(Turn { effects: Vec::new(), step: Step::Settled(left) })
}

fn settled(seen: &Seen<'_>) -> Turn {
    Turn { effects: Vec::new(), step: Step::Settled(seen.patience.look) }
}
