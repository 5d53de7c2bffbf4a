//! What the webhook says of the kinds beside a BareMetalHost. What nobody carries out is refused. Pure.

use super::super::url::check_url;
use super::super::{
    BMCEventSubscription, DataImage, HostFirmwareComponents, HostFirmwareSettings, HostUpdatePolicy,
    PreprovisioningImage, UpdatePolicy,
};
use crate::invalid::Invalid;

/// Everything that is wrong with a data disc.
#[must_use]
pub fn validate_data_image(image: &DataImage) -> Vec<Invalid> {
    let url = &image.spec.url;
    check_url(url).map(|wrong| Invalid::new("spec.url", url, wrong)).into_iter().collect()
}

/// Everything that is wrong with settings of a firmware.
#[must_use]
pub fn validate_firmware_settings(settings: &HostFirmwareSettings) -> Vec<Invalid> {
    let detail = "firmware settings are not changed yet: set it at the BMC";
    let wrong = |name: &String| Invalid::new(format!("spec.settings[{name}]"), "", detail);
    settings.spec.settings.keys().map(wrong).collect()
}

/// Everything that is wrong with updates of a firmware.
#[must_use]
pub fn validate_firmware_components(components: &HostFirmwareComponents) -> Vec<Invalid> {
    let detail = "firmware is not updated yet: update it at the BMC";
    let updates = components.spec.updates.iter().enumerate();
    updates
        .map(|(index, update)| Invalid::new(format!("spec.updates[{index}]"), &update.component, detail))
        .collect()
}

/// Everything that is wrong with a policy for updates.
#[must_use]
pub fn validate_update_policy(policy: &HostUpdatePolicy) -> Vec<Invalid> {
    let detail = "firmware of a running host is not changed yet: onPreparing is right";
    let fields = [
        ("firmwareSettings", policy.spec.firmware_settings),
        ("firmwareUpdates", policy.spec.firmware_updates),
    ];
    let later = fields.into_iter().filter(|(_, when)| *when == Some(UpdatePolicy::OnReboot));
    later.map(|(field, _)| Invalid::new(format!("spec.{field}"), "onReboot", detail)).collect()
}

/// A PreprovisioningImage is wrong.
#[must_use]
pub fn validate_preprovisioning_image(_: &PreprovisioningImage) -> Vec<Invalid> {
    vec![Invalid::new("spec", "", "is read by nobody: Scute makes the image of the ramdisk itself")]
}

/// Everything that is wrong with a subscription.
#[must_use]
pub fn validate_subscription(subscription: &BMCEventSubscription) -> Vec<Invalid> {
    let mut bad = vec![Invalid::new("spec", "", "subscriptions at a BMC are not made yet")];
    let spec = &subscription.spec;
    if spec.host_name.as_deref().unwrap_or_default().is_empty() {
        bad.push(Invalid::new("spec.hostName", "", "is needed"));
    }
    let destination = spec.destination.as_deref().unwrap_or_default();
    let path = destination.split_once("://").and_then(|(_, rest)| rest.find('/'));
    if let Some(wrong) = check_url(destination) {
        bad.push(Invalid::new("spec.destination", destination, wrong));
    } else if path.is_none() {
        bad.push(Invalid::new("spec.destination", destination, "needs a path, if only a slash at its end"));
    }
    let headers = spec.http_headers_ref.as_ref().and_then(|headers| headers.namespace.as_deref());
    if headers.is_some_and(|namespace| Some(namespace) != subscription.metadata.namespace.as_deref()) {
        let detail = "must be the namespace of the subscription";
        bad.push(Invalid::new("spec.httpHeadersRef.namespace", headers.unwrap_or_default(), detail));
    }
    bad
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn object<K: DeserializeOwned>(spec: &Value) -> K {
        serde_json::from_value(json!({"metadata": {"name": "n", "namespace": "metal"}, "spec": spec}))
            .unwrap()
    }

    fn paths(bad: &[Invalid]) -> Vec<&str> {
        bad.iter().map(|bad| bad.path.as_str()).collect()
    }

    #[test]
    fn what_nobody_carries_out_is_refused_and_what_asks_for_nothing_is_not() {
        let settings = validate_firmware_settings(&object(&json!({"settings": {"A": 1, "B": "x"}})));
        assert_eq!(paths(&settings), ["spec.settings[A]", "spec.settings[B]"]);
        assert_eq!(validate_firmware_settings(&object(&json!({"settings": {}}))), []);
        let update = json!({"updates": [{"component": "bios", "url": "http://a/b"}]});
        assert_eq!(paths(&validate_firmware_components(&object(&update))), ["spec.updates[0]"]);
        assert_eq!(validate_firmware_components(&object(&json!({"updates": []}))), []);
        let policy = json!({"firmwareSettings": "onPreparing", "firmwareUpdates": "onReboot"});
        assert_eq!(paths(&validate_update_policy(&object(&policy))), ["spec.firmwareUpdates"]);
        assert_eq!(paths(&validate_preprovisioning_image(&object(&json!({})))), ["spec"]);
    }

    #[test]
    fn a_disc_and_a_subscription_have_urls() {
        assert_eq!(validate_data_image(&object(&json!({"url": "http://discs/a.iso"}))), []);
        assert_eq!(paths(&validate_data_image(&object(&json!({"url": "a.iso"})))), ["spec.url"]);
        let right = json!({"hostName": "h", "destination": "https://events/"});
        assert_eq!(
            paths(&validate_subscription(&object(&right))),
            ["spec"],
            "not served yet, and nothing else"
        );
        let wrong =
            json!({"destination": "https://events", "httpHeadersRef": {"name": "s", "namespace": "other"}});
        let fields = ["spec", "spec.hostName", "spec.destination", "spec.httpHeadersRef.namespace"];
        assert_eq!(paths(&validate_subscription(&object(&wrong))), fields);
    }
}
