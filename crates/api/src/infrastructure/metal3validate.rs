//! What the webhook says of the kinds of Metal3's provider. Pure.

mod datatemplate;

pub use datatemplate::{is_mac, validate_data_template, validate_data_template_change};

use super::{
    Metal3Cluster, Metal3ClusterSpec, Metal3ClusterTemplate, Metal3Data, Metal3DataClaim, Metal3Machine,
    Metal3MachineSpec, Metal3MachineTemplate, Metal3ObjectRef, Metal3Remediation, Metal3RemediationSpec,
    Metal3RemediationTemplate,
};
use crate::invalid::Invalid;
use crate::metal3::{Image, check_custom_deploy, check_image};

/// Everything that is wrong with a Metal3Cluster. An empty endpoint is right: a hosted control plane fills it in.
#[must_use]
pub fn validate_metal3_cluster(cluster: &Metal3Cluster) -> Vec<Invalid> {
    cluster_spec("spec", &cluster.spec)
}

/// Everything that is wrong with a Metal3ClusterTemplate.
#[must_use]
pub fn validate_metal3_cluster_template(template: &Metal3ClusterTemplate) -> Vec<Invalid> {
    cluster_spec("spec.template.spec", &template.spec.template.spec)
}

fn cluster_spec(path: &str, spec: &Metal3ClusterSpec) -> Vec<Invalid> {
    let endpoint = spec.control_plane_endpoint.clone().unwrap_or_default();
    let field = match (endpoint.host.is_empty(), endpoint.port == 0) {
        (false, true) => "port",
        (true, false) => "host",
        _ => return Vec::new(),
    };
    let detail = "is needed beside the other: leave both out, and a hosted control plane fills them in";
    vec![Invalid::new(format!("{path}.controlPlaneEndpoint.{field}"), "", detail)]
}

/// Everything that is wrong with a Metal3Machine.
#[must_use]
pub fn validate_metal3_machine(machine: &Metal3Machine) -> Vec<Invalid> {
    let mut bad = machine_spec("spec", &machine.spec);
    let spec = &machine.spec;
    for (field, secret) in
        [("userData", &spec.user_data), ("metaData", &spec.meta_data), ("networkData", &spec.network_data)]
    {
        let namespace = secret.as_ref().and_then(|secret| secret.namespace.as_deref());
        own_namespace(&format!("spec.{field}"), namespace, machine.metadata.namespace.as_deref(), &mut bad);
    }
    bad
}

/// Everything that is wrong with a Metal3MachineTemplate.
#[must_use]
pub fn validate_metal3_machine_template(template: &Metal3MachineTemplate) -> Vec<Invalid> {
    machine_spec("spec.template.spec", &template.spec.template.spec)
}

fn machine_spec(path: &str, spec: &Metal3MachineSpec) -> Vec<Invalid> {
    let mut bad = Vec::new();
    match (&spec.image, &spec.custom_deploy) {
        (Some(image), _) => {
            check_image(&format!("{path}.image"), "diskFormat", &Image::from(image), &mut bad)
        }
        (None, None) => bad.push(Invalid::new(format!("{path}.image"), "", "is needed")),
        (None, Some(_)) => {}
    }
    check_custom_deploy(path, spec.custom_deploy.as_ref(), &mut bad);
    if let Some(Err(error)) = spec.host_selector.as_ref().map(super::HostSelector::selector) {
        let expressions = spec.host_selector.iter().flat_map(|selector| &selector.match_expressions);
        let value = expressions.into_iter().nth(error.index).map(|expression| match error.field {
            "operator" => expression.operator.clone(),
            _ => expression.values.join(","),
        });
        let field = format!("{path}.hostSelector.matchExpressions[{}].{}", error.index, error.field);
        bad.push(Invalid::new(field, value.unwrap_or_default(), error.detail));
    }
    bad
}

fn own_namespace(path: &str, namespace: Option<&str>, own: Option<&str>, bad: &mut Vec<Invalid>) {
    let namespace = namespace.unwrap_or_default();
    if !namespace.is_empty() && Some(namespace) != own {
        let detail = "must be the namespace of the object itself, or nothing";
        bad.push(Invalid::new(format!("{path}.namespace"), namespace, detail));
    }
}

/// Everything that is wrong with a Metal3DataClaim.
#[must_use]
pub fn validate_data_claim(claim: &Metal3DataClaim) -> Vec<Invalid> {
    let mut bad = Vec::new();
    let template = claim.spec.template.clone().unwrap_or_default();
    if template.name.unwrap_or_default().is_empty() {
        bad.push(Invalid::new("spec.template.name", "", "is needed"));
    }
    own_namespace(
        "spec.template",
        template.namespace.as_deref(),
        claim.metadata.namespace.as_deref(),
        &mut bad,
    );
    bad
}

/// Everything that is wrong with a change of a Metal3DataClaim, and with the claim as it becomes.
#[must_use]
pub fn validate_data_claim_change(old: &Metal3DataClaim, new: &Metal3DataClaim) -> Vec<Invalid> {
    let mut bad = validate_data_claim(new);
    same("spec.template", old.spec.template.as_ref(), new.spec.template.as_ref(), &mut bad);
    bad
}

/// Everything that is wrong with a Metal3Data.
#[must_use]
pub fn validate_data(data: &Metal3Data) -> Vec<Invalid> {
    let template = data.spec.template.as_ref().and_then(|template| template.name.as_deref());
    let (Some(template), Some(index)) = (template, data.spec.index) else { return Vec::new() };
    let (name, right) = (data.metadata.name.as_deref().unwrap_or_default(), format!("{template}-{index}"));
    if name == right {
        return Vec::new();
    }
    vec![Invalid::new("metadata.name", name, format!("must be {right}: template and index"))]
}

/// Everything that is wrong with a change of a Metal3Data, and with it as it becomes.
#[must_use]
pub fn validate_data_change(old: &Metal3Data, new: &Metal3Data) -> Vec<Invalid> {
    let mut bad = validate_data(new);
    if old.spec.index != new.spec.index {
        let index = |index: Option<i32>| index.map(|index| index.to_string()).unwrap_or_default();
        let detail = format!("cannot be changed: it is {}", index(old.spec.index));
        bad.push(Invalid::new("spec.index", index(new.spec.index), detail));
    }
    same("spec.template", old.spec.template.as_ref(), new.spec.template.as_ref(), &mut bad);
    same("spec.claim", old.spec.claim.as_ref(), new.spec.claim.as_ref(), &mut bad);
    bad
}

fn same(path: &str, old: Option<&Metal3ObjectRef>, new: Option<&Metal3ObjectRef>, bad: &mut Vec<Invalid>) {
    let what = |reference: Option<&Metal3ObjectRef>| {
        let reference = reference.cloned().unwrap_or_default();
        format!("{}/{}", reference.namespace.unwrap_or_default(), reference.name.unwrap_or_default())
    };
    if what(old) != what(new) {
        bad.push(Invalid::new(path, what(new), format!("cannot be changed: it is {}", what(old))));
    }
}

/// Everything that is wrong with a Metal3Remediation.
#[must_use]
pub fn validate_remediation(remediation: &Metal3Remediation) -> Vec<Invalid> {
    strategy("spec", &remediation.spec)
}

/// Everything that is wrong with a Metal3RemediationTemplate.
#[must_use]
pub fn validate_remediation_template(template: &Metal3RemediationTemplate) -> Vec<Invalid> {
    strategy("spec.template.spec", &template.spec.template.spec)
}

/// The schema says the same of v1beta2; an object of v1beta1 passes another one.
fn strategy(path: &str, spec: &Metal3RemediationSpec) -> Vec<Invalid> {
    let mut bad = Vec::new();
    let Some(strategy) = &spec.strategy else { return bad };
    if strategy.timeout_seconds < 100 {
        let detail = "must be at least 100: a server takes that long to start";
        bad.push(Invalid::new(format!("{path}.strategy.timeoutSeconds"), strategy.timeout_seconds, detail));
    }
    if strategy.retry_limit < 1 {
        bad.push(Invalid::new(
            format!("{path}.strategy.retryLimit"),
            strategy.retry_limit,
            "must be at least 1",
        ));
    }
    bad
}

#[cfg(test)]
mod tests;
