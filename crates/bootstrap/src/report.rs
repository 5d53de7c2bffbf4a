//! The status of a KubeadmConfig, computed as a whole on every pass.

use jiff::Timestamp;
use kube::ResourceExt;
use scute_api::bootstrap::{KubeadmConfigInitializationStatus, KubeadmConfigStatus};
use scute_contract::paused;
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Status};

use crate::observe::{Ca, Observed};
use crate::plan::Plan;

/// Whether all key pairs that the host needs are there.
fn has_certificates(seen: &Observed) -> bool {
    matches!(seen.ca, Ca::Known { .. }) && seen.certificates.is_complete()
}

/// The status of a configuration. `failed` says what went wrong.
#[must_use]
pub fn report(seen: &Observed, plan: &Plan, failed: Option<&Why>, now: Timestamp) -> KubeadmConfigStatus {
    let before = seen.config.status.clone().unwrap_or_default();
    let generation = seen.config.metadata.generation;
    if let Plan::Paused(why) = plan {
        let conditions = paused::only_paused(&before.conditions, &seen.config.metadata, now, why);
        return KubeadmConfigStatus { conditions, ..before };
    }
    let conditions = Conditions::new(&before.conditions, generation, now);
    let secret = match plan {
        Plan::Make(_) | Plan::Init { .. } if failed.is_none() => Some(seen.config.name_any()),
        Plan::Restore { secret } => Some(secret.clone()),
        _ => before.data_secret_name.clone(),
    };
    let available = secret.is_some();
    let why = failed.cloned().or_else(|| match plan {
        Plan::Wait(why) | Plan::Refuse(why) => Some(why.clone()),
        _ => None,
    });
    let conditions = paused::put(conditions, None);
    let conditions = match (available, &why) {
        (true, _) => conditions.put("DataSecretAvailable", Status::True, "Available", ""),
        (false, Some(why)) => {
            conditions.put("DataSecretAvailable", Status::False, why.reason.as_ref(), why.message.clone())
        }
        (false, None) => conditions.put("DataSecretAvailable", Status::False, "NotAvailable", ""),
    };
    let conditions = match (has_certificates(seen), available, &why) {
        (true, _, _) | (_, true, _) => conditions.put("CertificatesAvailable", Status::True, "Available", ""),
        (_, false, Some(why)) if why.reason == "WaitingForCertificates" => {
            conditions.put("CertificatesAvailable", Status::False, "NotAvailable", why.message.clone())
        }
        _ => conditions.put("CertificatesAvailable", Status::Unknown, "NotAvailable", "Not looked for yet"),
    };
    let conditions = match (available, &why) {
        // Bootstrap data that exists is what matters; a token that could not be extended is said all the same.
        (true, Some(why)) => conditions.put("Ready", Status::False, why.reason.as_ref(), why.message.clone()),
        (true, None) => conditions.put("Ready", Status::True, "Ready", ""),
        (false, Some(why)) => {
            conditions.put("Ready", Status::False, why.reason.as_ref(), why.message.clone())
        }
        (false, None) => conditions.put("Ready", Status::False, "NotReady", ""),
    };
    KubeadmConfigStatus {
        conditions: conditions.finish(),
        initialization: available
            .then_some(KubeadmConfigInitializationStatus { data_secret_created: Some(true) })
            .or(before.initialization),
        data_secret_name: secret,
        observed_generation: generation,
        deprecated: before.deprecated,
    }
}
