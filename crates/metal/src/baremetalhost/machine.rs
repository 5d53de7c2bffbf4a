//! What a host does next: pure. Each state has its function; the transitions stand in [`super::transitions`].

use scute_agent::protocol::Said;
use scute_api::metal3::{
    AutomatedCleaningMode, BootMode, DeleteAction, ErrorType, HARDWARE_DETAILS_ANNOTATION,
    INSPECT_ANNOTATION, INSPECT_DISABLED, Image, InspectionMode, OperationalStatus,
    ProvisioningState as State, read_hardware_details,
};

use super::agent::{Obstacle, is_done, odd, work};
use super::hardware;
use super::order::Order;
use super::power::power;
use super::seen::{Agent, Call, Credentials, Job, Material, Seen};
use super::transitions::Cause;
use super::turn::{Effect, Notes, Step, Turn, registration_error, until};
use scute_redfish as bmc;

/// How often an image is tried before somebody has to change something. As upstream.
pub const TRIES: i64 = 5;

type Decided = Result<Turn, Turn>;

/// Decides. An error is a turn, too: one that was met on the way to another.
pub fn decide(seen: &Seen<'_>, notes: &mut Notes) -> Turn {
    decided(seen, notes).unwrap_or_else(|turn| turn)
}

fn decided(seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    let state = notes.state();
    if seen.back {
        notes.memory.early = true;
        notes.memory.due = None;
    }
    // Whether it is detached is said anew each time.
    notes.status.operational_status = OperationalStatus::None;
    if seen.is_deleted() {
        deletion_begins(seen, notes)?;
    } else if let Some(turn) = left_alone(seen, notes) {
        return Ok(turn);
    } else if let Some(turn) = hardware_is_told(seen, notes) {
        return Ok(turn);
    }
    match state {
        State::None => Ok(Turn::to(match seen.host.has_bmc_details() {
            true => Cause::BmcGiven,
            false => Cause::NoBmc,
        })),
        State::Unmanaged if seen.host.has_bmc_details() => Ok(Turn::to(Cause::BmcGiven)),
        State::Unmanaged => Ok(Turn::wait("Discovered", "spec.bmc says nothing: the host cannot be managed")),
        State::Deleting => Ok(Turn { effects: vec![Effect::Release], step: Step::Gone }),
        _ => {
            registration(seen, notes)?;
            with_bmc(state, seen, notes)
        }
    }
}

fn with_bmc(state: State, seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    match state {
        State::Registering => Ok(Turn::to(match seen.host.inspection() {
            _ if seen.host.spec.externally_provisioned => Cause::RegisteredExternally,
            InspectionMode::Disabled => Cause::RegisteredUninspected,
            InspectionMode::Agent | InspectionMode::Fast => Cause::Registered,
        })),
        State::Inspecting => inspecting(seen, notes),
        State::Preparing => preparing(seen, notes),
        State::Available | State::Ready => available(seen, notes),
        State::Provisioning => provisioning(seen, notes),
        State::Provisioned => provisioned(seen, notes),
        State::ExternallyProvisioned => externally_provisioned(seen, notes),
        State::Deprovisioning => deprovisioning(seen, notes),
        State::PoweringOffBeforeDelete => powering_off(seen, notes),
        State::None | State::Unmanaged | State::Deleting | State::MatchProfile => {
            Ok(Turn::wait("Unmanaged", "there is nothing to do"))
        }
    }
}

/// The way of a deletion out of the states that have none of their own.
fn deletion_begins(seen: &Seen<'_>, notes: &Notes) -> Result<(), Turn> {
    let state = notes.state();
    let cause = match state {
        State::PoweringOffBeforeDelete | State::Deleting => return Ok(()),
        _ if seen.host.detached().is_some_and(|detached| detached.delete_action == DeleteAction::Delay) => {
            let words =
                "the host is detached with deleteAction: delay; it is deleted when the annotation is removed";
            return Err(Turn::wait("Detached", words));
        }
        _ if seen.host.detached().is_some() => Cause::DeletedUntouched,
        State::None | State::Unmanaged | State::Registering => Cause::DeletedUntouched,
        State::Deprovisioning => return Ok(()),
        State::Provisioning | State::Provisioned => Cause::DeletedWithImage,
        _ => Cause::DeletedIdle,
    };
    Err(Turn::to(cause))
}

/// A detached host is left alone where nothing goes on, or anywhere by force.
fn left_alone(seen: &Seen<'_>, notes: &mut Notes) -> Option<Turn> {
    let detached = seen.host.detached()?;
    let quiet = matches!(notes.state(), State::Available | State::Provisioned | State::ExternallyProvisioned);
    if !quiet && !detached.force {
        return None;
    }
    notes.status.operational_status = OperationalStatus::Detached;
    // Who comes back is asked who it is.
    notes.status.good_credentials = Default::default();
    notes.memory = Default::default();
    let turn =
        Turn::wait("Detached", "the annotation baremetalhost.metal3.io/detached asks to leave it alone");
    Some(if seen.agent == Agent::Away { turn } else { turn.after(Effect::Dismiss) })
}

/// What the host is made of, from an annotation instead of an inspection.
fn hardware_is_told(seen: &Seen<'_>, notes: &mut Notes) -> Option<Turn> {
    let text = seen.host.annotation(HARDWARE_DETAILS_ANNOTATION)?;
    if seen.host.inspection() != InspectionMode::Disabled {
        return None;
    }
    Some(match read_hardware_details(text) {
        Ok(details) => {
            notes.clear(&[ErrorType::Inspection]);
            notes.status.hardware = Some(details.clone());
            let turn = Turn::again(Effect::RemoveAnnotation(HARDWARE_DETAILS_ANNOTATION));
            turn.after(Effect::KeepHardware(Box::new(details)))
        }
        Err(why) => {
            let why = format!("the annotation {HARDWARE_DETAILS_ANNOTATION} cannot be read: {why}");
            notes.stuck(ErrorType::Inspection, why)
        }
    })
}

/// Whether the BMC has taken the credentials that are given now.
fn registration(seen: &Seen<'_>, notes: &mut Notes) -> Result<(), Turn> {
    let kind = registration_error(notes.state());
    let version = match seen.credentials {
        Credentials::Wrong(why) if seen.is_deleted() => {
            let gone = format!("the BMC is not told that the host is deleted: {why}");
            return Err(given_up(notes.state()).after(Effect::Warn("PowerOffSkipped", gone)));
        }
        // Another host that is in the way may go without a word.
        Credentials::Wrong(why) => {
            return Err(notes.stuck(kind, why.as_str()).for_at_most(seen.patience.look));
        }
        Credentials::At(version) => version,
    };
    if notes.status.good_credentials.credentials_version == *version {
        return Ok(());
    }
    if notes.status.tried_credentials.credentials_version != *version {
        // Whatever failed, it failed with others.
        notes.memory.due = None;
        notes.status.tried_credentials = seen.credentials_status(version);
    }
    notes.bmc(seen, Order::Register, kind)?;
    notes.status.good_credentials = seen.credentials_status(version);
    Ok(())
}

/// Out of the states of a deletion, when the BMC is not asked any more.
fn given_up(state: State) -> Turn {
    Turn::to(match state {
        State::PoweringOffBeforeDelete => Cause::OffForGood,
        _ => Cause::DeletedUntouched,
    })
}

impl Notes {
    /// As [`Notes::order`]. A host that is being deleted does not wait for a dead BMC for long.
    pub fn bmc(&mut self, seen: &Seen<'_>, order: Order, kind: ErrorType) -> Result<bmc::State, Turn> {
        let done = self.order(seen, order, kind);
        let failed = matches!(&seen.call, Call::Ended(_, Err(_))) && done.is_err();
        let since = self.memory.failing_since.filter(|_| failed && seen.is_deleted());
        if let Some(since) = since
            && until(seen.now, since.checked_add(seen.patience.deletion).unwrap_or(since)).is_none()
        {
            let words = format!("the host is deleted without its BMC: {}", self.status.error_message);
            return Err(given_up(self.state()).after(Effect::Warn("PowerOffSkipped", words)));
        }
        done
    }
}

/// As the port to the BMC has it.
pub fn firmware(mode: BootMode) -> bmc::BootMode {
    match mode {
        BootMode::Uefi | BootMode::UefiSecureBoot => bmc::BootMode::Uefi,
        BootMode::Legacy => bmc::BootMode::Legacy,
    }
}

fn inspecting(seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    let kind = ErrorType::Inspection;
    match seen.host.inspection() {
        InspectionMode::Agent => {}
        InspectionMode::Disabled => return Ok(Turn::to(Cause::Inspected)),
        InspectionMode::Fast => {
            let why = "spec.inspectionMode fast is not served yet: use agent or disabled";
            return Ok(notes.stuck(kind, why));
        }
    }
    let session = notes.agent(seen, &[State::Inspecting]);
    match session.and_then(|session| work(seen, session, Job::Inspect)) {
        Ok(Said::Inspected { inventory }) => {
            let details = hardware::details(inventory, seen.host.spec.boot_mac_address.as_deref());
            notes.clear(&[kind]);
            notes.status.hardware = Some(details.clone());
            Ok(Turn::to(Cause::Inspected).after(Effect::KeepHardware(Box::new(details))))
        }
        Ok(other) => Err(notes.lost(seen, kind, odd(other))),
        Err(obstacle) => Err(notes.lost(seen, kind, obstacle)),
    }
}

fn preparing(seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    let kind = ErrorType::Preparation;
    let untouched = seen.agent == Agent::Away && !cleans(seen);
    if !untouched {
        cleaned(seen, notes, &[State::Inspecting, State::Preparing])
            .map_err(|obstacle| notes.lost(seen, kind, obstacle))?;
    }
    notes.clear(&[kind, ErrorType::Inspection]);
    Ok(dismissed(seen, Turn::to(Cause::Prepared)))
}

fn cleans(seen: &Seen<'_>) -> bool {
    seen.host.spec.automated_cleaning_mode == AutomatedCleaningMode::Metadata
}

/// Clean disks, as far as that is asked for, and a host that is off, without a medium.
fn cleaned(seen: &Seen<'_>, notes: &mut Notes, purposes: &[State]) -> Result<(), Obstacle> {
    if cleans(seen) && !is_done(seen, purposes) {
        let session = notes.agent(seen, purposes)?;
        return Err(match work(seen, session, Job::Clean)? {
            Said::Cleaned { .. } => Turn::again(Effect::Done).into(),
            other => odd(other),
        });
    }
    notes.bmc(seen, Order::Retire, ErrorType::PowerManagement)?;
    Ok(())
}

fn available(seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    if seen.agent != Agent::Away {
        return Ok(Turn::again(Effect::Dismiss));
    }
    let (host, spec) = (seen.host, &seen.host.spec);
    if spec.externally_provisioned {
        return Ok(Turn::to(Cause::MadeExternal));
    }
    if host.annotation(INSPECT_ANNOTATION).is_some_and(|value| value != INSPECT_DISABLED) {
        return Ok(Turn::to(Cause::InspectAgain).after(Effect::RemoveAnnotation(INSPECT_ANNOTATION)));
    }
    let provisioning = &notes.status.provisioning;
    let other_image = notes.status.last_attempted_image != spec.image;
    let other_disk = provisioning.root_device_hints != host.root_device_hints();
    if notes.status.last_attempted_image.is_some() && (other_image || other_disk) {
        notes.status.last_attempted_image = None;
        notes.status.provisioning_fail_count = 0;
        notes.clear(&[ErrorType::Provisioning]);
    }
    let asked = spec.online && (spec.image.is_some() || spec.custom_deploy.is_some());
    if !asked || notes.status.provisioning_fail_count >= TRIES {
        return power(seen, notes);
    }
    match notes.rest_between_tries(seen) {
        None => Ok(Turn::to(Cause::ImageAsked)),
        Some(left) => {
            let words = format!("the image is tried again: {}", notes.status.error_message);
            Ok(Turn::wait("Error", words).for_at_most(left))
        }
    }
}

/// What `Cause::ImageAsked` writes down: from now on something of the image may be on the disk.
pub fn begin_provisioning(seen: &Seen<'_>, notes: &mut Notes) {
    let provisioning = &mut notes.status.provisioning;
    provisioning.image.clone_from(&seen.host.spec.image);
    provisioning.custom_deploy.clone_from(&seen.host.spec.custom_deploy);
    provisioning.boot_mode = Some(seen.host.boot_mode());
    provisioning.root_device_hints = seen.host.root_device_hints();
    notes.clear(&[ErrorType::Provisioning]);
}

/// Whether what is on the disk is no longer what is asked for. Another checksum or format of the same URL is no change, as
/// upstream has it.
fn image_is_gone(seen: &Seen<'_>, notes: &Notes) -> bool {
    let url = |image: Option<&Image>| image.map(|image| image.url.clone()).unwrap_or_default();
    let provisioning = &notes.status.provisioning;
    let method = provisioning.custom_deploy != seen.host.spec.custom_deploy;
    method || url(provisioning.deployed_image()) != url(seen.host.spec.image.as_ref())
}

fn provisioning(seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    let kind = ErrorType::Provisioning;
    if image_is_gone(seen, notes) {
        return Ok(dismissed(seen, Turn::to(Cause::ImageGone)));
    }
    let Some(image) = notes.status.provisioning.deployed_image().cloned() else {
        let method = seen.host.spec.custom_deploy.as_ref().map(|custom| custom.method.clone());
        let why = format!("spec.customDeploy.method {:?} is not known", method.unwrap_or_default());
        return Ok(not_written(seen, notes, why));
    };
    let mode = firmware(seen.host.boot_mode());
    if image.is_live_iso() {
        let order = Order::StartMedium { url: image.url, mode, attempt: 0 };
        notes.bmc(seen, order, ErrorType::PowerManagement)?;
        return Ok(written(seen, notes));
    }
    let purposes = [State::Provisioning];
    if is_done(seen, &purposes) {
        notes.bmc(seen, Order::StartDisk { mode }, ErrorType::PowerManagement)?;
        return Ok(written(seen, notes));
    }
    // The words that users of upstream look for.
    let begins = format!("Image provisioning failed (url: {}", image.url);
    let failed = |why: &str| match why.starts_with(&begins) {
        true => why.to_owned(),
        false => format!("{begins}, checksum: {}): {why}", image.checksum.as_deref().unwrap_or_default()),
    };
    match &seen.material {
        Material::Ready => notes.clear(&[kind]),
        Material::Fetching => return Ok(Turn::wait("Working", "the image's checksum is being fetched")),
        Material::Missing(why) => return Ok(notes.stuck(kind, why.as_str())),
        Material::Wrong(why) => return Ok(not_written(seen, notes, failed(why))),
    }
    let session = notes.agent(seen, &purposes);
    match session.and_then(|session| work(seen, session, Job::Write)) {
        Ok(Said::Written { .. }) => Ok(Turn::again(Effect::Done)),
        Ok(other) => Ok(match odd(other) {
            Obstacle::Lost(why) => not_written(seen, notes, failed(&why)),
            Obstacle::Turn(turn) => turn,
        }),
        Err(Obstacle::Lost(why)) => Ok(not_written(seen, notes, failed(&why))),
        Err(Obstacle::Turn(turn)) => Err(turn),
    }
}

/// Cleaning begins at once; the rest comes before the next try.
fn not_written(seen: &Seen<'_>, notes: &mut Notes, why: String) -> Turn {
    notes.status.provisioning_fail_count += 1;
    notes.status.last_attempted_image.clone_from(&notes.status.provisioning.image);
    notes.error(ErrorType::Provisioning, why);
    dismissed(seen, Turn::to(Cause::NotWritten))
}

fn written(seen: &Seen<'_>, notes: &mut Notes) -> Turn {
    notes.status.provisioning_fail_count = 0;
    notes.status.last_attempted_image = None;
    notes.clear(&[ErrorType::Provisioning]);
    dismissed(seen, Turn::to(Cause::Written))
}

fn dismissed(seen: &Seen<'_>, turn: Turn) -> Turn {
    if seen.agent == Agent::Away { turn } else { turn.after(Effect::Dismiss) }
}

fn provisioned(seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    if image_is_gone(seen, notes) {
        return Ok(Turn::to(Cause::ImageGone));
    }
    power(seen, notes)
}

fn externally_provisioned(seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    if seen.host.spec.externally_provisioned {
        return power(seen, notes);
    }
    // What is asked for is taken for what is there: an equal image stays, and none is deprovisioned next.
    notes.status.provisioning.image.clone_from(&seen.host.spec.image);
    notes.status.provisioning.custom_deploy.clone_from(&seen.host.spec.custom_deploy);
    Ok(Turn::to(Cause::NoLongerExternal))
}

fn deprovisioning(seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    let kind = ErrorType::Preparation;
    match cleaned(seen, notes, &[State::Deprovisioning]) {
        Ok(()) => {}
        Err(Obstacle::Lost(why)) if seen.is_deleted() => {
            let words = format!("the host is deleted with what is on its disks: {why}");
            let turn = dismissed(seen, Turn::to(Cause::DeprovisionedForGood));
            return Ok(turn.after(Effect::Warn("CleaningSkipped", words)));
        }
        Err(obstacle) => return Err(notes.lost(seen, kind, obstacle)),
    }
    notes.clear(&[kind]);
    notes.status.provisioning.image = None;
    notes.status.provisioning.custom_deploy = None;
    let cause = if seen.is_deleted() { Cause::DeprovisionedForGood } else { Cause::Deprovisioned };
    Ok(dismissed(seen, Turn::to(cause)))
}

fn powering_off(seen: &Seen<'_>, notes: &mut Notes) -> Decided {
    if !seen.host.spec.disable_power_off {
        notes.bmc(seen, Order::Retire, ErrorType::PowerManagement)?;
    }
    Ok(Turn::to(Cause::OffForGood))
}
