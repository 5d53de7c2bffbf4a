//! VirtualMachine and VirtualMachineInstance of `kubevirt.io`: the fields that Scute honours.

pub mod device;
pub mod instance;
pub mod quantity;
pub mod status;
pub mod volume;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use device::*;
pub use instance::*;
pub use quantity::{Quantity, QuantityError};
pub use status::*;
pub use volume::*;

/// Keeps a VirtualMachine until its VMI is gone.
pub const VM_FINALIZER: &str = "kubevirt.io/virtualMachineControllerFinalize";
/// Keeps a VirtualMachineInstance until its Pod is gone.
pub const VMI_FINALIZER: &str = "kubevirt.io/foregroundDeleteVirtualMachine";
/// Label of a launcher Pod, with the value [`LAUNCHER`].
pub const APP_LABEL: &str = "kubevirt.io";
/// Value of [`APP_LABEL`] on launcher Pods.
pub const LAUNCHER: &str = "virt-launcher";
/// Label of a launcher Pod: UID of its VMI.
pub const CREATED_BY_LABEL: &str = "kubevirt.io/created-by";
/// Label of a launcher Pod: host name of the guest.
pub const VM_NAME_LABEL: &str = "vm.kubevirt.io/name";
/// Label of a launcher Pod: name of its VMI.
pub const VMI_ID_LABEL: &str = "vmi.kubevirt.io/id";
/// Annotation of a launcher Pod: name of its VMI.
pub const DOMAIN_ANNOTATION: &str = "kubevirt.io/domain";
/// Annotation of a VMI: generation of the VirtualMachine that it was made from.
pub const VM_GENERATION_ANNOTATION: &str = "kubevirt.io/vm-generation";

/// Annotation of a VMI: ranges of IPv4 addresses, separated by commas, that its guest may send from besides its own, as a
/// Node does for its Pods. Everything else that it sends in another's name is dropped.
pub const SOURCE_RANGES_ANNOTATION: &str = "scute.dev/source-ranges";

/// What a VirtualMachine should be: when it runs, and from which template its VMI is made.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "kubevirt.io",
    version = "v1",
    kind = "VirtualMachine",
    namespaced,
    status = "VirtualMachineStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "vm",
    shortname = "vms",
    category = "all",
    doc = "A virtual machine that can be started and stopped; it runs as a VirtualMachineInstance of the same name.",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.printableStatus","description":"Human readable status"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#
)]
#[x_kube(validation = ("has(self.running) != has(self.runStrategy)", "exactly one of running and runStrategy must be set"))]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineSpec {
    /// Deprecated: `true` is runStrategy Always, `false` is Halted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<bool>,
    /// When a VMI must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_strategy: Option<RunStrategy>,
    /// The VMI that is made on each start.
    pub template: VirtualMachineInstanceTemplate,
}

impl VirtualMachineSpec {
    /// The strategy asked for, through either of the two fields.
    #[must_use]
    pub fn strategy(&self) -> RunStrategy {
        match (self.run_strategy, self.running) {
            (Some(strategy), _) => strategy,
            (None, Some(true)) => RunStrategy::Always,
            (None, _) => RunStrategy::Halted,
        }
    }
}

/// When a VirtualMachine's VMI must exist.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStrategy {
    /// Always: a VMI that ended, for whatever reason, is replaced.
    Always,
    /// A VMI that failed is replaced, one that shut down is not.
    RerunOnFailure,
    /// One VMI, never replaced.
    Once,
    /// Only `status.stateChangeRequests` (start, stop, restart) decide.
    Manual,
    /// No VMI.
    Halted,
}

/// The template of a VMI.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineInstanceTemplate {
    /// Labels and annotations of the VMI, and so of its Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "template_metadata")]
    pub metadata: Option<crate::meta::TemplateMeta>,
    /// Spec of the VMI.
    pub spec: VirtualMachineInstanceSpec,
}

/// Upstream takes a whole ObjectMeta here, of which only labels and annotations count; tools write
/// `creationTimestamp: null` into it, so that the rest must be let through.
fn template_metadata(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "labels": {"type": "object", "nullable": true, "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "nullable": true, "additionalProperties": {"type": "string"}},
        },
    })
}

/// The CustomResourceDefinitions of this module.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    [VirtualMachine::crd(), VirtualMachineInstance::crd()].into_iter().map(also_v1alpha3).collect()
}

/// Upstream still serves v1alpha3 with the schema of v1.
fn also_v1alpha3(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let old = crd.spec.versions.first().cloned().map(|mut version| {
        version.name = "v1alpha3".into();
        version.storage = false;
        version
    });
    crd.spec.versions.extend(old);
    crd
}
