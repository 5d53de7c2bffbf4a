//! The patches of a class on one of its templates: what a Cluster's choices make of it.

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use scute_api::cluster::clusterclass::{ClusterClassPatch, JsonPatch, PatchSelector};
use serde_json::{Map, Value};

use crate::template::{self, Missing};
use crate::variables;

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use<'a> {
    /// The InfraCluster.
    InfrastructureCluster,
    /// The control plane, or its Machines.
    ControlPlane,
    /// MachineDeployments of this class.
    Workers(&'a str),
}

/// A template of a class, before its patches.
#[derive(Clone, Copy, Debug)]
pub struct Unpatched<'a> {
    /// apiVersion by which the class names it.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// What it is for.
    pub for_use: Use<'a>,
    /// The object.
    pub object: &'a Value,
}

/// The template with everything that follows from the values.
///
/// # Errors
/// Which patch cannot be applied, and why.
pub fn patched(
    template: Unpatched<'_>,
    patches: &[ClusterClassPatch],
    values: &Map<String, Value>,
) -> Result<Value, String> {
    let mut object = template.object.clone();
    for patch in patches {
        let one = apply(&mut object, template, patch, values);
        one.map_err(|why| format!("patch {} of the ClusterClass on {}: {why}", patch.name, template.kind))?;
    }
    Ok(object)
}

fn apply(
    object: &mut Value,
    template: Unpatched<'_>,
    patch: &ClusterClassPatch,
    values: &Map<String, Value>,
) -> Result<(), String> {
    let meant: Vec<_> =
        patch.definitions.iter().filter(|definition| selects(&definition.selector, template)).collect();
    if meant.is_empty() {
        return Ok(());
    }
    let values = Value::Object(values.clone());
    if let Some(condition) = &patch.enabled_if {
        let text = template::render(condition, &values, Missing::Nothing);
        let text = text.map_err(|why| format!("enabledIf: {why}"))?;
        if text.trim() != "true" {
            return Ok(());
        }
    }
    for change in meant.iter().flat_map(|definition| &definition.json_patches) {
        let place = |why: String| format!("{} {}: {why}", change.op, change.path);
        let operation = operation(change, &values).map_err(place)?;
        // One at a time: an error says which.
        json_patch::patch(object, &Patch(vec![operation])).map_err(|error| place(error.kind.to_string()))?;
    }
    Ok(())
}

/// Whether a selector means a template.
fn selects(selector: &PatchSelector, template: Unpatched<'_>) -> bool {
    if selector.api_version != template.api_version || selector.kind != template.kind {
        return false;
    }
    let matches = &selector.match_resources;
    match template.for_use {
        Use::InfrastructureCluster => matches.infrastructure_cluster == Some(true),
        Use::ControlPlane => matches.control_plane == Some(true),
        Use::Workers(class) => matches
            .machine_deployment_class
            .as_ref()
            .is_some_and(|classes| classes.names.iter().any(|name| stands_for(name, class))),
    }
}

/// Whether a name, with a `*` at its beginning or end, stands for a class.
#[must_use]
pub fn stands_for(name: &str, class: &str) -> bool {
    name == class
        || name.strip_prefix('*').is_some_and(|end| class.ends_with(end))
        || name.strip_suffix('*').is_some_and(|begin| class.starts_with(begin))
}

fn operation(change: &JsonPatch, values: &Value) -> Result<PatchOperation, String> {
    let path = change.path.parse().map_err(|_| "the path is no JSON pointer".to_owned())?;
    Ok(match change.op.as_str() {
        "remove" => PatchOperation::Remove(RemoveOperation { path }),
        "replace" => PatchOperation::Replace(ReplaceOperation { path, value: value(change, values)? }),
        _ => PatchOperation::Add(AddOperation { path, value: value(change, values)? }),
    })
}

fn value(change: &JsonPatch, values: &Value) -> Result<Value, String> {
    if let Some(value) = &change.value {
        return Ok(value.clone());
    }
    let from = change.value_from.clone().unwrap_or_default();
    match (from.variable, from.template) {
        (Some(path), _) => {
            let none = Map::new();
            variables::find(values.as_object().unwrap_or(&none), &path).cloned()
        }
        (None, Some(template)) => {
            let text = template::render(&template, values, Missing::Nothing)?;
            if text.trim().is_empty() {
                return Ok(Value::Null);
            }
            let read = serde_saphyr::from_str::<Value>(&text);
            read.map_err(|error| {
                format!("what the template makes is no YAML: {}", first_line(&error.to_string()))
            })
        }
        (None, None) => Err("it has no value".to_owned()),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patches(patches: Value) -> Vec<ClusterClassPatch> {
        serde_json::from_value(patches).expect("patches")
    }

    fn with(patches: &[ClusterClassPatch], for_use: Use<'_>, values: Value) -> Result<Value, String> {
        let object =
            json!({"spec": {"template": {"spec": {"cores": 2, "args": [{"name": "v", "value": "0"}]}}}});
        let template = Unpatched {
            api_version: "infrastructure.cluster.x-k8s.io/v1",
            kind: "TestMachineTemplate",
            for_use,
            object: &object,
        };
        let done = patched(template, patches, values.as_object().expect("values"))?;
        Ok(done["spec"]["template"]["spec"].clone())
    }

    fn one(selector: Value, enabled_if: Value, changes: Value) -> Vec<ClusterClassPatch> {
        patches(json!([{"name": "p", "enabledIf": enabled_if, "definitions": [{"selector": {
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1", "kind": "TestMachineTemplate", "matchResources": selector},
            "jsonPatches": changes}]}]))
    }

    #[test]
    fn values_come_as_they_are_from_variables_and_from_templates() {
        let changes = json!([
            {"op": "replace", "path": "/spec/template/spec/cores", "valueFrom": {"variable": "worker.cores"}},
            {"op": "add", "path": "/spec/template/spec/args/-", "value": {"name": "cloud-provider", "value": "external"}},
            {"op": "add", "path": "/spec/template/spec/image", "valueFrom": {
                "template": "name: base:{{ .builtin.machineDeployment.version | replace \"+\" \"_\" }}\n{{ if .proxy }}proxy: {{ .proxy }}{{ end }}\n"}},
            {"op": "remove", "path": "/spec/template/spec/args/0"}
        ]);
        let workers = one(json!({"machineDeploymentClass": {"names": ["*-worker"]}}), Value::Null, changes);
        let values =
            json!({"worker": {"cores": 8}, "builtin": {"machineDeployment": {"version": "v1.35.4+a"}}});
        let made = with(&workers, Use::Workers("big-worker"), values.clone()).expect("patched");
        assert_eq!(
            made,
            json!({"cores": 8, "args": [{"name": "cloud-provider", "value": "external"}], "image": {"name": "base:v1.35.4_a"}})
        );
        for other in [Use::Workers("big"), Use::ControlPlane, Use::InfrastructureCluster] {
            assert_eq!(with(&workers, other, values.clone()).expect("as it was")["cores"], 2, "{other:?}");
        }
    }

    #[test]
    fn a_patch_counts_when_its_condition_says_true() {
        let change = json!([{"op": "add", "path": "/spec/template/spec/cores", "value": 4}]);
        let patch = one(json!({"controlPlane": true}), json!("{{ and .big (ne .name \"\") }}"), change);
        let cores =
            |values: Value| with(&patch, Use::ControlPlane, values).expect("patched")["cores"].clone();
        assert_eq!(cores(json!({"big": true, "name": "x"})), 4);
        assert_eq!(cores(json!({"big": true, "name": ""})), 2);
        assert_eq!(cores(json!({"big": false, "name": "x"})), 2);
    }

    #[test]
    fn what_cannot_be_applied_names_its_patch_and_place() {
        let fault = |change: Value| {
            let patch = one(json!({"controlPlane": true}), Value::Null, json!([change]));
            with(&patch, Use::ControlPlane, json!({"a": {}})).expect_err("a fault")
        };
        let why = fault(json!({"op": "replace", "path": "/spec/template/spec/none/x", "value": 1}));
        assert!(
            why.starts_with(
                "patch p of the ClusterClass on TestMachineTemplate: replace /spec/template/spec/none/x:"
            ),
            "{why}"
        );
        let why =
            fault(json!({"op": "add", "path": "/spec/template/spec/x", "valueFrom": {"variable": "a.b"}}));
        assert!(why.contains("b is missing"), "{why}");
        let why =
            fault(json!({"op": "add", "path": "/spec/template/spec/x", "valueFrom": {"template": "a: [b"}}));
        assert!(why.contains("is no YAML"), "{why}");
    }
}
