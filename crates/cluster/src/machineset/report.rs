//! The status of a MachineSet, computed as a whole on every pass.

use jiff::Timestamp;
use scute_api::cluster::{Machine, MachineSetStatus};
use scute_contract::paused;
use scute_contract::selector;
use scute_kit::conditions::{Conditions, Status};

use super::observe::Observed;
use crate::machines::{self, Counted};

/// The status of a set. `blocked` says why Machines that are wanted are not made, `failed` what went wrong.
#[must_use]
pub fn report(seen: &Observed, blocked: &[String], failed: Option<&str>, now: Timestamp) -> MachineSetStatus {
    let set = &seen.set;
    let machines: Vec<&Machine> = seen.machines.iter().map(AsRef::as_ref).collect();
    let counted = Counted::of(&machines);
    let desired = set.spec.replicas.unwrap_or(1);
    let before = set.status.clone().unwrap_or_default();
    let deleting = set.metadata.deletion_timestamp.is_some();
    let conditions = Conditions::new(&before.conditions, set.metadata.generation, now);
    let mut why = blocked.to_vec();
    why.extend(failed.map(str::to_owned));
    let conditions = machines::put_scaling(conditions, counted.replicas, desired, deleting, &why);
    let conditions = machines::put_machines(conditions, &machines);
    let conditions = machines::put_remediating(conditions, &machines);
    let conditions = if deleting {
        let message = format!("Waiting for {} to be deleted", machines::named(&machines));
        conditions.put("Deleting", Status::True, "Deleting", message)
    } else {
        conditions.put("Deleting", Status::False, "NotDeleting", "")
    };
    MachineSetStatus {
        conditions: paused::put(conditions, None).finish(),
        selector: Some(selector::text(&set.spec.selector)),
        replicas: Some(counted.replicas),
        ready_replicas: Some(counted.ready),
        available_replicas: Some(counted.available),
        up_to_date_replicas: Some(counted.up_to_date),
        versions: counted.versions,
        // A pass that failed has not seen to everything in the spec.
        observed_generation: if failed.is_none() {
            set.metadata.generation
        } else {
            before.observed_generation
        },
        deprecated: before.deprecated,
    }
}
