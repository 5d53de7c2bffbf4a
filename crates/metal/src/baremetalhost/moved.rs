//! What a host that is moved, or restored from a backup, brings of its status: nobody moves a status itself.
//!
//! Upstream's annotation `baremetalhost.metal3.io/status` has it. A host that runs an image has the annotation always, so that it
//! is in every move and every copy, and nobody has to write it before: without it the server would be inspected and written
//! again. A host that is paused has it in every state. Others have none: whoever makes a new host out of the YAML of one
//! that is available shall not have the other's hardware in it.

use kube::ResourceExt;
use scute_api::metal3::{
    BareMetalHost, BareMetalHostStatus, CredentialsStatus, OperationalStatus, ProvisioningState,
    STATUS_ANNOTATION, read_status,
};
use scute_kit::{Error, Key, Next, Why};
use serde_json::json;

use super::Context;
use super::next;
use super::turn::Step;

/// Takes the status out of the annotation, where there is none yet.
pub async fn restored(host: &BareMetalHost, context: &Context) -> Result<Option<Next>, Error> {
    let text = host.annotation(STATUS_ANNOTATION).filter(|text| !text.is_empty());
    let (Some(text), true) = (text, is_new(&host.status.clone().unwrap_or_default())) else {
        return Ok(None);
    };
    let mut status = match read_status(text) {
        Ok(status) => status,
        Err(why) => {
            let why = format!("the annotation {STATUS_ANNOTATION} cannot be read: {why}");
            return Ok(Some(Next::OnChange(Why::new("InvalidAnnotation", why))));
        }
    };
    if is_new(&status) {
        return Ok(None);
    }
    // The credentials are another Secret here: the BMC is asked, and nothing else is done to the host.
    status.good_credentials = CredentialsStatus::default();
    status.tried_credentials = CredentialsStatus::default();
    context.hub.patch_status(host, json!(status)).await?;
    Ok(Some(next(Step::Again)))
}

/// Writes the annotation where the host shall have one, and removes it where it has served.
pub async fn keep(
    host: &BareMetalHost,
    status: &BareMetalHostStatus,
    context: &Context,
) -> Result<(), Error> {
    // One without a status has not taken what the annotation says yet.
    if is_new(status) || host.is_moved_away() {
        return Ok(());
    }
    let wanted = kept(host, status);
    if host.annotation(STATUS_ANNOTATION) == wanted.as_deref() {
        return Ok(());
    }
    let patch = json!({"metadata": {"annotations": {STATUS_ANNOTATION: wanted}, "uid": host.uid()}});
    context.hub.patch::<BareMetalHost>(&Key::of(host), &patch).await.map(drop)
}

fn is_new(status: &BareMetalHostStatus) -> bool {
    status.provisioning.state == ProvisioningState::None
}

/// What lasts of a status: neither errors nor credentials, which are found again.
fn kept(host: &BareMetalHost, status: &BareMetalHostStatus) -> Option<String> {
    use ProvisioningState::{ExternallyProvisioned, Provisioned};
    let runs = matches!(status.provisioning.state, Provisioned | ExternallyProvisioned);
    if host.metadata.deletion_timestamp.is_some() || !(runs || host.is_paused()) {
        return None;
    }
    let lasting = BareMetalHostStatus {
        operational_status: OperationalStatus::Ok,
        error_type: None,
        error_message: String::new(),
        error_count: 0,
        last_updated: None,
        good_credentials: CredentialsStatus::default(),
        tried_credentials: CredentialsStatus::default(),
        conditions: Vec::new(),
        ..status.clone()
    };
    serde_json::to_string(&lasting).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn host(metadata: Value, state: &str) -> BareMetalHost {
        let host = json!({"metadata": metadata, "spec": {"online": true}, "status": {
            "operationalStatus": "error", "errorType": "power management error", "errorMessage": "silent", "errorCount": 7,
            "poweredOn": true, "provisioning": {"state": state, "ID": ""}, "hardware": {"hostname": "h"},
            "goodCredentials": {"credentialsVersion": "4"}, "conditions": [{"type": "Ready", "status": "False",
                "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        serde_json::from_value(host).unwrap()
    }

    fn kept_of(host: &BareMetalHost) -> Option<BareMetalHostStatus> {
        kept(host, &host.status.clone().unwrap()).map(|text| read_status(&text).unwrap())
    }

    #[test]
    fn a_host_that_runs_an_image_or_is_paused_has_what_lasts_of_its_status_in_an_annotation() {
        let kept = kept_of(&host(json!({}), "provisioned")).unwrap();
        assert_eq!(
            (kept.error_type, kept.error_count, kept.operational_status),
            (None, 0, OperationalStatus::Ok)
        );
        assert!(kept.conditions.is_empty() && kept.good_credentials == CredentialsStatus::default());
        assert_eq!((kept.hardware.unwrap().hostname.as_str(), kept.powered_on), ("h", true));
        assert_eq!(kept_of(&host(json!({}), "available")), None);
        let paused = json!({"annotations": {"baremetalhost.metal3.io/paused": ""}});
        let kept = kept_of(&host(paused, "available")).unwrap();
        assert_eq!(kept.provisioning.state, ProvisioningState::Available);
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(kept_of(&host(deleted, "provisioned")), None);
    }
}
