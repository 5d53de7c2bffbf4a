//! How far the Deployment has come, and the phase and version that follow from it.

use k8s_openapi::api::apps::v1::Deployment;
use scute_api::kamaji::{Phase, VersionStatus};
use scute_kit::Why;
use scute_kit::conditions::{Draft, Status};
use scute_kit::ladder::Stage as _;

use super::progress::Stage;
use super::validate::Wanted;

/// The numbers of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// The Deployment controller has seen the last change.
    pub observed: bool,
    /// Pods wanted.
    pub wanted: i32,
    /// Pods there.
    pub replicas: i32,
    /// Pods of the last template.
    pub updated: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// What is wrong with its Pods, or why it cannot make them.
    pub trouble: Option<Why>,
}

/// Reads the numbers of a Deployment. `pods` is what is wrong with its Pods.
pub fn of(deployment: &Deployment, pods: Option<&Why>) -> Rollout {
    let status = deployment.status.clone().unwrap_or_default();
    let stuck = status.conditions.iter().flatten().find(|condition| {
        (condition.type_ == "ReplicaFailure" && condition.status == "True")
            || (condition.type_ == "Progressing" && condition.status == "False")
    });
    Rollout {
        observed: status.observed_generation >= deployment.metadata.generation,
        wanted: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        replicas: status.replicas.unwrap_or_default(),
        updated: status.updated_replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
        trouble: pods.cloned().or_else(|| {
            stuck.map(|condition| Why::new("Degraded", condition.message.clone().unwrap_or_default()))
        }),
    }
}

impl Rollout {
    /// Whether every Pod is of the last template and ready, and no other is left.
    pub fn is_complete(&self) -> bool {
        self.observed
            && self.replicas == self.wanted
            && self.updated == self.wanted
            && self.ready == self.wanted
    }

    /// The condition about it.
    pub fn said(&self) -> Draft {
        let Self { observed: _, wanted, replicas, updated, ready, trouble } = self;
        let numbers = match replicas == updated {
            true => format!("{ready} of {wanted} Pods ready"),
            false => format!("{ready} of {wanted} Pods ready, {updated} up to date"),
        };
        let available = Status::from(*ready > 0);
        let (status, reason, message) = match (trouble, self.is_complete()) {
            (_, true) => (Status::True, "Available", numbers),
            (Some(why), false) => (available, why.reason.as_ref(), format!("{numbers}: {}", why.message)),
            (None, false) => (available, "RollingOut", numbers),
        };
        Draft::new(Stage::Deployment.condition(), status, reason, message)
    }
}

/// Phase and version. The version advances only when every Pod runs it.
pub fn version(
    before: &VersionStatus,
    wanted: &Wanted,
    rollout: Option<&Rollout>,
    usable: bool,
    ca_changed: bool,
) -> VersionStatus {
    let text = wanted.version.to_string();
    let phase = phase(before, wanted, rollout, usable, ca_changed);
    let complete = rollout.is_some_and(Rollout::is_complete);
    let arrived = complete && matches!(phase, Phase::Ready | Phase::Sleeping);
    VersionStatus { version: if arrived { Some(text) } else { before.version.clone() }, status: phase }
}

fn phase(
    before: &VersionStatus,
    wanted: &Wanted,
    rollout: Option<&Rollout>,
    usable: bool,
    ca_changed: bool,
) -> Phase {
    let Some(rollout) = rollout else {
        // A change that waits for something takes nothing away from what runs.
        return before.status;
    };
    if wanted.replicas == 0 {
        return Phase::Sleeping;
    }
    let young = before.version.is_none() || before.status == Phase::Sleeping;
    let starting = before.status == Phase::Provisioning;
    if rollout.ready == 0 || !usable {
        return if young || starting { Phase::Provisioning } else { Phase::NotReady };
    }
    let rolling = !rollout.is_complete();
    let other_version = before.version.as_ref().is_some_and(|version| *version != wanted.version.to_string());
    match () {
        () if rolling && other_version => Phase::Upgrading,
        () if rolling && (ca_changed || before.status == Phase::CertificateAuthorityRotating) => {
            Phase::CertificateAuthorityRotating
        }
        () if ca_changed => Phase::CertificateAuthorityRotating,
        () => Phase::Ready,
    }
}
