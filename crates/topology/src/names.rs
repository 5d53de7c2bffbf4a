//! Names of what a topology makes. What is random upstream follows here from the Cluster's uid and what the object is for:
//! who is killed in between, or tries again, finds what was made.

use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::cluster::clusterclass::Naming;
use scute_api::naming::{child, suffix};
use serde_json::{Value, json};

use crate::template::{Missing, check, render};

/// The longest name of an object of a topology.
const LONGEST: usize = 63;

/// Five letters for an object of a Cluster.
#[must_use]
pub fn random(cluster: &Cluster, what: &str) -> String {
    suffix(&format!("{}/{what}", cluster.uid().unwrap_or_default()))
}

/// The name by a template of the class, or by upstream's own.
///
/// # Errors
/// Why the template makes none.
pub fn by_template(
    cluster: &Cluster,
    naming: Option<&Naming>,
    what: &str,
    topology_name: Option<&str>,
) -> Result<String, String> {
    let own = naming.and_then(|naming| naming.template.as_deref());
    let usual = match topology_name {
        Some(_) => "{{ .cluster.name }}-{{ .machineDeployment.topologyName }}-{{ .random }}",
        None => "{{ .cluster.name }}-{{ .random }}",
    };
    let random = random(cluster, what);
    let mut data = json!({"cluster": {"name": cluster.name_any()}, "random": random});
    if let Some(name) = topology_name {
        data["machineDeployment"] = json!({ "topologyName": name });
    }
    named(own.unwrap_or(usual), &data, &random)
}

fn named(template: &str, data: &Value, random: &str) -> Result<String, String> {
    let name = render(template, data, Missing::Error)?;
    let name = if name.len() > LONGEST { child(&name, random) } else { name };
    match is_name(&name) {
        true => Ok(name),
        false => Err(format!("the template {template:?} makes {name:?}, which is no name of an object")),
    }
}

/// What is wrong with a template of names; `workers` know their name in the topology.
#[must_use]
pub fn fault(template: &str, workers: bool) -> Option<String> {
    let mut data = json!({"cluster": {"name": "cluster"}, "random": "xxxxx"});
    if workers {
        data["machineDeployment"] = json!({"topologyName": "workers"});
    }
    check(template).err().or_else(|| named(template, &data, "xxxxx").err())
}

/// Whether a text is a DNS subdomain.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str) -> Cluster {
        serde_json::from_value(json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": name, "uid": "u"}, "spec": {}}))
        .expect("a Cluster")
    }

    #[test]
    fn a_name_is_the_same_again_and_fits() {
        let naming = |template: &str| Some(Naming { template: Some(template.to_owned()) });
        let name =
            |naming: Option<Naming>, topology| by_template(&cluster("c"), naming.as_ref(), "md/a", topology);
        let usual = name(None, Some("a")).expect("a name");
        assert!(usual.starts_with("c-a-") && usual.len() == 9, "{usual}");
        assert_eq!(name(None, Some("a")), Ok(usual));
        assert_eq!(name(naming("{{ .cluster.name }}-cp"), None), Ok("c-cp".to_owned()));
        let long = by_template(&cluster(&"x".repeat(63)), None, "cp", None).expect("a name");
        assert!(long.len() <= 63, "{long}");
        assert!(
            name(naming("{{ .cluster.name }}_x"), None).is_err() && fault("{{ .cluster }}", false).is_some()
        );
        assert!(fault("{{ .machineDeployment.topologyName }}-{{ .random }}", true).is_none());
        assert!(fault("{{ .machineDeployment.topologyName }}", false).is_some());
    }
}
