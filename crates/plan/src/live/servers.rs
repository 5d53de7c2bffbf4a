//! BareMetalHosts of a site, and what each is to a plan: a server to plan with, one that a tenant has, one to leave out.

use std::collections::{BTreeMap, BTreeSet};

use scute_api::metal3::{BareMetalHost, Hindrance, ProvisioningState as State};
use serde_json::Value;

use super::{label, of_kind, text};
use crate::metal::{beside, hosts, owner};

/// A BareMetalHost.
pub struct Server<'a> {
    /// Its name in the fleet.
    pub name: String,
    /// The object.
    pub object: &'a Value,
    /// What inspection found.
    pub hardware: Option<&'a Value>,
    /// What it is to a plan.
    pub standing: Standing,
}

/// What a server is to a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A Node of the cluster that is read, which says more of it; and the Cluster that this is, when it is one.
    Node(Option<Holder>),
    /// To be planned with, though something may hold it up yet.
    Usable(Option<String>),
    /// A Node of a tenant, or on its way to be one.
    Held(Holder, Option<String>),
    /// Not to be planned with, and why.
    Out(String),
}

/// Who has a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Namespace of its Cluster.
    pub namespace: String,
    /// Its Cluster.
    pub cluster: String,
    /// Its MachineDeployment.
    pub pool: Option<String>,
    /// It is a machine of the control plane.
    pub control_plane: bool,
}

impl Holder {
    /// Whether it is this Cluster.
    pub fn is(&self, namespace: &str, cluster: &str) -> bool {
        (self.namespace.as_str(), self.cluster.as_str()) == (namespace, cluster)
    }
}

/// Every BareMetalHost.
pub fn servers(objects: &[Value]) -> Vec<Server<'_>> {
    let nodes: Vec<&Value> = of_kind(objects, "Node").collect();
    let installed: BTreeSet<(&str, &str)> = nodes.iter().filter_map(|n| installed(n)).collect();
    let named: BTreeSet<&str> = nodes.iter().map(|n| text(n, "/metadata/name")).collect();
    let mut spaces: BTreeMap<&str, usize> = BTreeMap::new();
    of_kind(objects, "BareMetalHost")
        .for_each(|o| *spaces.entry(text(o, "/metadata/name")).or_default() += 1);
    let server = |object| {
        let (space, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        let hardware = hosts::hardware(objects, object);
        let here = installed.contains(&(space, name)) || named.contains(name);
        Server {
            // Hosts of two namespaces may have one name.
            name: if spaces[name] > 1 { format!("{name}.{space}") } else { name.to_owned() },
            object,
            hardware,
            standing: match here {
                true => Standing::Node(holder(objects, object, text(object, "/spec/consumerRef/name"))),
                false => standing(objects, object, &hosts::host(object), hardware),
            },
        }
    };
    of_kind(objects, "BareMetalHost").map(server).collect()
}

/// The BareMetalHost that a Node was made of: `metal3://NAMESPACE/HOST/MACHINE`.
pub fn installed(node: &Value) -> Option<(&str, &str)> {
    let mut parts = text(node, "/spec/providerID").strip_prefix("metal3://")?.split('/');
    Some((parts.next()?, parts.next()?))
}

fn standing(objects: &[Value], object: &Value, host: &BareMetalHost, hardware: Option<&Value>) -> Standing {
    let why = host.hindrance();
    let words = why.as_ref().map(ToString::to_string);
    let sized = hardware.is_some_and(|h| hosts::size(h).is_some());
    match why {
        Some(Hindrance::InUse { kind, name }) if kind == "Metal3Machine" => {
            let free =
                BareMetalHost { spec: scute_api::metal3::BareMetalHostSpec::default(), ..host.clone() };
            // Of one that is in use it is no news that it is provisioned.
            let trouble = free.hindrance().filter(|h| !matches!(h, Hindrance::State(_)));
            match holder(objects, object, &name) {
                Some(_) if !sized => {
                    Standing::Out(format!("is in use by {kind} {name} and was not inspected"))
                }
                Some(holder) => Standing::Held(holder, trouble.map(|t| t.to_string())),
                None => Standing::Out(format!("is in use by {kind} {name}, which is of no Cluster here")),
            }
        }
        None | Some(Hindrance::State(State::None)) if !sized => Standing::Out("was not inspected".to_owned()),
        Some(Hindrance::State(
            State::None
            | State::Registering
            | State::Inspecting
            | State::MatchProfile
            | State::Preparing
            | State::Available
            | State::Ready
            | State::Deprovisioning,
        ))
        | None
            if sized =>
        {
            Standing::Usable(words)
        }
        Some(Hindrance::State(State::Provisioning | State::Provisioned | State::ExternallyProvisioned)) => {
            Standing::Out(format!("{}, and nothing says for whom", words.unwrap_or_default()))
        }
        Some(Hindrance::State(State::Unmanaged)) => Standing::Out("is unmanaged: it has no BMC".to_owned()),
        _ => Standing::Out(words.unwrap_or_default()),
    }
}

/// The Cluster and the pool of the Metal3Machine that has a host.
fn holder(objects: &[Value], host: &Value, name: &str) -> Option<Holder> {
    const CLUSTER: &str = "cluster.x-k8s.io/cluster-name";
    const POOL: &str = "cluster.x-k8s.io/deployment-name";
    const CONTROL_PLANE: &str = "cluster.x-k8s.io/control-plane";
    let metal3 = beside(objects, host, "Metal3Machine", name);
    let machine = metal3.and_then(|m| beside(objects, m, "Machine", owner(m, "Machine")?));
    let said = |key: &str| [machine, metal3].into_iter().flatten().find_map(|o| label(o, key));
    let cluster =
        machine.map(|m| text(m, "/spec/clusterName")).filter(|c| !c.is_empty()).or_else(|| said(CLUSTER))?;
    beside(objects, host, "Cluster", cluster)?;
    Some(Holder {
        namespace: text(host, "/metadata/namespace").to_owned(),
        cluster: cluster.to_owned(),
        pool: said(POOL).map(str::to_owned),
        control_plane: said(CONTROL_PLANE).is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                from.into_iter().for_each(|(k, v)| merge(into.entry(k).or_insert(Value::Null), v));
            }
            (into, from) => *into = from,
        }
    }

    fn standing_of(changes: Value, others: &[Value]) -> Standing {
        let mut host = json!({
            "kind": "BareMetalHost", "metadata": {"name": "h", "namespace": "n"},
            "status": {"provisioning": {"state": "available"}, "hardware": {"cpu": {"count": 8}, "ramMebibytes": 16384}},
        });
        merge(&mut host, changes);
        let objects = [vec![host], others.to_vec()].concat();
        servers(&objects).remove(0).standing
    }

    #[test]
    fn every_host_is_counted_or_left_out_for_a_reason() {
        let state = |state: &str| json!({"status": {"provisioning": {"state": state}}});
        let annotated = |name: &str| json!({"metadata": {"annotations": {name: ""}}});
        assert_eq!(standing_of(json!({}), &[]), Standing::Usable(None));
        for (changes, why) in
            [(state("deprovisioning"), "is deprovisioning"), (state("inspecting"), "is inspecting")]
        {
            assert_eq!(standing_of(changes, &[]), Standing::Usable(Some(why.to_owned())));
        }
        for (changes, why) in [
            (json!({"status": {"errorMessage": "401 Unauthorized"}}), "has an error: 401 Unauthorized"),
            (annotated("baremetalhost.metal3.io/detached"), "is detached"),
            (annotated("baremetalhost.metal3.io/paused"), "is paused"),
            (annotated("capm3.metal3.io/unhealthy"), "is marked as unhealthy"),
            (state("unmanaged"), "is unmanaged: it has no BMC"),
            (state("externally provisioned"), "is externally provisioned, and nothing says for whom"),
            (json!({"status": {"hardware": null}}), "was not inspected"),
            (json!({"status": {"hardware": null, "provisioning": {"state": "inspecting"}}}), "is inspecting"),
            (
                json!({"spec": {"consumerRef": {"kind": "Metal3Machine", "name": "m"}}}),
                "is in use by Metal3Machine m, which is of no Cluster here",
            ),
            (json!({"spec": {"consumerRef": {"kind": "Other", "name": "o"}}}), "is in use by Other o"),
        ] {
            assert_eq!(standing_of(changes, &[]), Standing::Out(why.to_owned()));
        }
    }

    #[test]
    fn what_inspection_found_may_be_in_hardwaredata() {
        let data = json!({"kind": "HardwareData", "metadata": {"name": "h", "namespace": "n"},
            "spec": {"hardware": {"cpu": {"count": 8}, "ramMebibytes": 16384}}});
        assert_eq!(standing_of(json!({"status": {"hardware": null}}), &[data]), Standing::Usable(None));
    }

    #[test]
    fn a_server_that_a_metal3machine_has_is_its_pools() {
        let meta = |name: &str| json!({"name": name, "namespace": "n"});
        let others = [
            json!({"kind": "Cluster", "metadata": meta("team")}),
            json!({"kind": "Machine", "metadata": {"name": "team-1", "namespace": "n", "labels": {"cluster.x-k8s.io/deployment-name": "team-metal"}},
                "spec": {"clusterName": "team"}}),
            json!({"kind": "Metal3Machine", "metadata": {"name": "m", "namespace": "n", "ownerReferences": [{"kind": "Machine", "name": "team-1"}]}}),
        ];
        let holder = Holder {
            namespace: "n".into(),
            cluster: "team".into(),
            pool: Some("team-metal".into()),
            control_plane: false,
        };
        let taken = json!({"spec": {"consumerRef": {"kind": "Metal3Machine", "name": "m"}}, "status": {"provisioning": {"state": "provisioned"}}});
        assert_eq!(standing_of(taken.clone(), &others), Standing::Held(holder.clone(), None));
        let mut ill = taken;
        merge(&mut ill, json!({"status": {"errorMessage": "power"}}));
        assert_eq!(standing_of(ill, &others), Standing::Held(holder, Some("has an error: power".into())));
    }
}
