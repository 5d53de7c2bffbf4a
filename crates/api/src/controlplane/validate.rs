//! What the schema of KubeadmControlPlanes cannot check, what may change in one, and what is filled in. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    KubeadmControlPlane, KubeadmControlPlaneMachineNamingSpec, KubeadmControlPlaneRolloutSpec,
    KubeadmControlPlaneTemplate, KubeadmControlPlaneTemplateResourceSpec, SKIP_COREDNS_ANNOTATION,
};
use crate::Invalid;
use crate::bootstrap::{ClusterConfiguration, KubeadmConfigSpec, validate_kubeadm_config_spec};

/// How long a CA is valid that nobody said more of.
const CA_DAYS: i32 = 3650;

/// A KubeadmControlPlane with what its user left out.
#[must_use]
pub fn default_kubeadm_control_plane(given: &KubeadmControlPlane) -> KubeadmControlPlane {
    let mut filled = given.clone();
    let spec = &mut filled.spec;
    spec.replicas.get_or_insert(1);
    if !spec.version.is_empty() && !spec.version.starts_with('v') {
        spec.version.insert(0, 'v');
    }
    let strategy = spec.rollout.get_or_insert_default().strategy.get_or_insert_default();
    strategy.rolling_update.get_or_insert_default().max_surge.get_or_insert(IntOrString::Int(1));
    filled
}

/// The rules of a KubeadmControlPlane.
#[must_use]
pub fn validate_kubeadm_control_plane(kcp: &KubeadmControlPlane) -> Vec<Invalid> {
    let spec = &kcp.spec;
    let mut bad = Vec::new();
    if numbers(&spec.version).is_none() {
        let detail = "must be a semantic version such as v1.35.4";
        bad.push(Invalid::new("spec.version", &spec.version, detail));
    }
    let config = spec.kubeadm_config_spec.clone().unwrap_or_default();
    bad.extend(rollout(spec.rollout.as_ref(), &config, spec.replicas, "spec"));
    bad.extend(naming(spec.machine_naming.as_ref(), "spec"));
    bad.extend(configuration(&config, "spec.kubeadmConfigSpec"));
    let taints = spec.machine_template.spec.taints.iter().enumerate();
    bad.extend(taints.filter_map(|(index, taint)| {
        let path = format!("spec.machineTemplate.spec.taints[{index}].key");
        Some(Invalid::new(path, &taint.key, taint.fault(false)?))
    }));
    bad
}

/// The rules of a change: upstream's list of what may be changed, turned round.
#[must_use]
pub fn validate_kubeadm_control_plane_change(
    old: &KubeadmControlPlane,
    new: &KubeadmControlPlane,
) -> Vec<Invalid> {
    let mut bad = validate_kubeadm_control_plane(new);
    let path = "spec.kubeadmConfigSpec";
    let at = |kcp: &KubeadmControlPlane, field: &str| {
        json!(kcp.spec).pointer(&format!("/kubeadmConfigSpec{field}")).cloned().unwrap_or(Value::Null)
    };
    // Taken away as a whole they take more away than may be.
    for field in ["", "/clusterConfiguration", "/initConfiguration", "/joinConfiguration"] {
        if !at(old, field).is_null() && at(new, field).is_null() {
            bad.push(Invalid::new(format!("{path}{}", field.replace('/', ".")), "", "cannot be taken away"));
        }
    }
    for field in ["controlPlaneEndpoint", "certificatesDir", "caCertificateValidityPeriodDays"] {
        let (before, after) = (
            at(old, &format!("/clusterConfiguration/{field}")),
            at(new, &format!("/clusterConfiguration/{field}")),
        );
        if before != after {
            let field = format!("{path}.clusterConfiguration.{field}");
            bad.push(Invalid::new(
                field,
                after.as_str().map_or_else(|| after.to_string(), ToOwned::to_owned),
                "cannot be modified",
            ));
        }
    }
    let external = |kcp| !at(kcp, "/clusterConfiguration/etcd/external").is_null();
    if external(old) != external(new) {
        let field = format!("{path}.clusterConfiguration.etcd.external");
        bad.push(Invalid::new(field, "", "cannot change between external and local etcd"));
    }
    bad.extend(versions(old, new));
    bad
}

/// No minor version is left out, and CoreDNS does not go back.
fn versions(old: &KubeadmControlPlane, new: &KubeadmControlPlane) -> Vec<Invalid> {
    let mut bad = Vec::new();
    if let (Some(from), Some(to)) = (numbers(&old.spec.version), numbers(&new.spec.version))
        && (to[0], to[1]) > (from[0], from[1] + 1)
    {
        let detail = format!(
            "cannot update Kubernetes version from {} to {}: at most one minor version at a time",
            old.spec.version, new.spec.version
        );
        bad.push(Invalid::new("spec.version", &new.spec.version, detail));
    }
    let tag = |kcp: &KubeadmControlPlane| {
        let configuration = kcp.spec.kubeadm_config_spec.as_ref()?.cluster_configuration.as_ref()?;
        configuration.dns.as_ref()?.image_tag.clone()
    };
    if let (Some(before), Some(after)) = (tag(old), tag(new))
        && let (Some(from), Some(to)) = (tolerant(&before), tolerant(&after))
        && to < from
        && !new.annotations().contains_key(SKIP_COREDNS_ANNOTATION)
    {
        let field = "spec.kubeadmConfigSpec.clusterConfiguration.dns.imageTag";
        let detail = format!("cannot migrate CoreDNS from {before} back to {after}");
        bad.push(Invalid::new(field, &after, detail));
    }
    bad
}

/// The rules of a KubeadmControlPlaneTemplate.
#[must_use]
pub fn validate_kubeadm_control_plane_template(template: &KubeadmControlPlaneTemplate) -> Vec<Invalid> {
    let Some(spec) = resource(template) else { return Vec::new() };
    let config = spec.kubeadm_config_spec.clone().unwrap_or_default();
    let path = "spec.template.spec";
    let mut bad = rollout(spec.rollout.as_ref(), &config, None, path);
    bad.extend(naming(spec.machine_naming.as_ref(), path));
    bad.extend(configuration(&config, &format!("{path}.kubeadmConfigSpec")));
    bad
}

/// A template stays what it is: a ClusterClass names another.
#[must_use]
pub fn validate_kubeadm_control_plane_template_change(
    old: &KubeadmControlPlaneTemplate,
    new: &KubeadmControlPlaneTemplate,
) -> Vec<Invalid> {
    let mut bad = validate_kubeadm_control_plane_template(new);
    if resource(old) != resource(new) {
        let detail = "cannot be modified: make another KubeadmControlPlaneTemplate";
        bad.push(Invalid::new("spec.template.spec", "", detail));
    }
    bad
}

fn resource(template: &KubeadmControlPlaneTemplate) -> Option<&KubeadmControlPlaneTemplateResourceSpec> {
    template.spec.spec.as_ref()?.template.spec.as_ref()
}

fn rollout(
    given: Option<&KubeadmControlPlaneRolloutSpec>,
    config: &KubeadmConfigSpec,
    replicas: Option<i32>,
    path: &str,
) -> Vec<Invalid> {
    let mut bad = Vec::new();
    let strategy = given.and_then(|given| given.strategy.as_ref());
    let surge = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_surge.as_ref());
    let is_none = match surge {
        Some(IntOrString::Int(surge)) => *surge == 0,
        Some(IntOrString::String(surge)) => surge == "0",
        None => false,
    };
    if is_none && replicas.is_some_and(|replicas| replicas < 3) {
        let detail =
            "with maxSurge 0 a Machine goes before its replacement comes: replicas must be at least 3";
        bad.push(Invalid::new(format!("{path}.rollout.strategy.rollingUpdate.maxSurge"), 0, detail));
    }
    let certificates = config.cluster_configuration.clone().unwrap_or_default();
    let Some(days) = certificates.certificate_validity_period_days else { return bad };
    let most = certificates.ca_certificate_validity_period_days.unwrap_or(CA_DAYS);
    if days > most {
        let field = format!("{path}.kubeadmConfigSpec.clusterConfiguration.certificateValidityPeriodDays");
        let detail = format!("must be at most caCertificateValidityPeriodDays ({most})");
        bad.push(Invalid::new(field, days, detail));
    }
    let before = given.and_then(|given| given.before.as_ref()?.certificates_expiry_days);
    if let Some(before) = before.filter(|before| *before >= days) {
        let field = format!("{path}.rollout.before.certificatesExpiryDays");
        bad.push(Invalid::new(
            field,
            before,
            format!("must be less than certificateValidityPeriodDays ({days})"),
        ));
    }
    bad
}

/// A template of names: `{{ .random }}` must be in it, and nothing that nobody fills in.
fn naming(given: Option<&KubeadmControlPlaneMachineNamingSpec>, path: &str) -> Vec<Invalid> {
    const KNOWN: [&str; 3] = [".cluster.name", ".kubeadmControlPlane.name", ".random"];
    let Some(template) = given.and_then(|given| given.template.as_deref()) else { return Vec::new() };
    let refuse =
        |detail: String| vec![Invalid::new(format!("{path}.machineNaming.template"), template, detail)];
    let mut name = String::new();
    let mut random = false;
    let mut rest = template;
    while let Some((text, after)) = rest.split_once("{{") {
        let Some((field, after)) = after.split_once("}}") else { return refuse("a {{ has no }}".to_owned()) };
        let field = field.trim();
        if !KNOWN.contains(&field) {
            return refuse(format!("{field} is not known: there are {}", KNOWN.join(", ")));
        }
        random |= field == ".random";
        name.push_str(text);
        name.push('x');
        rest = after;
    }
    name.push_str(rest);
    if !random {
        return refuse("{{ .random }} is missing: names would not be different".to_owned());
    }
    let letters = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let part =
        |part: &str| !part.is_empty() && letters(part) && !part.starts_with('-') && !part.ends_with('-');
    if !name.split('.').all(part) {
        return refuse(
            "generated names would not be names of objects: lower case letters, digits, '-' and '.' are"
                .to_owned(),
        );
    }
    Vec::new()
}

fn configuration(config: &KubeadmConfigSpec, path: &str) -> Vec<Invalid> {
    let mut bad = validate_kubeadm_config_spec(config, path);
    if let Some(given) = &config.cluster_configuration {
        bad.extend(images(given, &format!("{path}.clusterConfiguration")));
    }
    let init = config.init_configuration.as_ref().and_then(|init| init.timeouts.as_ref());
    let join = config.join_configuration.as_ref().and_then(|join| join.timeouts.as_ref());
    let seconds = |timeouts: Option<&crate::bootstrap::Timeouts>| {
        timeouts.and_then(|timeouts| timeouts.control_plane_component_health_check_seconds)
    };
    if seconds(init) != seconds(join) {
        let say =
            |seconds: Option<i32>| seconds.map_or_else(|| "unset".to_owned(), |seconds| seconds.to_string());
        let (init, join) = (say(seconds(init)), say(seconds(join)));
        let detail = format!(
            "must be the same in initConfiguration.timeouts ({init}) and in joinConfiguration.timeouts ({join})"
        );
        for (place, value) in [("initConfiguration", &init), ("joinConfiguration", &join)] {
            let field = format!("{path}.{place}.timeouts.controlPlaneComponentHealthCheckSeconds");
            bad.push(Invalid::new(field, value, &detail));
        }
    }
    bad
}

fn images(given: &ClusterConfiguration, path: &str) -> Vec<Invalid> {
    let mut bad = Vec::new();
    let dns = given.dns.as_ref().and_then(|dns| dns.image_tag.as_deref());
    let etcd = given.etcd.as_ref();
    let local = etcd.and_then(|etcd| etcd.local.as_ref()?.image_tag.as_deref());
    for (field, tag) in [("dns.imageTag", dns), ("etcd.local.imageTag", local)] {
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            let detail = "is not the tag of an image: letters, digits, '_', '.' and '-', 128 at most";
            bad.push(Invalid::new(format!("{path}.{field}"), tag, detail));
        }
    }
    if let Some(tag) = dns.filter(|tag| is_tag(tag) && tolerant(tag).is_none()) {
        let detail = "is not a version of CoreDNS, such as v1.13.1";
        bad.push(Invalid::new(format!("{path}.dns.imageTag"), tag, detail));
    }
    if etcd.is_some_and(|etcd| etcd.local.is_some() && etcd.external.is_some()) {
        bad.push(Invalid::new(format!("{path}.etcd.local"), "", "cannot have both external and local etcd"));
    }
    bad
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// The three numbers of a version with all of them; a leading `v` may be left out.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let rest = version.strip_prefix('v').unwrap_or(version);
    let core =
        rest.split_once(['-', '+']).map_or(rest, |(core, suffix)| if suffix.is_empty() { "" } else { core });
    let mut parts = core.split('.').map(number);
    let all = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(all)
}

/// As [`numbers`], where the tag of an image may leave some out.
fn tolerant(tag: &str) -> Option<[u32; 3]> {
    let rest = tag.strip_prefix('v').unwrap_or(tag);
    let core = rest.split_once(['-', '+', '_']).map_or(rest, |(core, _)| core);
    let mut all = [0; 3];
    for (at, part) in core.split('.').enumerate() {
        *all.get_mut(at)? = number(part)?;
    }
    Some(all)
}

fn number(text: &str) -> Option<u32> {
    let plain = text == "0" || !text.starts_with('0');
    (plain && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
