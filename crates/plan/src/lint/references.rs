//! References between objects, doubles, and names that upstream providers couple by.

use super::objects::{Object, Objects};
use super::{Finding, Level};

/// Kind, path of the reference (its `kind` and `name`), or fixed kind.
enum Reference {
    /// A mapping with kind and name.
    Typed(&'static [&'static str]),
    /// A name, of this kind.
    Name(&'static [&'static str], &'static str),
}

/// Where each kind refers to others in its own namespace.
const REFERENCES: [(&str, Reference); 16] = [
    ("Cluster", Reference::Typed(&["spec", "controlPlaneRef"])),
    ("Cluster", Reference::Typed(&["spec", "infrastructureRef"])),
    ("MachineDeployment", Reference::Name(&["spec", "clusterName"], "Cluster")),
    ("MachineDeployment", Reference::Typed(&["spec", "template", "spec", "bootstrap", "configRef"])),
    ("MachineDeployment", Reference::Typed(&["spec", "template", "spec", "infrastructureRef"])),
    ("KubeadmControlPlane", Reference::Typed(&["spec", "machineTemplate", "spec", "infrastructureRef"])),
    ("KubeadmControlPlane", Reference::Typed(&["spec", "machineTemplate", "infrastructureRef"])),
    ("KamajiControlPlane", Reference::Name(&["spec", "dataStoreName"], "DataStore")),
    ("TenantControlPlane", Reference::Name(&["spec", "dataStore"], "DataStore")),
    (
        "Metal3MachineTemplate",
        Reference::Name(&["spec", "template", "spec", "dataTemplate", "name"], "Metal3DataTemplate"),
    ),
    ("Metal3DataTemplate", Reference::Name(&["spec", "clusterName"], "Cluster")),
    ("Metal3Machine", Reference::Name(&["spec", "dataTemplate", "name"], "Metal3DataTemplate")),
    ("Metal3DataClaim", Reference::Name(&["spec", "template", "name"], "Metal3DataTemplate")),
    ("IPPool", Reference::Name(&["spec", "clusterName"], "Cluster")),
    ("IPClaim", Reference::Name(&["spec", "pool", "name"], "IPPool")),
    ("BareMetalHost", Reference::Name(&["spec", "bmc", "credentialsName"], "Secret")),
];

/// Checks references.
pub fn check(objects: &Objects, found: &mut Vec<Finding>) {
    for o in &objects.all {
        for (_, reference) in REFERENCES.iter().filter(|(kind, _)| *kind == o.kind) {
            resolve(objects, o, reference, found);
        }
    }
    doubles(objects, found);
    infrastructure(objects, found);
}

fn resolve(objects: &Objects, o: &Object, reference: &Reference, found: &mut Vec<Finding>) {
    let (kind, name, path) = match reference {
        Reference::Typed(path) => {
            let kind = o.text(&[path, &["kind"][..]].concat());
            let name = o.text(&[path, &["name"][..]].concat());
            (kind, name, [path, &["name"][..]].concat())
        }
        Reference::Name(path, kind) => (Some(*kind), o.text(path), path.to_vec()),
    };
    let (Some(kind), Some(name)) = (kind, name) else { return };
    // A DataStore belongs to no namespace.
    let known =
        |k: &Object| k.kind == kind && k.name == name && (k.namespace == o.namespace || kind == "DataStore");
    if objects.all.iter().any(known) {
        return;
    }
    let near: Vec<&str> = objects.of(kind).map(|k| k.name.as_str()).collect();
    let any = !near.is_empty();
    let level = if objects.complete || any { Level::Error } else { Level::Note };
    let elsewhere = objects.of(kind).find(|k| k.name == name);
    let fix = match elsewhere {
        Some(other) => {
            format!("it exists in namespace {}: references stay within their own", other.namespace)
        }
        None if any => format!("{kind} objects here: {}", near.join(", ")),
        None => format!("add a {kind} of this name, unless it is there already"),
    };
    found.push(Finding {
        rule: "reference",
        level,
        message: format!("{} refers to {kind} {name}, which is not among these objects", o.title()),
        fix,
        places: vec![o.place(&path)],
    });
}

fn doubles(objects: &Objects, found: &mut Vec<Finding>) {
    for (i, a) in objects.all.iter().enumerate() {
        let same = |b: &&Object| {
            (&a.group, &a.kind, &a.namespace, &a.name) == (&b.group, &b.kind, &b.namespace, &b.name)
        };
        if let Some(b) = objects.all[..i].iter().find(same) {
            found.push(Finding {
                rule: "duplicate",
                level: Level::Error,
                message: format!("{} is defined twice: the later one wins, whichever that is", a.title()),
                fix: "remove one".to_owned(),
                places: vec![a.place(&["metadata", "name"]), b.place(&["metadata", "name"])],
            });
        }
    }
}

/// VM and metal pools in one cluster, and the endpoints of infrastructure clusters that share a name.
fn infrastructure(objects: &Objects, found: &mut Vec<Finding>) {
    for pool in objects.of("MachineDeployment") {
        let cluster =
            pool.text(&["spec", "clusterName"]).and_then(|n| objects.get("Cluster", &pool.namespace, n));
        let Some(cluster) = cluster else { continue };
        let needs = match pool.text(&["spec", "template", "spec", "infrastructureRef", "kind"]) {
            Some("KubevirtMachineTemplate") => "KubevirtCluster",
            Some("Metal3MachineTemplate") => "Metal3Cluster",
            _ => continue,
        };
        let own = cluster.text(&["spec", "infrastructureRef", "kind"]);
        let name = cluster.text(&["spec", "infrastructureRef", "name"]).unwrap_or(&cluster.name);
        if own != Some(needs) && objects.get(needs, &pool.namespace, name).is_none() {
            found.push(Finding {
                rule: "infra-name",
                level: Level::Note,
                message: format!(
                    "{} has a pool of another infrastructure: Scute needs nothing more, upstream's provider waits for a {needs} named {name}",
                    cluster.title()
                ),
                fix: format!("with upstream providers add a {needs} {name} with the same endpoint, owned by the Cluster"),
                places: vec![pool.place(&["spec", "template", "spec", "infrastructureRef", "kind"])],
            });
        }
    }
    for cluster in objects.of("Cluster") {
        endpoints(objects, cluster, found);
    }
}

fn endpoints(objects: &Objects, cluster: &Object, found: &mut Vec<Finding>) {
    let name = cluster.text(&["spec", "infrastructureRef", "name"]).unwrap_or(&cluster.name);
    let host = ["spec", "controlPlaneEndpoint", "host"];
    let mut said: Vec<(String, super::Place)> = Vec::new();
    for o in objects.all.iter().filter(|o| o.namespace == cluster.namespace) {
        let path: Vec<&str> = match o.kind.as_str() {
            "Metal3Cluster" | "KubevirtCluster" if o.name == name => host.to_vec(),
            "Cluster" if o.name == cluster.name => host.to_vec(),
            "KamajiControlPlane"
                if Some(o.name.as_str()) == cluster.text(&["spec", "controlPlaneRef", "name"]) =>
            {
                let annotation = vec!["spec", "network", "serviceAnnotations", "metallb.io/loadBalancerIPs"];
                if o.text(&annotation).is_some() {
                    annotation
                } else {
                    vec!["spec", "network", "serviceAddress"]
                }
            }
            _ => continue,
        };
        if let Some(text) = o.text(&path).filter(|t| !t.is_empty()) {
            said.push((text.to_owned(), o.place(&path)));
        }
    }
    if let Some((first, rest)) = said.split_first()
        && let Some(other) = rest
            .iter()
            .find(|(t, _)| !first.0.split(',').any(|f| f == t) && !t.split(',').any(|x| x == first.0))
    {
        found.push(Finding {
            rule: "endpoint-mismatch",
            level: Level::Error,
            message: format!(
                "{} has two endpoints, {} and {}: Nodes join the one and certificates name the other",
                cluster.title(),
                first.0,
                other.0
            ),
            fix: "write the address that the control plane's Service asks for everywhere".to_owned(),
            places: vec![other.1.clone(), first.1.clone()],
        });
    }
}
