//! How v1beta1 of the kubeadm bootstrap kinds differs from v1beta2.

use crate::cluster::versions::STATUS;
use crate::conversion::Rule::{Emptied, Listed, Moved, NewOnly, OldOnly, Seconds, Within};
use crate::conversion::{Column, Conversion, Rule};

/// The spec of a KubeadmConfig, also inside of templates and control planes.
pub(crate) const KUBEADM_CONFIG_SPEC: &[Rule] = &[
    OldOnly("useExperimentalRetryJoin", "boolean"),
    NewOnly("initConfiguration.timeouts"),
    Seconds(
        "clusterConfiguration.apiServer.timeoutForControlPlane",
        "initConfiguration.timeouts.controlPlaneComponentHealthCheckSeconds",
    ),
    Within("clusterConfiguration", CLUSTER),
    Emptied("clusterConfiguration"),
    Within("initConfiguration", INIT),
    Emptied("initConfiguration"),
    Within("joinConfiguration", JOIN),
    Emptied("joinConfiguration"),
    Emptied("ntp"),
    Emptied("diskSetup"),
];

/// Each of kubeadm's configurations says in v1beta1 what it is.
const TYPE: &[Rule] = &[OldOnly("apiVersion", "string"), OldOnly("kind", "string")];

const CLUSTER: &[Rule] = &[
    Within("", TYPE),
    // What the Cluster itself says.
    OldOnly("clusterName", "string"),
    OldOnly("kubernetesVersion", "string"),
    OldOnly("networking.dnsDomain", "string"),
    OldOnly("networking.podSubnet", "string"),
    OldOnly("networking.serviceSubnet", "string"),
    Within("apiServer", EXTRA),
    Emptied("apiServer"),
    Within("controllerManager", EXTRA),
    Emptied("controllerManager"),
    Within("scheduler", EXTRA),
    Emptied("scheduler"),
    Within("etcd.local", EXTRA),
    Emptied("etcd.local"),
    Emptied("etcd"),
    Emptied("dns"),
    Emptied("networking"),
];

const EXTRA: &[Rule] = &[Listed { path: "extraArgs", key: "name", value: Some("value") }];

const INIT: &[Rule] = &[
    Within("", TYPE),
    Within("bootstrapTokens[]", &[Seconds("ttl", "ttlSeconds")]),
    Within("nodeRegistration", NODE_REGISTRATION),
    Emptied("nodeRegistration"),
    Emptied("localAPIEndpoint"),
    Emptied("patches"),
];

const JOIN: &[Rule] = &[
    Within("", TYPE),
    Emptied("controlPlane.localAPIEndpoint"),
    Within("nodeRegistration", NODE_REGISTRATION),
    Emptied("nodeRegistration"),
    Emptied("patches"),
    Emptied("timeouts"),
    NewOnly("timeouts"),
    Seconds("discovery.timeout", "timeouts.tlsBootstrapSeconds"),
    Emptied("discovery.bootstrapToken"),
    Emptied("discovery"),
];

const NODE_REGISTRATION: &[Rule] = &[Listed { path: "kubeletExtraArgs", key: "name", value: Some("value") }];

const CONFIG: &[Rule] = &[
    Within("spec", KUBEADM_CONFIG_SPEC),
    Emptied("status.initialization"),
    Moved("status.ready", "status.initialization.dataSecretCreated"),
    Within("status", STATUS),
];
const TEMPLATE: &[Rule] = &[Within("spec.template.spec", KUBEADM_CONFIG_SPEC)];

const AGE: Column = ("Age", "date", ".metadata.creationTimestamp");
const OF_CLUSTER: Column = ("Cluster", "string", r".metadata.labels['cluster\.x-k8s\.io/cluster-name']");

/// The conversions of this module's kinds.
pub(crate) fn conversions() -> Vec<Conversion> {
    let conversion = |kind, rules, columns| Conversion {
        group: "bootstrap.cluster.x-k8s.io",
        kind,
        old: "v1beta1",
        new: "v1beta2",
        rules,
        columns,
    };
    vec![
        conversion("KubeadmConfig", CONFIG, &[OF_CLUSTER, AGE]),
        conversion("KubeadmConfigTemplate", TEMPLATE, &[AGE]),
    ]
}
