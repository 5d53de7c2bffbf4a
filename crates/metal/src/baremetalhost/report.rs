//! What is said of a host: status, conditions and events, computed at the end of every run. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scute_api::metal3::{
    AVAILABLE_FOR_PROVISIONING, BareMetalHost, BareMetalHostStatus, CredentialsStatus, ErrorType, HEALTHY,
    MANAGEABLE, OperationMetric, OperationalStatus, PROGRESSING, PROVISIONED, ProvisioningState as State,
    READY,
};
use scute_kit::conditions::{Conditions, Draft, Status, whole_seconds};
use scute_kit::{EventType, Why};
use scute_redfish::Health;

use super::machine::TRIES;
use super::transitions::{self, Cause};
use super::turn::{Notes, Step};

/// The status as it becomes. A transition that the table does not have stays in its state.
pub fn status(host: &BareMetalHost, notes: &Notes, step: &Step, now: Timestamp) -> BareMetalHostStatus {
    let before = host.status.clone().unwrap_or_default();
    let mut status = notes.status.clone();
    if let Step::To(cause) = step {
        enter(&mut status, notes.state(), *cause, now);
    }
    status.operational_status = operational(&status);
    let why = match step {
        Step::Wait(why, _) => Some(why),
        _ => None,
    };
    let drafts = conditions(&status, notes.memory.health, why);
    status.conditions =
        Conditions::new(&before.conditions, host.metadata.generation, now).put_all(drafts).finish();
    if is_significant(&before, &status) {
        status.last_updated = Some(Time(whole_seconds(now)));
    }
    status
}

/// Goes to the state that a cause leads to.
fn enter(status: &mut BareMetalHostStatus, from: State, cause: Cause, now: Timestamp) {
    let Some(to) = transitions::target(from, cause) else { return };
    status.provisioning.state = to;
    let now = Some(Time(whole_seconds(now)));
    if let Some(ended) = metric(status, from).filter(|metric| metric.end.is_none()) {
        ended.end.clone_from(&now);
    }
    if let Some(begun) = metric(status, to) {
        *begun = OperationMetric { start: now, end: None };
    }
}

fn metric(status: &mut BareMetalHostStatus, state: State) -> Option<&mut OperationMetric> {
    let history = &mut status.operation_history;
    match state {
        State::Registering => Some(&mut history.register),
        State::Inspecting => Some(&mut history.inspect),
        State::Provisioning => Some(&mut history.provision),
        State::Deprovisioning => Some(&mut history.deprovision),
        _ => None,
    }
}

fn operational(status: &BareMetalHostStatus) -> OperationalStatus {
    match status.provisioning.state {
        _ if status.operational_status == OperationalStatus::Detached => OperationalStatus::Detached,
        _ if status.error_type.is_some() => OperationalStatus::Error,
        State::None => OperationalStatus::None,
        State::Unmanaged => OperationalStatus::Discovered,
        _ => OperationalStatus::Ok,
    }
}

/// Whether there is more to tell than how far a work is.
pub fn is_significant(before: &BareMetalHostStatus, after: &BareMetalHostStatus) -> bool {
    let told = |status: &BareMetalHostStatus| BareMetalHostStatus {
        conditions: Vec::new(),
        last_updated: None,
        ..status.clone()
    };
    told(before) != told(after)
}

fn conditions(status: &BareMetalHostStatus, health: Option<Health>, waits: Option<&Why>) -> Vec<Draft> {
    let state = status.provisioning.state;
    let draft = |type_: &str, is: bool, reason: &str, message: &str| Draft::new(type_, is, reason, message);
    let error = status.error_message.as_str();
    let failed = status.error_type.map(|kind| match kind {
        ErrorType::Registration | ErrorType::ProvisionedRegistration => "RegistrationFailed",
        ErrorType::PowerManagement => "PowerFailure",
        _ => "Error",
    });
    let doing = doing(state);
    let detached = status.operational_status == OperationalStatus::Detached;
    let words = waits.map(|why| why.message.as_str()).unwrap_or_default();
    let registered = status.good_credentials != CredentialsStatus::default();
    let unreachable = failed.filter(|reason| *reason != "Error");
    let manageable = match unreachable {
        _ if detached => draft(MANAGEABLE, false, "Detached", words),
        Some(reason) => draft(MANAGEABLE, false, reason, error),
        None if registered => draft(MANAGEABLE, true, "Registered", ""),
        None => draft(MANAGEABLE, false, "Registering", words),
    };
    let tried = status.provisioning_fail_count >= TRIES;
    let available = match (state, failed) {
        (State::Available, _) if detached => draft(AVAILABLE_FOR_PROVISIONING, false, "Detached", words),
        (State::Available, None) => draft(AVAILABLE_FOR_PROVISIONING, true, "Available", ""),
        (State::Available, Some(reason)) if tried => {
            let message =
                format!("{error}; it was tried {TRIES} times: change spec.image to have it tried again");
            draft(AVAILABLE_FOR_PROVISIONING, false, reason, &message)
        }
        (State::Available, Some(reason)) => draft(AVAILABLE_FOR_PROVISIONING, false, reason, error),
        (_, _) => draft(AVAILABLE_FOR_PROVISIONING, false, doing.unwrap_or("NotAvailable"), ""),
    };
    let is_provisioned = matches!(state, State::Provisioned | State::ExternallyProvisioned);
    let provisioned = match doing {
        _ if is_provisioned => draft(PROVISIONED, true, "Provisioned", ""),
        Some(doing) => draft(PROVISIONED, false, doing, ""),
        None => draft(PROVISIONED, false, "NotProvisioned", ""),
    };
    let ready = match failed {
        Some(reason) => draft(READY, false, reason, error),
        None if detached => draft(READY, false, "Detached", words),
        None if is_provisioned => draft(READY, true, "Provisioned", ""),
        None => draft(READY, false, doing.unwrap_or("NotProvisioned"), ""),
    };
    let progressing = match (failed, doing) {
        _ if detached => draft(PROGRESSING, false, "Detached", words),
        (Some(reason), Some(_)) => draft(PROGRESSING, false, reason, error),
        (None, Some(doing)) => draft(PROGRESSING, true, doing, words),
        (_, None) => draft(PROGRESSING, false, "NotProgressing", ""),
    };
    vec![manageable, available, provisioned, ready, progressing, healthy(health)]
}

fn healthy(health: Option<Health>) -> Draft {
    let (status, reason, message) = match health {
        Some(Health::Ok) => (Status::True, "Healthy", ""),
        Some(Health::Warning) => (Status::False, "Warning", "the BMC says that something needs attention"),
        Some(Health::Critical) => {
            (Status::False, "CriticalError", "the BMC says that something needs attention now")
        }
        Some(Health::Unknown) | None => (Status::Unknown, "Unknown", "the BMC has not said"),
    };
    Draft::new(HEALTHY, status, reason, message)
}

/// What goes on in a state, in upstream's words; nothing in one that lasts.
fn doing(state: State) -> Option<&'static str> {
    match state {
        State::None | State::Registering => Some("Registering"),
        State::Inspecting => Some("Inspecting"),
        State::Preparing | State::MatchProfile => Some("Preparing"),
        State::Provisioning => Some("Provisioning"),
        State::Deprovisioning => Some("Deprovisioning"),
        State::PoweringOffBeforeDelete => Some("PoweringOffBeforeDelete"),
        State::Deleting => Some("Deleting"),
        State::Unmanaged
        | State::Available
        | State::Ready
        | State::Provisioned
        | State::ExternallyProvisioned => None,
    }
}

/// What is worth an event: kind, reason, note.
pub type Told = (EventType, &'static str, String);

/// The events of a change of status, by upstream's reasons.
pub fn events(before: &BareMetalHostStatus, after: &BareMetalHostStatus) -> Vec<Told> {
    let mut told = Vec::new();
    let (from, to) = (before.provisioning.state, after.provisioning.state);
    let normal = |reason, note: &str| (EventType::Normal, reason, note.to_owned());
    if from != to {
        told.extend(match from {
            State::Registering if to != State::Deleting => {
                Some(normal("BMCAccessValidated", "the BMC takes the credentials"))
            }
            State::Inspecting if to == State::Preparing => {
                Some(normal("InspectionComplete", "the hardware is known"))
            }
            State::Provisioning if to == State::Provisioned => {
                Some(normal("ProvisioningComplete", "the image is on the disk"))
            }
            State::Deprovisioning => Some(normal("DeprovisioningComplete", "the image is removed")),
            _ => None,
        });
        told.extend(match to {
            State::Unmanaged => Some(normal("Discovered", "there is nothing to reach a BMC with")),
            State::Inspecting => Some(normal("InspectionStarted", "the hardware is looked at")),
            State::Provisioning => {
                let url = after.provisioning.image.as_ref().map_or("", |image| image.url.as_str());
                Some(normal("ProvisioningStarted", &format!("image {url}")))
            }
            State::Deprovisioning => Some(normal("DeprovisioningStarted", "the image is removed")),
            _ => None,
        });
    }
    if before.powered_on != after.powered_on {
        told.push(match after.powered_on {
            true => normal("PowerOn", "the host is on"),
            false => normal("PowerOff", "the host is off"),
        });
    }
    let is_new = after.error_type != before.error_type || after.error_message != before.error_message;
    if let Some(kind) = after.error_type.filter(|_| is_new) {
        told.push((EventType::Warning, error_reason(kind), after.error_message.clone()));
    }
    told
}

fn error_reason(kind: ErrorType) -> &'static str {
    match kind {
        ErrorType::Registration | ErrorType::ProvisionedRegistration => "RegistrationError",
        ErrorType::Inspection => "InspectionError",
        ErrorType::Preparation => "PreparationError",
        ErrorType::Provisioning => "ProvisioningError",
        ErrorType::PowerManagement => "PowerManagementError",
        ErrorType::Detach => "DetachError",
        ErrorType::Servicing => "ServicingError",
    }
}
