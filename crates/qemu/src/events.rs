//! QMP events to [`Event`]: pure.

use serde_json::Value;

use crate::vmm::{Event, RunState};

/// The event we know by that name, if any. A drive goes by the name of its block node.
pub fn translate(name: &str, data: &Value) -> Option<Event> {
    let flag = |key: &str| data.get(key).and_then(Value::as_bool).unwrap_or(false);
    let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(match name {
        "SHUTDOWN" => Event::Shutdown { guest: flag("guest"), reason: text("reason") },
        "RESET" => Event::Reset { guest: flag("guest") },
        "GUEST_PANICKED" => Event::Panicked,
        "WATCHDOG" => Event::WatchdogExpired,
        "STOP" => Event::Paused,
        "RESUME" => Event::Resumed,
        "BLOCK_IO_ERROR" => Event::DriveFailed {
            drive: text("node-name"),
            reason: text("reason"),
            full: flag("nospace"),
            paused: text("action") == "stop",
        },
        _ => return None,
    })
}

/// The state behind QEMU's word for it.
pub fn run_state(word: &str) -> RunState {
    match word {
        "running" => RunState::Running,
        "paused" | "prelaunch" => RunState::Paused,
        "io-error" => RunState::DriveFailed,
        "shutdown" => RunState::Shutdown,
        other => RunState::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_events_keep_who_and_why() {
        let event = translate("SHUTDOWN", &json!({"guest": true, "reason": "guest-shutdown"}));
        assert_eq!(event, Some(Event::Shutdown { guest: true, reason: "guest-shutdown".into() }));
        let event = translate(
            "BLOCK_IO_ERROR",
            &json!({"node-name": "drive-0", "action": "stop", "nospace": true, "reason": "No space left on device"}),
        );
        let Some(Event::DriveFailed { drive, paused: true, full: true, .. }) = event else {
            panic!("{event:?}")
        };
        assert_eq!(drive, "drive-0");
    }

    #[test]
    fn unknown_events_and_odd_data_are_ignored() {
        assert_eq!(translate("RTC_CHANGE", &json!({"offset": 1})), None);
        assert_eq!(translate("RESET", &Value::Null), Some(Event::Reset { guest: false }));
    }
}
