//! ClusterClass: says which variables Clusters can use, and holds the templates that it names.

use std::sync::Arc;

use kube::ResourceExt;
use kube::api::DynamicObject;
use scute_api::cluster::clusterclass::{
    ClusterClass, ClusterClassStatus, ClusterClassStatusVariable, VariableDefinition,
};
use scute_api::cluster::topology::ClassTemplateRef;
use scute_api::meta::{ContractRef, PAUSED_ANNOTATION};
use scute_contract::owners::{owner, with_owner};
use scute_contract::{Externals, Found, named, paused};
use scute_kit::conditions::{Conditions, Draft, Status};
use scute_kit::{Controller, Error, Hub, Key, Next, Why};
use serde_json::json;

use crate::variables::check_class;

/// What the controller works with.
pub struct Context {
    hub: Arc<Hub>,
    externals: Externals,
}

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>) {
    let (externals, woken) = Externals::new(&hub);
    let context = Context { hub: Arc::clone(&hub), externals };
    Controller::<ClusterClass>::new("clusterclass", &hub).on(woken).run(Arc::new(context), reconcile).await;
}

/// The templates that a class names, with the fields that name them.
#[must_use]
pub fn templates(class: &ClusterClass) -> Vec<(String, &ClassTemplateRef)> {
    let spec = &class.spec;
    let mut all = vec![
        ("spec.infrastructure.templateRef".to_owned(), &spec.infrastructure.template_ref),
        ("spec.controlPlane.templateRef".to_owned(), &spec.control_plane.template_ref),
    ];
    if let Some(holder) = &spec.control_plane.machine_infrastructure {
        all.push(("spec.controlPlane.machineInfrastructure.templateRef".to_owned(), &holder.template_ref));
    }
    for (at, workers) in spec.machine_deployments().iter().enumerate() {
        let field = |part: &str| format!("spec.workers.machineDeployments[{at}].{part}.templateRef");
        all.push((field("bootstrap"), &workers.bootstrap.template_ref));
        all.push((field("infrastructure"), &workers.infrastructure.template_ref));
    }
    all
}

/// Looks at one class.
async fn reconcile(class: Arc<ClusterClass>, context: Arc<Context>) -> Next {
    let key = Key::of(class.as_ref());
    if class.metadata.deletion_timestamp.is_some() {
        context.externals.forget(&key);
        return Next::Settled;
    }
    if let Some(why) = paused::paused_by(None, class.as_ref(), &[PAUSED_ANNOTATION]) {
        return paused::pause(&context.hub, class.as_ref(), why).await;
    }
    let mut found = Vec::new();
    for (field, reference) in templates(&class) {
        let looked = ContractRef {
            api_group: reference.group().to_owned(),
            kind: reference.kind.clone(),
            name: reference.name.clone(),
        };
        let one = context.externals.get(&key, &key.namespace, &looked).await;
        found.push((field, reference, looked, one));
    }
    let mut next = Next::Settled;
    for (_, _, reference, found) in &found {
        if let Some(external) = found.object()
            && !external.is_deleting()
            && let Err(error) = hold(&class, &external.object, &external.served.resource, &context.hub).await
        {
            let why = format!("{} cannot be made the ClusterClass's: {error}", named(reference));
            next = Next::Failed(Why::new("TemplateNotOwned", why));
        }
    }
    let drafts = [variables_ready(&class), ref_versions(&found)];
    let before = class.status.clone().unwrap_or_default();
    let conditions = Conditions::new(&before.conditions, class.metadata.generation, context.hub.now());
    let status = ClusterClassStatus {
        conditions: paused::put(conditions.put_all(drafts), None).finish(),
        variables: variables(&class),
        observed_generation: class.metadata.generation,
        deprecated: None,
    };
    context.hub.report(class.as_ref(), json!(status), next).await
}

/// A template goes with its class, and is moved with it.
async fn hold(
    class: &ClusterClass,
    template: &DynamicObject,
    resource: &kube::api::ApiResource,
    hub: &Hub,
) -> Result<(), Error> {
    let want = owner(class, false);
    let existing = template.metadata.owner_references.clone().unwrap_or_default();
    if existing.contains(&want) {
        return Ok(());
    }
    let patch = json!({"metadata": {"ownerReferences": with_owner(&existing, &want),
        "resourceVersion": template.resource_version()}});
    let key = Key::new(template.namespace().unwrap_or_default(), template.name_any());
    match hub.patch_dynamic(resource, &key, None, &patch).await {
        // Its newer copy wakes us.
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

fn variables_ready(class: &ClusterClass) -> Draft {
    const TYPE: &str = "VariablesReady";
    match check_class(&class.spec.variables).first() {
        None => Draft::new(TYPE, Status::True, "VariablesReady", ""),
        Some(wrong) => Draft::new(TYPE, Status::False, "VariableDiscoveryFailed", wrong.to_string()),
    }
}

/// Whether the class names the versions by which its templates are read elsewhere.
fn ref_versions(found: &[(String, &ClassTemplateRef, ContractRef, Found)]) -> Draft {
    const TYPE: &str = "RefVersionsUpToDate";
    let missing = found.iter().find_map(|(field, _, reference, found)| {
        let absence = found.absence(reference, "ClusterClass", false)?;
        Some(format!("{field}: {}", absence.message))
    });
    if let Some(missing) = missing {
        return Draft::new(TYPE, Status::Unknown, "InternalError", missing);
    }
    let older: Vec<_> = found
        .iter()
        .filter_map(|(field, reference, _, found)| {
            let newest = &found.object()?.served.resource.api_version;
            (*newest != reference.api_version)
                .then(|| format!("* {field}: {} should be {newest}", reference.api_version))
        })
        .collect();
    match older.is_empty() {
        true => Draft::new(TYPE, Status::True, "RefVersionsUpToDate", ""),
        false => Draft::new(TYPE, Status::False, "RefVersionsNotUpToDate", older.join("\n")),
    }
}

fn variables(class: &ClusterClass) -> Vec<ClusterClassStatusVariable> {
    let all = class.spec.variables.iter().map(|variable| ClusterClassStatusVariable {
        name: variable.name.clone(),
        definitions_conflict: Some(false),
        definitions: vec![VariableDefinition {
            from: "inline".to_owned(),
            required: Some(variable.required),
            deprecated_v1beta1_metadata: variable.deprecated_v1beta1_metadata.clone(),
            schema: variable.schema.clone(),
        }],
    });
    all.collect()
}
