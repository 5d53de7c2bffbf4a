//! The list of unserved fields. A line goes when its field is served; a test finds it then.

use super::Shape::{self, Flag, List, Object, Settings, Text};
use super::Unserved;

/// A kind, and the path below which its lines stand.
type Place = (&'static str, &'static str);
/// A path below a place, what the field holds, and why it is refused.
type Line = (&'static str, Shape, &'static str);

/// Every unserved field of every kind.
#[must_use]
pub fn fields() -> Vec<Unserved> {
    let groups: [(&[Place], &[Line]); 8] = [
        (&[("Cluster", "spec")], CLUSTER),
        (&[("ClusterClass", "spec")], CLUSTER_CLASS),
        (KAMAJI, KAMAJI_CONTROL_PLANE),
        (&[("TenantControlPlane", "spec")], TENANT_CONTROL_PLANE),
        (KUBEVIRT, INFRA_CLUSTER),
        (VMS, VM),
        (VMIS, VMI),
        (&[("BareMetalHost", "spec")], HOST),
    ];
    let lines = groups.iter().flat_map(|(places, lines)| {
        places.iter().flat_map(|(kind, below)| lines.iter().map(move |line| (*kind, *below, line)))
    });
    lines
        .map(|(kind, below, (path, shape, why))| Unserved {
            kind,
            path: format!("{below}.{path}"),
            shape: *shape,
            why,
        })
        .collect()
}

const CLUSTER: &[Line] =
    &[("topology.workers.machinePools", List, "MachinePools are not served: use machineDeployments")];
const EXTENSIONS: &str = "extensions of a Runtime SDK are not served: use jsonPatches";
const CLUSTER_CLASS: &[Line] = &[
    ("patches[].external", Object, EXTENSIONS),
    ("upgrade", Object, "extensions of a Runtime SDK are not served: list kubernetesVersions"),
    ("availabilityGates", List, "gates of a class are not served yet: set availabilityGates of the Cluster"),
];

const KONNECTIVITY: &str = "settings of konnectivity are not served yet: there is no tunnel, and the control plane reaches the Nodes directly";
const INGRESS: &str =
    "control planes behind an Ingress are not served yet: choose a Service of type LoadBalancer or NodePort";
const GATEWAY: &str =
    "control planes behind a Gateway are not served yet: choose a Service of type LoadBalancer or NodePort";
const OVERRIDES: &str = "a DataStore for single resources is not served: all state of a tenant is in one";
const KINE: &str = "kine is not served: DataStores are etcd";
const VOLUMES: &str = "volumes of your own in the control plane's Pods are not served yet";
const CONTAINERS: &str = "containers of your own in the control plane's Pods are not served yet";
const ADVERTISE: &str = "an address of its own for the tenant's side is not served yet";
const PORTS: &str = "further ports of the control plane's Service are not served yet";
const KAMAJI: &[Place] =
    &[("KamajiControlPlane", "spec"), ("KamajiControlPlaneTemplate", "spec.template.spec")];
const KAMAJI_CONTROL_PLANE: &[Line] = &[
    ("addons.konnectivity", Settings, KONNECTIVITY),
    ("network.ingress", Object, INGRESS),
    ("network.gateway", Object, GATEWAY),
    ("network.advertiseAddress", Text, ADVERTISE),
    ("network.additionalServicePorts", List, PORTS),
    ("dataStoreOverrides", List, OVERRIDES),
    ("kine", Object, KINE),
    ("apiServer.extraVolumeMounts", List, VOLUMES),
    ("controllerManager.extraVolumeMounts", List, VOLUMES),
    ("scheduler.extraVolumeMounts", List, VOLUMES),
    ("deployment.extraVolumes", List, VOLUMES),
    ("deployment.extraContainers", List, CONTAINERS),
    ("deployment.extraInitContainers", List, CONTAINERS),
    (
        "deployment.externalClusterReference",
        Object,
        "a control plane in another cluster is not served: it runs beside its KamajiControlPlane",
    ),
];
const TENANT_CONTROL_PLANE: &[Line] = &[
    ("addons.konnectivity", Settings, KONNECTIVITY),
    ("controlPlane.ingress", Object, INGRESS),
    ("controlPlane.gateway", Object, GATEWAY),
    ("networkProfile.advertiseAddress", Text, ADVERTISE),
    ("controlPlane.service.additionalPorts", List, PORTS),
    ("dataStoreOverrides", List, OVERRIDES),
    ("controlPlane.deployment.additionalVolumes", List, VOLUMES),
    ("controlPlane.deployment.additionalVolumeMounts", Object, VOLUMES),
    ("controlPlane.deployment.additionalContainers", List, CONTAINERS),
    ("controlPlane.deployment.additionalInitContainers", List, CONTAINERS),
    (
        "controlPlane.deployment.containerSecurityContexts",
        Object,
        "security contexts of single containers are not served: set podSecurityContext",
    ),
    (
        "controlPlane.deployment.automountServiceAccountToken",
        Flag,
        "the control plane's Pods have no use for a token of the management cluster",
    ),
    ("controlPlane.deployment.resources.kine", Object, KINE),
    ("controlPlane.deployment.extraArgs.kine", List, KINE),
    ("writePermissions", Object, "limits of what a tenant may write are not served yet"),
];

const KUBEVIRT: &[Place] = &[
    ("KubevirtCluster", "spec"),
    ("KubevirtClusterTemplate", "spec.template.spec"),
    ("KubevirtMachine", "spec"),
    ("KubevirtMachineTemplate", "spec.template.spec"),
];
const INFRA_CLUSTER: &[Line] = &[(
    "infraClusterSecretRef",
    Object,
    "VMs run in the cluster of their KubevirtMachine: another one has a manager of its own",
)];

const VMS: &[Place] = &[
    ("VirtualMachine", "spec"),
    ("KubevirtMachine", "spec.virtualMachineTemplate.spec"),
    ("KubevirtMachineTemplate", "spec.template.spec.virtualMachineTemplate.spec"),
];
const PERSISTENT: &str =
    "persistent volumes are not served yet: use containerDisk, emptyDisk or a cloud-init volume";
const INSTANCETYPES: &str = "instance types are not served: say CPU and memory in spec.template.spec.domain";
const VM: &[Line] = &[
    ("dataVolumeTemplates", List, PERSISTENT),
    ("instancetype", Object, INSTANCETYPES),
    ("preference", Object, INSTANCETYPES),
];

const VMIS: &[Place] = &[
    ("VirtualMachineInstance", "spec"),
    ("VirtualMachine", "spec.template.spec"),
    ("KubevirtMachine", "spec.virtualMachineTemplate.spec.template.spec"),
    ("KubevirtMachineTemplate", "spec.template.spec.virtualMachineTemplate.spec.template.spec"),
];
const SHARED: &str =
    "such a volume is not served: pass data with cloudInitNoCloud or cloudInitConfigDrive and a Secret";
const DEVICES: &str = "devices of the host are not served yet";
const BINDING: &str = "this binding is not served: an interface has bridge: {}";
const PROBES: &str = "probes of a VM are not served yet: the VMI is Ready when its guest runs";
const CPU: &str = "the CPU model and its placement cannot be chosen: a guest has the host's, or the best that emulation gives";
const VMI: &[Line] = &[
    ("volumes[].persistentVolumeClaim", Object, PERSISTENT),
    ("volumes[].dataVolume", Object, PERSISTENT),
    ("volumes[].ephemeral", Object, PERSISTENT),
    ("volumes[].hostDisk", Object, PERSISTENT),
    ("volumes[].configMap", Object, SHARED),
    ("volumes[].secret", Object, SHARED),
    ("volumes[].serviceAccount", Object, SHARED),
    ("volumes[].downwardAPI", Object, SHARED),
    ("volumes[].sysprep", Object, SHARED),
    ("networks[].multus", Object, "Multus is not served: a guest has the network of its Pod, pod: {}"),
    ("domain.devices.interfaces[].masquerade", Object, BINDING),
    ("domain.devices.interfaces[].sriov", Object, BINDING),
    ("domain.devices.interfaces[].passt", Object, BINDING),
    ("domain.devices.interfaces[].passtBinding", Object, BINDING),
    ("domain.devices.interfaces[].binding", Object, BINDING),
    (
        "domain.devices.interfaces[].macAddress",
        Text,
        "the MAC address cannot be chosen: it follows from the Pod's interface",
    ),
    (
        "domain.devices.interfaces[].ports",
        List,
        "with the bridge binding every port of the guest is reachable: leave ports out",
    ),
    ("domain.devices.hostDevices", List, DEVICES),
    ("domain.devices.gpus", List, DEVICES),
    ("domain.devices.filesystems", List, "shared file systems are not served: use a disk"),
    ("domain.devices.tpm", Object, "a TPM is not served yet"),
    ("domain.devices.disks[].lun", Object, "a lun is not served: use disk or cdrom"),
    ("domain.cpu.model", Text, CPU),
    ("domain.cpu.features", List, CPU),
    ("domain.cpu.numa", Object, CPU),
    ("domain.cpu.dedicatedCpuPlacement", Flag, CPU),
    ("domain.memory.hugepages", Object, "huge pages are not served yet"),
    ("domain.features", Object, "features of the machine cannot be chosen"),
    ("domain.clock", Object, "the clock of a guest is UTC and cannot be chosen"),
    ("livenessProbe", Object, PROBES),
    ("readinessProbe", Object, PROBES),
    ("accessCredentials", List, "access credentials are not served: put keys into the cloud-init data"),
];

const HOST: &[Line] = &[
    ("firmware", Object, "settings of the firmware are in the HostFirmwareSettings of the host's name"),
    (
        "taints",
        List,
        "taints of a host reach no Node: set joinConfiguration.nodeRegistration.taints of the bootstrap configuration",
    ),
    ("networkInterfaces", List, "ports of switches are not served: configure the switch"),
];
