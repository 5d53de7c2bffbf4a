//! The transitions of a host, each once; the drawing in `docs/metal.md` is made of them. No other can be taken.

use scute_api::metal3::ProvisioningState as State;

/// Why a host goes to another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    NoBmc,
    BmcGiven,
    RegisteredExternally,
    RegisteredUninspected,
    Registered,
    Inspected,
    Prepared,
    MadeExternal,
    InspectAgain,
    ImageAsked,
    Written,
    NotWritten,
    ImageGone,
    Deprovisioned,
    NoLongerExternal,
    DeletedUntouched,
    DeletedWithImage,
    DeletedIdle,
    DeprovisionedForGood,
    OffForGood,
}

impl Cause {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoBmc => "there is nothing to reach a BMC with",
            Self::BmcGiven => "there is a BMC",
            Self::RegisteredExternally => "the BMC answers, and the host is externallyProvisioned",
            Self::RegisteredUninspected => "the BMC answers, and inspection is disabled",
            Self::Registered => "the BMC answers",
            Self::Inspected => "the hardware is known",
            Self::Prepared => "the disks are clean",
            Self::MadeExternal => "externallyProvisioned is set",
            Self::InspectAgain => "inspect.metal3.io asks for it",
            Self::ImageAsked => "there is an image, and the host shall be online",
            Self::Written => "the image is on the disk, and the host starts from it",
            Self::NotWritten => "the image could not be written",
            Self::ImageGone => "the image is removed, or has another URL",
            Self::Deprovisioned => "the disks are clean, and the host is off",
            Self::NoLongerExternal => "externallyProvisioned is taken back",
            Self::DeletedUntouched => "deleted, and there is nothing to undo, or the host is detached",
            Self::DeletedWithImage => "deleted",
            Self::DeletedIdle => "deleted",
            Self::DeprovisionedForGood => "deleted; the disks are clean, or cleaning was given up",
            Self::OffForGood => "the host is off, or that was given up",
        }
    }
}

/// One or more states, a cause, and where it leads.
type Transition = (&'static [State], Cause, State);

/// All of them.
const TABLE: &[Transition] = &[
    (&[State::None], Cause::NoBmc, State::Unmanaged),
    (&[State::None, State::Unmanaged], Cause::BmcGiven, State::Registering),
    (&[State::Registering], Cause::RegisteredExternally, State::ExternallyProvisioned),
    (&[State::Registering], Cause::RegisteredUninspected, State::Preparing),
    (&[State::Registering], Cause::Registered, State::Inspecting),
    (&[State::Inspecting], Cause::Inspected, State::Preparing),
    (&[State::Preparing], Cause::Prepared, State::Available),
    (&[State::Available], Cause::MadeExternal, State::ExternallyProvisioned),
    (&[State::Available], Cause::InspectAgain, State::Inspecting),
    (&[State::Available], Cause::ImageAsked, State::Provisioning),
    (&[State::Provisioning], Cause::Written, State::Provisioned),
    (&[State::Provisioning], Cause::NotWritten, State::Deprovisioning),
    (&[State::Provisioning, State::Provisioned], Cause::ImageGone, State::Deprovisioning),
    (&[State::Deprovisioning], Cause::Deprovisioned, State::Available),
    (&[State::ExternallyProvisioned], Cause::NoLongerExternal, State::Provisioned),
    (
        &[
            State::None,
            State::Unmanaged,
            State::Registering,
            State::Inspecting,
            State::Preparing,
            State::Available,
            State::Provisioning,
            State::Provisioned,
            State::ExternallyProvisioned,
            State::Deprovisioning,
        ],
        Cause::DeletedUntouched,
        State::Deleting,
    ),
    (&[State::Provisioning, State::Provisioned], Cause::DeletedWithImage, State::Deprovisioning),
    (
        &[State::Inspecting, State::Preparing, State::Available, State::ExternallyProvisioned],
        Cause::DeletedIdle,
        State::PoweringOffBeforeDelete,
    ),
    (&[State::Deprovisioning], Cause::DeprovisionedForGood, State::PoweringOffBeforeDelete),
    (&[State::PoweringOffBeforeDelete], Cause::OffForGood, State::Deleting),
];

/// Where a cause leads from a state; nothing when it is none of that state's.
pub fn target(from: State, cause: Cause) -> Option<State> {
    TABLE.iter().find(|(states, known, _)| *known == cause && states.contains(&from)).map(|(_, _, to)| *to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state as the API has it.
    fn name(state: State) -> String {
        match serde_json::to_value(state) {
            Ok(serde_json::Value::String(word)) if !word.is_empty() => word,
            _ => "new".to_owned(),
        }
    }

    /// The transitions as the documentation has them.
    fn drawing() -> String {
        let lines = TABLE.iter().map(|(from, cause, to)| {
            let from: Vec<_> = from.iter().copied().map(name).collect();
            format!("{} -> {}\n    {}\n", from.join(", "), name(*to), cause.words())
        });
        lines.collect()
    }

    #[test]
    fn the_documentation_draws_every_transition() {
        let docs = include_str!("../../../../docs/metal.md");
        assert!(docs.contains(&drawing()), "docs/metal.md should have:\n{}", drawing());
    }

    #[test]
    fn every_state_can_be_left_and_reached() {
        let all = [
            State::Unmanaged,
            State::Registering,
            State::Inspecting,
            State::Preparing,
            State::Available,
            State::Provisioning,
            State::Provisioned,
            State::ExternallyProvisioned,
            State::Deprovisioning,
            State::PoweringOffBeforeDelete,
        ];
        for state in all {
            assert!(TABLE.iter().any(|(from, _, _)| from.contains(&state)), "{state:?} is a dead end");
            assert!(TABLE.iter().any(|(_, _, to)| *to == state), "{state:?} is never reached");
        }
    }

    #[test]
    fn a_cause_is_of_some_states_only() {
        assert_eq!(target(State::Inspecting, Cause::Inspected), Some(State::Preparing));
        assert_eq!(target(State::Provisioned, Cause::Inspected), None);
    }
}
