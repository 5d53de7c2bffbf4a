//! What is wrong with a ClusterClass.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::cluster::clusterclass::{ClusterClass, ClusterClassPatch, JsonPatch, Naming, PatchSelector};
use scute_api::cluster::topology::ClassTemplateRef;
use scute_kit::FieldError;

use crate::class::templates;
use crate::names;
use crate::patch::stands_for;
use crate::template::{self, Version};
use crate::variables;

/// What is wrong with a class, whoever uses it.
#[must_use]
pub fn check(class: &ClusterClass) -> Vec<FieldError> {
    let spec = &class.spec;
    let mut errors = Vec::new();
    for (field, reference) in templates(class) {
        if reference.kind.strip_suffix("Template").is_none_or(str::is_empty) {
            errors.push(FieldError::new(
                format!("{field}.kind"),
                &reference.kind,
                "must be a kind of templates: its name ends with Template",
            ));
        }
    }
    let workers = spec.machine_deployments().iter().map(|workers| ("machineDeployments", &workers.class));
    let pools = spec.machine_pools().iter().map(|workers| ("machinePools", &workers.class));
    let mut seen = BTreeSet::new();
    for (list, name) in workers.chain(pools) {
        if !seen.insert((list, name)) {
            errors.push(FieldError::new(
                format!("spec.workers.{list}"),
                name,
                "there is another class of this name",
            ));
        }
    }
    naming(spec.infrastructure.naming.as_ref(), "spec.infrastructure", false, &mut errors);
    naming(spec.control_plane.naming.as_ref(), "spec.controlPlane", false, &mut errors);
    for (at, workers) in spec.machine_deployments().iter().enumerate() {
        naming(workers.naming.as_ref(), &format!("spec.workers.machineDeployments[{at}]"), true, &mut errors);
    }
    if spec.control_plane.health_check.is_some() && spec.control_plane.machine_infrastructure.is_none() {
        errors.push(FieldError::new(
            "spec.controlPlane.healthCheck",
            "",
            "needs machineInfrastructure: only Machines have health",
        ));
    }
    versions(&spec.kubernetes_versions, &mut errors);
    errors.extend(variables::check_class(&spec.variables));
    let mut names = BTreeSet::new();
    for (at, patch) in spec.patches.iter().enumerate() {
        let path = format!("spec.patches[{at}]");
        if patch.name == "inline" || !names.insert(&patch.name) {
            errors.push(FieldError::new(
                format!("{path}.name"),
                &patch.name,
                "must be a name that no other patch has, and not inline",
            ));
        }
        check_patch(class, patch, &path, &mut errors);
    }
    errors
}

fn naming(naming: Option<&Naming>, path: &str, workers: bool, errors: &mut Vec<FieldError>) {
    let Some(template) = naming.and_then(|naming| naming.template.as_ref()) else { return };
    if let Some(why) = names::fault(template, workers) {
        errors.push(FieldError::new(format!("{path}.naming.template"), template, why));
    }
}

fn versions(versions: &[String], errors: &mut Vec<FieldError>) {
    let mut before: Option<Version> = None;
    for (at, text) in versions.iter().enumerate() {
        let mut wrong = |detail: String| {
            errors.push(FieldError::new(format!("spec.kubernetesVersions[{at}]"), text, detail));
        };
        let version = match Version::parse_whole(text) {
            Ok(version) if text.starts_with('v') => version,
            Ok(_) => {
                wrong("must begin with v".to_owned());
                continue;
            }
            Err(why) => {
                wrong(why);
                continue;
            }
        };
        if let Some(before) = &before {
            let order = version.order_with_build(before);
            if matches!(order, Some(Ordering::Less | Ordering::Equal)) {
                wrong(format!("must be newer than {before}, which stands before it"));
            }
            if version.major != before.major || version.minor > before.minor + 1 {
                wrong(format!("{before} stands before it: no minor may be missing between"));
            }
        }
        before = Some(version);
    }
}

fn check_patch(class: &ClusterClass, patch: &ClusterClassPatch, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(why) = patch.enabled_if.as_ref().and_then(|text| template::check(text).err()) {
        errors.push(FieldError::new(
            format!("{path}.enabledIf"),
            patch.enabled_if.clone().unwrap_or_default(),
            why,
        ));
    }
    if patch.definitions.is_empty() {
        errors.push(FieldError::new(format!("{path}.definitions"), "", "is required"));
    }
    for (at, definition) in patch.definitions.iter().enumerate() {
        let path = format!("{path}.definitions[{at}]");
        check_selector(class, &definition.selector, &format!("{path}.selector"), errors);
        for (at, change) in definition.json_patches.iter().enumerate() {
            check_change(class, change, &format!("{path}.jsonPatches[{at}]"), errors);
        }
    }
}

fn check_selector(class: &ClusterClass, selector: &PatchSelector, path: &str, errors: &mut Vec<FieldError>) {
    let (spec, matches) = (&class.spec, &selector.match_resources);
    let is = |reference: &ClassTemplateRef| {
        reference.kind == selector.kind && reference.api_version == selector.api_version
    };
    let named = format!("{} of {}", selector.kind, selector.api_version);
    let mut wrong = |field: String, value: &str, detail: String| {
        errors.push(FieldError::new(format!("{path}.matchResources{field}"), value, detail));
    };
    let (pools, workers) = (&matches.machine_pool_class, &matches.machine_deployment_class);
    let names = |names: &Option<scute_api::cluster::clusterclass::ClassNames>| {
        names.as_ref().is_some_and(|names| !names.names.is_empty())
    };
    let any = matches.infrastructure_cluster == Some(true)
        || matches.control_plane == Some(true)
        || names(workers)
        || names(pools);
    if !any {
        wrong(
            String::new(),
            "",
            "must match something: set controlPlane, infrastructureCluster or machineDeploymentClass.names"
                .to_owned(),
        );
    }
    if matches.infrastructure_cluster == Some(true) && !is(&spec.infrastructure.template_ref) {
        wrong(
            ".infrastructureCluster".to_owned(),
            "true",
            format!("the template of the infrastructure is no {named}"),
        );
    }
    let machines = spec.control_plane.machine_infrastructure.as_ref();
    if matches.control_plane == Some(true)
        && !is(&spec.control_plane.template_ref)
        && !machines.is_some_and(|holder| is(&holder.template_ref))
    {
        wrong(
            ".controlPlane".to_owned(),
            "true",
            format!("neither the control plane's template nor that of its Machines is a {named}"),
        );
    }
    let of_workers = spec.machine_deployments().iter().map(|workers| {
        (&workers.class, [&workers.bootstrap.template_ref, &workers.infrastructure.template_ref])
    });
    let of_pools = spec.machine_pools().iter().map(|workers| {
        (&workers.class, [&workers.bootstrap.template_ref, &workers.infrastructure.template_ref])
    });
    let lists = [
        ("machineDeploymentClass", workers, of_workers.collect::<Vec<_>>()),
        ("machinePoolClass", pools, of_pools.collect()),
    ];
    for (field, names, classes) in lists {
        for (at, name) in names.iter().flat_map(|names| &names.names).enumerate() {
            let field = format!(".{field}.names[{at}]");
            let stars = name.matches('*').count();
            if stars > 1 || (stars == 1 && !name.starts_with('*') && !name.ends_with('*')) {
                wrong(field, name, "may have one *, at the beginning or the end".to_owned());
                continue;
            }
            let mut meant = classes.iter().filter(|(class, _)| stands_for(name, class));
            if !meant.any(|(_, references)| references.iter().any(|reference| is(reference))) {
                wrong(field, name, format!("no such class has a template that is a {named}"));
            }
        }
    }
}

fn check_change(class: &ClusterClass, change: &JsonPatch, path: &str, errors: &mut Vec<FieldError>) {
    let mut wrong = |field: &str, value: &str, detail: String| {
        errors.push(FieldError::new(format!("{path}{field}"), value, detail));
    };
    if change.path != "/spec" && !change.path.starts_with("/spec/") {
        wrong(".path", &change.path, "must begin with /spec/".to_owned());
    }
    for part in change.path.split('/').skip(1) {
        let place = part == "-" || part.parse::<u64>().is_ok();
        if place && (change.op != "add" || !["0", "-"].contains(&part)) {
            wrong(
                ".path",
                &change.path,
                "of a list, only the beginning (0) and the end (-) can be added to: other items move"
                    .to_owned(),
            );
        }
    }
    if change.op == "remove" {
        return;
    }
    let from = match (&change.value, &change.value_from) {
        (Some(_), None) => return,
        (None, Some(from)) => from,
        (None, None) => return wrong("", "", "one of value and valueFrom is required".to_owned()),
        (Some(_), Some(_)) => return wrong("", "", "only one of value and valueFrom is possible".to_owned()),
    };
    match (&from.variable, &from.template) {
        (Some(_), Some(_)) => {
            wrong(".valueFrom", "", "only one of variable and template is possible".to_owned())
        }
        (None, None) => wrong(".valueFrom", "", "one of variable and template is required".to_owned()),
        (None, Some(text)) => {
            if let Err(why) = template::check(text) {
                wrong(".valueFrom.template", text, why);
            }
        }
        (Some(variable), None) => match variables::root(variable) {
            Ok(name) if name == "builtin" || class.spec.variables.iter().any(|known| known.name == name) => {}
            Ok(name) => wrong(".valueFrom.variable", variable, format!("the class has no variable {name}")),
            Err(why) => wrong(".valueFrom.variable", variable, why),
        },
    }
}

/// What of a change breaks a Cluster that uses the class.
#[must_use]
pub fn check_users(old: &ClusterClass, new: &ClusterClass, users: &[Arc<Cluster>]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for cluster in users {
        let Some(topology) = &cluster.spec.topology else { continue };
        let (name, spec) = (cluster.name_any(), &new.spec);
        if !spec.kubernetes_versions.is_empty() && !spec.kubernetes_versions.contains(&topology.version) {
            let detail = format!("Cluster {name} has this version: it must stay in the list");
            errors.push(FieldError::new("spec.kubernetesVersions", &topology.version, detail));
        }
        let own = topology.control_plane.as_ref().and_then(|part| part.health_check.as_ref());
        let needs = own.is_some_and(|check| {
            check.enabled == Some(true) && check.checks.is_none() && check.remediation.is_none()
        });
        if needs && old.spec.control_plane.health_check.is_some() && spec.control_plane.health_check.is_none()
        {
            let detail = format!("cannot be removed: Cluster {name} enables it");
            errors.push(FieldError::new("spec.controlPlane.healthCheck", "", detail));
        }
        for part in topology.machine_deployments() {
            let was = old.spec.machine_deployments().iter().find(|class| class.class == part.class);
            let is = spec.machine_deployments().iter().find(|class| class.class == part.class);
            if was.is_some() && is.is_none() {
                let detail = format!(
                    "cannot be removed: MachineDeployment {} of Cluster {name} is of this class",
                    part.name
                );
                errors.push(FieldError::new("spec.workers.machineDeployments", &part.class, detail));
            }
            let own = part.health_check.as_ref();
            let needs = own.is_some_and(|check| {
                check.enabled == Some(true) && check.checks.is_none() && check.remediation.is_none()
            });
            let (Some(was), Some(is)) = (was, is) else { continue };
            if needs && was.health_check.is_some() && is.health_check.is_none() {
                let detail = format!(
                    "cannot be removed: MachineDeployment {} of Cluster {name} enables it",
                    part.name
                );
                errors.push(FieldError::new(
                    format!("spec.workers.machineDeployments[{}].healthCheck", is.class),
                    "",
                    detail,
                ));
            }
        }
    }
    errors.dedup();
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn class(changes: &[(&str, Value)]) -> ClusterClass {
        let group = "infrastructure.cluster.x-k8s.io/v1";
        let template = |kind: &str| json!({"templateRef": {"apiVersion": group, "kind": kind, "name": "t"}});
        let mut object = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "ClusterClass", "metadata": {"name": "c"},
            "spec": {"infrastructure": template("TestClusterTemplate"), "controlPlane": template("TestControlPlaneTemplate"),
                "workers": {"machineDeployments": [{"class": "w", "bootstrap": template("TestConfigTemplate"),
                    "infrastructure": template("TestMachineTemplate")}]}}});
        for (path, value) in changes {
            let (parent, key) = path.rsplit_once('/').expect("a path");
            object.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"))[key] = value.clone();
        }
        serde_json::from_value(object).expect("a class")
    }

    fn patch(selector: Value, change: Value) -> (&'static str, Value) {
        let mut selector = selector;
        selector["apiVersion"] = json!("infrastructure.cluster.x-k8s.io/v1");
        (
            "/spec/patches",
            json!([{"name": "p", "definitions": [{"selector": selector, "jsonPatches": [change]}]}]),
        )
    }

    #[test]
    fn a_class_that_no_cluster_could_use_is_refused() {
        let machines = json!({"kind": "TestMachineTemplate", "matchResources": {"machineDeploymentClass": {"names": ["*"]}}});
        let add = |path: &str, rest: Value| {
            let mut change = json!({"op": "add", "path": path});
            change.as_object_mut().expect("a change").extend(rest.as_object().expect("fields").clone());
            change
        };
        let with = |change: Value| patch(machines.clone(), change);
        let cases = [
            (("/spec/infrastructure/templateRef/kind", json!("TestCluster")), "its name ends with Template"),
            (
                ("/spec/infrastructure/naming", json!({"template": "{{ .nobody }}"})),
                "spec.infrastructure.naming.template",
            ),
            (
                ("/spec/workers/machineDeployments/0/naming", json!({"template": "X-{{ .random }}"})),
                "no name of an object",
            ),
            (
                ("/spec/controlPlane/healthCheck", json!({"checks": {"nodeStartupTimeoutSeconds": 1}})),
                "needs machineInfrastructure",
            ),
            (("/spec/kubernetesVersions", json!(["v1.34.0", "latest"])), "spec.kubernetesVersions[1]"),
            (("/spec/kubernetesVersions", json!(["v1.34.0", "v1.33.0"])), "must be newer than v1.34.0"),
            (("/spec/kubernetesVersions", json!(["v1.33.0", "v1.35.0"])), "no minor may be missing"),
            (with(add("/metadata/labels/a", json!({"value": 1}))), "must begin with /spec/"),
            (with(add("/spec/template/spec/list/3", json!({"value": 1}))), "of a list, only the beginning"),
            (with(add("/spec/a", json!({}))), "one of value and valueFrom"),
            (
                with(add("/spec/a", json!({"value": null, "valueFrom": {"variable": "x"}}))),
                "only one of value and valueFrom",
            ),
            (with(add("/spec/a", json!({"valueFrom": {"variable": "x.y"}}))), "the class has no variable x"),
            (with(add("/spec/a", json!({"valueFrom": {"template": "{{ .x "}}))), "valueFrom.template"),
            (
                with(add("/spec/a", json!({"valueFrom": {"template": "{{ env \"HOME\" }}"}}))),
                "there is no function env",
            ),
            (
                patch(
                    json!({"kind": "TestMachineTemplate", "matchResources": {"controlPlane": true}}),
                    add("/spec/a", json!({"value": 1})),
                ),
                "neither the control plane's template",
            ),
            (
                patch(
                    json!({"kind": "TestMachineTemplate", "matchResources": {"controlPlane": false}}),
                    add("/spec/a", json!({"value": 1})),
                ),
                "must match something",
            ),
            (
                patch(
                    json!({"kind": "TestMachineTemplate", "matchResources": {"machineDeploymentClass": {"names": ["x"]}}}),
                    add("/spec/a", json!({"value": 1})),
                ),
                "no such class",
            ),
        ];
        for (change, want) in cases {
            let faults: Vec<_> =
                check(&class(std::slice::from_ref(&change))).iter().map(ToString::to_string).collect();
            assert!(faults.iter().any(|fault| fault.contains(want)), "{want:?} is missing in {faults:?}");
        }
        let good =
            with(add("/spec/template/spec/a", json!({"valueFrom": {"variable": "builtin.cluster.name"}})));
        assert!(check(&class(&[good])).is_empty());
    }

    #[test]
    fn what_a_cluster_uses_stays_in_its_class() {
        let cluster: Cluster = serde_json::from_value(json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": "mine"}, "spec": {"topology": {"classRef": {"name": "c"}, "version": "v1.34.0",
                "workers": {"machineDeployments": [{"class": "w", "name": "a"}]}}}}))
        .expect("a Cluster");
        let users = [Arc::new(cluster)];
        let without = class(&[("/spec/workers", json!(null))]);
        let faults = check_users(&class(&[]), &without, &users);
        assert!(faults[0].to_string().contains("MachineDeployment a of Cluster mine"), "{faults:?}");
        let newer = class(&[("/spec/kubernetesVersions", json!(["v1.35.0"]))]);
        assert!(check_users(&class(&[]), &newer, &users)[0].to_string().contains("v1.34.0"));
        assert!(check_users(&class(&[]), &class(&[]), &users).is_empty());
    }
}
