//! Finalizers, annotations and labels of Clusters and Machines.

/// Keeps a Cluster until its Machines, control plane and infrastructure are gone.
pub const CLUSTER_FINALIZER: &str = "cluster.cluster.x-k8s.io";
/// Keeps a Machine until its Node, infrastructure and bootstrap objects are gone.
pub const MACHINE_FINALIZER: &str = "machine.cluster.x-k8s.io";
/// Keeps a MachineSet until its Machines are gone.
pub const MACHINE_SET_FINALIZER: &str = "cluster.x-k8s.io/machineset";
/// Keeps a MachineDeployment until its MachineSets are gone.
pub const MACHINE_DEPLOYMENT_FINALIZER: &str = "cluster.x-k8s.io/machinedeployment";

/// Most Machines of one MachineDeployment or MachineSet. Twice the Nodes that Kubernetes supports in a whole cluster:
/// a number above it is a slip of the keyboard.
pub const MAX_MACHINES: i32 = 10_000;

/// A selector stays what it is, as that of a Deployment: Machines that it selected would be nobody's. An empty one, of
/// before there was a webhook, may still be filled in.
pub(super) const SAME_SELECTOR: &str = "self == oldSelf || !((has(oldSelf.matchLabels) && size(oldSelf.matchLabels) > 0) || (has(oldSelf.matchExpressions) && size(oldSelf.matchExpressions) > 0))";

/// Label with the hash of the template that a MachineSet was made for.
pub const TEMPLATE_HASH_LABEL: &str = "machine-template-hash";
/// Label of control-plane Machines: the control plane object that owns them.
pub const CONTROL_PLANE_NAME_LABEL: &str = "cluster.x-k8s.io/control-plane-name";
/// Label on Pods: `skip` or `wait-completed` instead of an eviction.
pub const DRAIN_LABEL: &str = "cluster.x-k8s.io/drain";

/// Name of the template that an object was cloned from.
pub const CLONED_FROM_NAME_ANNOTATION: &str = "cluster.x-k8s.io/cloned-from-name";
/// Group and kind (`Kind.group`) of the template that an object was cloned from.
pub const CLONED_FROM_GROUP_KIND_ANNOTATION: &str = "cluster.x-k8s.io/cloned-from-groupkind";
/// Number of the rollout that a MachineSet belongs to.
pub const REVISION_ANNOTATION: &str = "machinedeployment.clusters.x-k8s.io/revision";
/// `replicas` of the MachineDeployment when the MachineSet was last scaled.
pub const DESIRED_REPLICAS_ANNOTATION: &str = "machinedeployment.clusters.x-k8s.io/desired-replicas";
/// `replicas` plus surge of the MachineDeployment when the MachineSet was last scaled.
pub const MAX_REPLICAS_ANNOTATION: &str = "machinedeployment.clusters.x-k8s.io/max-replicas";
/// On MachineSets: the `rollout.after` that was due when the set was made. It is answered by that set, whatever the
/// fraction of its second and the clock of the API server that stamped the set.
pub const ROLLOUT_AFTER_ANNOTATION: &str = "scute.dev/rollout-after";
/// Stops a MachineSet from making Machines.
pub const DISABLE_MACHINE_CREATE_ANNOTATION: &str = "cluster.x-k8s.io/disable-machine-create";
/// A Machine that goes first when its set shrinks.
pub const DELETE_MACHINE_ANNOTATION: &str = "cluster.x-k8s.io/delete-machine";
/// A Machine that a MachineHealthCheck leaves alone.
pub const SKIP_REMEDIATION_ANNOTATION: &str = "cluster.x-k8s.io/skip-remediation";
/// A Machine that is not healthy because a person says so.
pub const REMEDIATE_MACHINE_ANNOTATION: &str = "cluster.x-k8s.io/remediate-machine";
/// Preflight checks that a MachineSet leaves out: `All` or names, separated by commas.
pub const SKIP_PREFLIGHT_CHECKS_ANNOTATION: &str = "machineset.cluster.x-k8s.io/skip-preflight-checks";
/// Smallest size for the cluster autoscaler.
pub const AUTOSCALER_MIN_SIZE_ANNOTATION: &str =
    "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size";
/// Largest size for the cluster autoscaler.
pub const AUTOSCALER_MAX_SIZE_ANNOTATION: &str =
    "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size";
/// A Machine whose Node is not drained.
pub const EXCLUDE_NODE_DRAINING_ANNOTATION: &str = "machine.cluster.x-k8s.io/exclude-node-draining";
/// A Machine whose volumes are not waited for.
pub const EXCLUDE_VOLUME_DETACH_ANNOTATION: &str =
    "machine.cluster.x-k8s.io/exclude-wait-for-node-volume-detach";
/// While a Machine has an annotation with this prefix, its Node is not drained.
pub const PRE_DRAIN_HOOK_PREFIX: &str = "pre-drain.delete.hook.machine.cluster.x-k8s.io";
/// While a Machine has an annotation with this prefix, its infrastructure is not deleted.
pub const PRE_TERMINATE_HOOK_PREFIX: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io";

/// On Nodes: Cluster of the Machine.
pub const NODE_CLUSTER_NAME_ANNOTATION: &str = "cluster.x-k8s.io/cluster-name";
/// On Nodes: namespace of the Machine.
pub const NODE_CLUSTER_NAMESPACE_ANNOTATION: &str = "cluster.x-k8s.io/cluster-namespace";
/// On Nodes: the Machine.
pub const NODE_MACHINE_ANNOTATION: &str = "cluster.x-k8s.io/machine";
/// On Nodes: kind of the Machine's controller.
pub const NODE_OWNER_KIND_ANNOTATION: &str = "cluster.x-k8s.io/owner-kind";
/// On Nodes: name of the Machine's controller.
pub const NODE_OWNER_NAME_ANNOTATION: &str = "cluster.x-k8s.io/owner-name";
/// On Nodes: keys of the labels that came from the Machine.
pub const NODE_LABELS_FROM_MACHINE_ANNOTATION: &str = "cluster.x-k8s.io/labels-from-machine";
/// On Nodes: keys of the annotations that came from the Machine.
pub const NODE_ANNOTATIONS_FROM_MACHINE_ANNOTATION: &str = "cluster.x-k8s.io/annotations-from-machine";
/// On Nodes: `key:effect` of the taints that came from the Machine and go with it.
pub const NODE_TAINTS_FROM_MACHINE_ANNOTATION: &str = "cluster.x-k8s.io/taints-from-machine";
/// On control-plane Machines or their bootstrap configurations: when the certificates end, in RFC 3339.
pub const CERTIFICATES_EXPIRY_ANNOTATION: &str = "machine.cluster.x-k8s.io/certificates-expiry";
/// Taint of a Node that joined and has not got its labels yet.
pub const UNINITIALIZED_TAINT: &str = "node.cluster.x-k8s.io/uninitialized";
/// Taint of a Node whose Machine a rollout is going to replace.
pub const OUTDATED_REVISION_TAINT: &str = "node.cluster.x-k8s.io/outdated-revision";

/// Condition of a Machine: what a health check says of it.
pub const HEALTH_CHECK_SUCCEEDED: &str = "HealthCheckSucceeded";
/// Condition of a Machine: its owner replaces it when this is False.
pub const OWNER_REMEDIATED: &str = "OwnerRemediated";
/// Condition of a Machine: how a remediation stands that its health check has asked another controller for.
pub const EXTERNALLY_REMEDIATED: &str = "ExternallyRemediated";
