//! A TenantControlPlane's fields in the words of who wrote a KamajiControlPlane and a Cluster, and has never seen it.

use scute_kit::FieldError;

/// Fields of a TenantControlPlane, and those that they are made of. Of two that match the longer one counts.
const FIELDS: [(&str, &str); 26] = [
    ("spec.kubernetes.version", "spec.version"),
    ("spec.kubernetes.kubelet", "spec.kubelet"),
    ("spec.kubernetes.admissionControllers", "spec.admissionControllers"),
    ("spec.dataStore", "spec.dataStoreName"),
    ("spec.networkProfile.address", "spec.network.serviceAddress"),
    ("spec.networkProfile.certSANs", "spec.network.certSANs"),
    ("spec.networkProfile.dnsServiceIPs", "spec.network.dnsServiceIPs"),
    ("spec.networkProfile.loadBalancerClass", "spec.network.loadBalancerConfig.loadBalancerClass"),
    (
        "spec.networkProfile.loadBalancerSourceRanges",
        "spec.network.loadBalancerConfig.loadBalancerSourceRanges",
    ),
    ("spec.networkProfile.port", "Cluster spec.clusterNetwork.apiServerPort"),
    ("spec.networkProfile.clusterDomain", "Cluster spec.clusterNetwork.serviceDomain"),
    ("spec.networkProfile.serviceCidrs", "Cluster spec.clusterNetwork.services.cidrBlocks"),
    ("spec.networkProfile.podCidrs", "Cluster spec.clusterNetwork.pods.cidrBlocks"),
    ("spec.controlPlane.service.serviceType", "spec.network.serviceType"),
    ("spec.controlPlane.deployment", "spec.deployment"),
    ("spec.controlPlane.deployment.replicas", "spec.replicas"),
    ("spec.controlPlane.deployment.registrySettings.registry", "spec.registry"),
    ("spec.controlPlane.deployment.resources.apiServer", "spec.apiServer.resources"),
    ("spec.controlPlane.deployment.resources.controllerManager", "spec.controllerManager.resources"),
    ("spec.controlPlane.deployment.resources.scheduler", "spec.scheduler.resources"),
    ("spec.controlPlane.deployment.probes.apiServer", "spec.apiServer.probes"),
    ("spec.controlPlane.deployment.probes.controllerManager", "spec.controllerManager.probes"),
    ("spec.controlPlane.deployment.probes.scheduler", "spec.scheduler.probes"),
    ("spec.controlPlane.deployment.extraArgs.apiServer", "spec.apiServer.extraArgs"),
    ("spec.controlPlane.deployment.extraArgs.controllerManager", "spec.controllerManager.extraArgs"),
    ("spec.controlPlane.deployment.extraArgs.scheduler", "spec.scheduler.extraArgs"),
];

/// What stands before the path of a field of the Cluster.
const CLUSTER: &str = "Cluster ";

/// A message in the user's words.
pub fn translated(message: &str) -> String {
    let (mut told, mut rest) = (String::with_capacity(message.len()), message);
    while let Some(at) = rest.find("spec.") {
        let (before, found) = rest.split_at(at);
        told.push_str(before);
        let starts_a_path = !before.ends_with(|c: char| c.is_alphanumeric() || c == '.');
        let matching = FIELDS.iter().filter(|(theirs, _)| {
            let after = found.strip_prefix(*theirs);
            after.is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric()))
        });
        match matching.max_by_key(|(theirs, _)| theirs.len()).filter(|_| starts_a_path) {
            Some((theirs, ours)) => {
                told.push_str(ours);
                rest = &found[theirs.len()..];
            }
            None => {
                told.push_str("spec.");
                rest = &found["spec.".len()..];
            }
        }
    }
    told.push_str(rest);
    told
}

/// The error as one about the Cluster, if the field is the Cluster's.
pub fn of_cluster(error: &FieldError) -> Option<FieldError> {
    let path = translated(&error.path);
    let path = path.strip_prefix(CLUSTER)?;
    Some(FieldError::new(path, error.value.as_str(), translated(&error.detail)))
}

/// The error as one about the KamajiControlPlane, unless the field is the Cluster's.
pub fn of_control_plane(error: &FieldError) -> Option<FieldError> {
    let path = translated(&error.path);
    let own = !path.starts_with(CLUSTER);
    own.then(|| FieldError::new(path, error.value.as_str(), translated(&error.detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_the_users() {
        for (theirs, ours) in [
            ("spec.networkProfile.port 6443 cannot", "Cluster spec.clusterNetwork.apiServerPort 6443 cannot"),
            ("spec.networkProfile.address: Invalid", "spec.network.serviceAddress: Invalid"),
            (
                "a; spec.networkProfile.serviceCidrs[0]: b",
                "a; Cluster spec.clusterNetwork.services.cidrBlocks[0]: b",
            ),
            ("spec.dataStoreSchema and spec.dataStore", "spec.dataStoreSchema and spec.dataStoreName"),
            (
                "spec.controlPlane.deployment.probes.scheduler.startup.successThreshold",
                "spec.scheduler.probes.startup.successThreshold",
            ),
            ("spec.controlPlane.deployment.probes.startup", "spec.deployment.probes.startup"),
            (
                "Service.spec.networkProfile.port, inspec.dataStore",
                "Service.spec.networkProfile.port, inspec.dataStore",
            ),
            ("no path, but é", "no path, but é"),
        ] {
            assert_eq!(translated(theirs), ours);
        }
    }

    #[test]
    fn an_error_belongs_to_the_object_that_has_the_field() {
        let port = FieldError::new("spec.networkProfile.port", "0", "must be between 1 and 65535");
        let version = FieldError::new("spec.kubernetes.version", "x", "is none");
        let path = |error: Option<FieldError>| error.map(|error| error.path);
        assert_eq!(path(of_cluster(&port)).as_deref(), Some("spec.clusterNetwork.apiServerPort"));
        assert_eq!(path(of_control_plane(&version)).as_deref(), Some("spec.version"));
        assert_eq!((of_cluster(&version), of_control_plane(&port)), (None, None));
    }
}
