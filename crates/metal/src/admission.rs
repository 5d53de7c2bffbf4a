//! What is refused at the door. The rules stand beside the types, in `scute_api`.

use std::future::ready;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Resource;
use scute_api::Invalid;
use scute_api::cluster::Cluster;
use scute_api::infrastructure::{
    Metal3Cluster, Metal3ClusterTemplate, Metal3Machine, Metal3MachineTemplate, Metal3Remediation,
    Metal3RemediationTemplate, validate_data, validate_data_change, validate_data_claim,
    validate_data_claim_change, validate_data_template, validate_data_template_change,
    validate_metal3_cluster, validate_metal3_cluster_template, validate_metal3_machine,
    validate_metal3_machine_template, validate_remediation, validate_remediation_template,
};
use scute_api::ipam::{
    IPAddressClaim, IPPool, contract, validate_address, validate_address_change, validate_address_claim,
    validate_claim, validate_claim_change, validate_pool, validate_pool_change,
};
use scute_api::metal3::{
    BMCEventSubscription, DataImage, FirmwareSchema, HardwareData, HostFirmwareComponents,
    HostFirmwareSettings, HostUpdatePolicy, PreprovisioningImage, validate_data_image,
    validate_firmware_components, validate_firmware_settings, validate_host, validate_host_change,
    validate_preprovisioning_image, validate_subscription, validate_update_policy,
};
use scute_api::ranges::Claim;
use scute_kit::{Admission, AdmissionRequest, FieldError, Hub, Key, Operation, Verdict};
use serde::de::DeserializeOwned;

use crate::ipam::clashes;

/// Adds the decoders and handlers of this room's kinds.
#[must_use]
pub fn admission(hub: &Arc<Hub>, reserved: Vec<Claim>, admission: Admission) -> Admission {
    let admission =
        admission.decodes::<HardwareData>().decodes::<FirmwareSchema>().decodes::<contract::IPAddress>();
    let admission = judged(admission, validate_host, validate_host_change);
    let admission = pools(hub, reserved, admission);
    let admission =
        judged::<IPAddressClaim>(admission, validate_address_claim, |_, new| validate_address_claim(new));
    let admission = judged(admission, validate_claim, validate_claim_change);
    let admission = judged(admission, validate_address, validate_address_change);
    let admission = judged(admission, validate_data, validate_data_change);
    let admission = judged(admission, validate_data_claim, validate_data_claim_change);
    let admission = judged(admission, validate_data_template, validate_data_template_change);
    let admission =
        judged::<Metal3Cluster>(admission, validate_metal3_cluster, |_, new| validate_metal3_cluster(new));
    let admission = judged::<Metal3ClusterTemplate>(admission, validate_metal3_cluster_template, |_, new| {
        validate_metal3_cluster_template(new)
    });
    let admission =
        judged::<Metal3Machine>(admission, validate_metal3_machine, |_, new| validate_metal3_machine(new));
    let admission = judged::<Metal3MachineTemplate>(admission, validate_metal3_machine_template, |_, new| {
        validate_metal3_machine_template(new)
    });
    let admission =
        judged::<Metal3Remediation>(admission, validate_remediation, |_, new| validate_remediation(new));
    let admission =
        judged::<Metal3RemediationTemplate>(admission, validate_remediation_template, |_, new| {
            validate_remediation_template(new)
        });
    let admission = judged::<DataImage>(admission, validate_data_image, |_, new| validate_data_image(new));
    let admission = judged::<HostFirmwareSettings>(admission, validate_firmware_settings, |_, new| {
        validate_firmware_settings(new)
    });
    let admission = judged::<HostFirmwareComponents>(admission, validate_firmware_components, |_, new| {
        validate_firmware_components(new)
    });
    let admission =
        judged::<HostUpdatePolicy>(admission, validate_update_policy, |_, new| validate_update_policy(new));
    let admission = judged::<PreprovisioningImage>(admission, validate_preprovisioning_image, |_, new| {
        validate_preprovisioning_image(new)
    });
    judged::<BMCEventSubscription>(admission, validate_subscription, |_, new| validate_subscription(new))
}

/// A pool is checked against what others have, too.
fn pools(hub: &Arc<Hub>, reserved: Vec<Claim>, admission: Admission) -> Admission {
    let (pools, clusters) = (hub.watch::<IPPool>(), hub.watch::<Cluster>());
    let clashes = move |pool: &IPPool| {
        let namespace = pool.metadata.namespace.clone().unwrap_or_default();
        let name = pool.spec.cluster_name.clone().unwrap_or_default();
        let cluster = clusters.get(&Key::new(namespace.clone(), name));
        clashes(pool, &pools.list_in(&namespace), cluster.as_deref(), &reserved)
    };
    let clashes = Arc::new(clashes);
    let same = Arc::clone(&clashes);
    judged::<IPPool>(
        admission,
        move |pool| [validate_pool(pool), clashes(pool)].concat(),
        move |old, new| [validate_pool_change(old, new), same(new)].concat(),
    )
}

/// Decodes a kind, and asks its rules of an object and of a change of it.
fn judged<K>(
    admission: Admission,
    object: impl Fn(&K) -> Vec<Invalid> + Send + Sync + 'static,
    change: impl Fn(&K, &K) -> Vec<Invalid> + Send + Sync + 'static,
) -> Admission
where
    K: Resource<DynamicType = ()> + DeserializeOwned + 'static,
{
    admission.decodes::<K>().on(&K::group(&()), &K::kind(&()), checked(object, change))
}

fn checked<K: DeserializeOwned + 'static>(
    object: impl Fn(&K) -> Vec<Invalid> + Send + Sync + 'static,
    change: impl Fn(&K, &K) -> Vec<Invalid> + Send + Sync + 'static,
) -> impl Fn(AdmissionRequest) -> BoxFuture<'static, Verdict> + Send + Sync + 'static {
    move |request| ready(verdict(&request, &object, &change)).boxed()
}

/// An update is refused for what it makes wrong only: an object that an older release has taken must be able to get
/// finalizers and annotations.
fn verdict<K: DeserializeOwned>(
    request: &AdmissionRequest,
    object: impl Fn(&K) -> Vec<Invalid>,
    change: impl Fn(&K, &K) -> Vec<Invalid>,
) -> Verdict {
    if !matches!(request.operation, Operation::Create | Operation::Update) || !request.subresource.is_empty()
    {
        return Verdict::Allow;
    }
    let new: K = match serde_json::from_value(request.object.clone()) {
        Ok(new) => new,
        Err(error) => return Verdict::Deny(vec![FieldError::new("object", "", error.to_string())]),
    };
    let old = request.old.as_ref().and_then(|old| serde_json::from_value::<K>(old.clone()).ok());
    let bad = match old {
        None => object(&new),
        Some(old) => {
            let before = object(&old);
            change(&old, &new).into_iter().filter(|bad| !before.contains(bad)).collect()
        }
    };
    if bad.is_empty() {
        return Verdict::Allow;
    }
    Verdict::Deny(bad.into_iter().map(|bad| FieldError::new(bad.path, bad.value, bad.detail)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn host(address: &str, mac: &str) -> Value {
        json!({"apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
            "metadata": {"name": "server-1", "namespace": "metal"},
            "spec": {"online": true, "bootMACAddress": mac,
                "bmc": {"address": address, "credentialsName": "server-1"}}})
    }

    fn judge(object: Value, old: Option<Value>) -> Vec<String> {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let request = AdmissionRequest {
            operation,
            namespace: "metal".into(),
            name: "server-1".into(),
            subresource: String::new(),
            object,
            old,
            dry_run: false,
            user: String::new(),
        };
        match verdict(&request, validate_host, validate_host_change) {
            Verdict::Allow => Vec::new(),
            Verdict::Deny(bad) => bad.into_iter().map(|bad| bad.path).collect(),
            other => panic!("{other:?}"),
        }
    }

    const GOOD: &str = "redfish://10.0.0.9/redfish/v1/Systems/1";
    const MAC: &str = "00:11:22:33:44:55";

    #[test]
    fn a_host_is_checked_when_it_is_made_and_when_it_changes() {
        assert!(judge(host(GOOD, MAC), None).is_empty());
        assert_eq!(judge(host("ipmi://10.0.0.9", MAC), None), ["spec.bmc.address"]);
        assert_eq!(judge(host(GOOD, "00:11:22:33:44:66"), Some(host(GOOD, MAC))), ["spec.bootMACAddress"]);
        assert_eq!(judge(json!({"spec": {"online": "yes"}}), None), ["object"]);
    }

    #[test]
    fn an_ippool_is_asked_with_an_ipclaim() {
        let claim = |group: &str| -> IPAddressClaim {
            serde_json::from_value(json!({
                "apiVersion": "ipam.cluster.x-k8s.io/v1beta2", "kind": "IPAddressClaim", "metadata": {"name": "c"},
                "spec": {"poolRef": {"apiGroup": group, "kind": "IPPool", "name": "pool"}},
            }))
            .unwrap()
        };
        assert!(validate_address_claim(&claim("ipam.cluster.x-k8s.io")).is_empty());
        let bad = validate_address_claim(&claim("ipam.metal3.io"));
        assert!(bad[0].to_string().contains("make one instead of an IPAddressClaim"), "{bad:?}");
    }

    #[test]
    fn what_was_wrong_before_does_not_hold_up_another_change() {
        let old = host("ipmi://10.0.0.9", MAC);
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!(["baremetalhost.metal3.io"]);
        assert!(judge(new, Some(old.clone())).is_empty());
        assert_eq!(judge(host("ipmi://10.0.0.8", MAC), Some(old)), ["spec.bmc.address"]);
    }
}
