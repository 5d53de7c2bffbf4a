//! Every definition, walked from its root: numbers, lists, maps and texts have bounds, and the types read whatever
//! the bounds let through.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use scute_api::bounds::range;
use scute_api::conversion::{Conversion, conversions};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Group and kind, version and root schema.
fn schemas() -> Vec<(String, String, JSONSchemaProps)> {
    let versions = |crd: CustomResourceDefinition| {
        let kind = format!("{}/{}", crd.spec.group, crd.spec.names.kind);
        crd.spec.versions.into_iter().map(move |version| {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema).expect("a schema");
            (kind.clone(), version.name, schema)
        })
    };
    scute_api::crds().into_iter().flat_map(versions).collect()
}

/// The schemas below one, with the step that leads to each.
fn below(schema: &JSONSchemaProps) -> Vec<(String, &JSONSchemaProps)> {
    let fields = schema.properties.iter().flatten().map(|(name, field)| (format!(".{name}"), field));
    let items = match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(("[]".to_owned(), items.as_ref())),
        Some(JSONSchemaPropsOrArray::Schemas(_)) => panic!("Kubernetes takes one schema for all items"),
        None => None,
    };
    let values = match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(("{}".to_owned(), values.as_ref())),
        _ => None,
    };
    fields.chain(items).chain(values).collect()
}

fn unbounded(path: &str, schema: &JSONSchemaProps, found: &mut Vec<String>) {
    let (least, most) = range(schema.format.as_deref());
    let fits = |bound: Option<f64>| bound.is_some_and(|bound| (least..=most).contains(&bound));
    let missing = match schema.type_.as_deref() {
        Some("integer" | "number") => !fits(schema.minimum) || !fits(schema.maximum),
        Some("string") => schema.enum_.is_none() && schema.max_length.is_none(),
        Some("array") => schema.max_items.is_none() || schema.items.is_none(),
        Some("object") => schema.additional_properties.is_some() && schema.max_properties.is_none(),
        Some("boolean") => false,
        Some(other) => panic!("{path} is a {other}"),
        None if schema.x_kubernetes_int_or_string == Some(true) => {
            let text = schema.pattern.is_some() || schema.x_kubernetes_validations.is_some();
            schema.minimum.is_none() || schema.maximum.is_none() || schema.max_length.is_none() || !text
        }
        // Only where any value at all is meant.
        None => schema.x_kubernetes_preserve_unknown_fields != Some(true),
    };
    if missing {
        found.push(path.to_owned());
    }
    for (step, inner) in below(schema) {
        unbounded(&format!("{path}{step}"), inner, found);
    }
}

#[test]
fn everything_in_every_schema_has_bounds() {
    let mut found = Vec::new();
    for (kind, version, schema) in schemas() {
        unbounded(&format!("{kind} {version}"), &schema, &mut found);
    }
    assert!(found.is_empty(), "no bounds:\n{}", found.join("\n"));
}

fn decode<K: DeserializeOwned>(object: &Value) -> Result<(), String> {
    serde_json::from_value::<K>(object.clone()).map(|_| ()).map_err(|error| error.to_string())
}

type Decoder = fn(&Value) -> Result<(), String>;

fn decoders() -> BTreeMap<&'static str, Decoder> {
    use scute_api::{
        addons, bootstrap, cluster, controlplane, infrastructure, ipam, kamaji, kubevirt, metal3,
    };
    let all: [(&str, Decoder); 47] = [
        ("cluster.x-k8s.io/Cluster", decode::<cluster::Cluster>),
        ("cluster.x-k8s.io/ClusterClass", decode::<cluster::clusterclass::ClusterClass>),
        ("cluster.x-k8s.io/MachineDeployment", decode::<cluster::MachineDeployment>),
        ("cluster.x-k8s.io/MachineSet", decode::<cluster::MachineSet>),
        ("cluster.x-k8s.io/Machine", decode::<cluster::Machine>),
        ("cluster.x-k8s.io/MachineHealthCheck", decode::<cluster::MachineHealthCheck>),
        ("cluster.x-k8s.io/MachineDrainRule", decode::<cluster::MachineDrainRule>),
        ("cluster.x-k8s.io/MachinePool", decode::<cluster::MachinePool>),
        ("addons.cluster.x-k8s.io/ClusterResourceSet", decode::<addons::ClusterResourceSet>),
        ("addons.cluster.x-k8s.io/ClusterResourceSetBinding", decode::<addons::ClusterResourceSetBinding>),
        ("bootstrap.cluster.x-k8s.io/KubeadmConfig", decode::<bootstrap::KubeadmConfig>),
        ("bootstrap.cluster.x-k8s.io/KubeadmConfigTemplate", decode::<bootstrap::KubeadmConfigTemplate>),
        ("controlplane.cluster.x-k8s.io/KamajiControlPlane", decode::<controlplane::KamajiControlPlane>),
        ("controlplane.cluster.x-k8s.io/KubeadmControlPlane", decode::<controlplane::KubeadmControlPlane>),
        (
            "controlplane.cluster.x-k8s.io/KubeadmControlPlaneTemplate",
            decode::<controlplane::KubeadmControlPlaneTemplate>,
        ),
        (
            "controlplane.cluster.x-k8s.io/KamajiControlPlaneTemplate",
            decode::<controlplane::template::KamajiControlPlaneTemplate>,
        ),
        ("infrastructure.cluster.x-k8s.io/KubevirtCluster", decode::<infrastructure::KubevirtCluster>),
        (
            "infrastructure.cluster.x-k8s.io/KubevirtClusterTemplate",
            decode::<infrastructure::KubevirtClusterTemplate>,
        ),
        ("infrastructure.cluster.x-k8s.io/KubevirtMachine", decode::<infrastructure::KubevirtMachine>),
        (
            "infrastructure.cluster.x-k8s.io/KubevirtMachineTemplate",
            decode::<infrastructure::KubevirtMachineTemplate>,
        ),
        ("infrastructure.cluster.x-k8s.io/Metal3Cluster", decode::<infrastructure::Metal3Cluster>),
        (
            "infrastructure.cluster.x-k8s.io/Metal3ClusterTemplate",
            decode::<infrastructure::Metal3ClusterTemplate>,
        ),
        ("infrastructure.cluster.x-k8s.io/Metal3Machine", decode::<infrastructure::Metal3Machine>),
        (
            "infrastructure.cluster.x-k8s.io/Metal3MachineTemplate",
            decode::<infrastructure::Metal3MachineTemplate>,
        ),
        ("infrastructure.cluster.x-k8s.io/Metal3Data", decode::<infrastructure::Metal3Data>),
        ("infrastructure.cluster.x-k8s.io/Metal3DataClaim", decode::<infrastructure::Metal3DataClaim>),
        ("infrastructure.cluster.x-k8s.io/Metal3DataTemplate", decode::<infrastructure::Metal3DataTemplate>),
        ("infrastructure.cluster.x-k8s.io/Metal3Remediation", decode::<infrastructure::Metal3Remediation>),
        (
            "infrastructure.cluster.x-k8s.io/Metal3RemediationTemplate",
            decode::<infrastructure::Metal3RemediationTemplate>,
        ),
        ("kamaji.clastix.io/DataStore", decode::<kamaji::DataStore>),
        ("kamaji.clastix.io/TenantControlPlane", decode::<kamaji::TenantControlPlane>),
        ("kubevirt.io/VirtualMachine", decode::<kubevirt::VirtualMachine>),
        ("kubevirt.io/VirtualMachineInstance", decode::<kubevirt::VirtualMachineInstance>),
        ("metal3.io/BareMetalHost", decode::<metal3::BareMetalHost>),
        ("metal3.io/HardwareData", decode::<metal3::HardwareData>),
        ("metal3.io/DataImage", decode::<metal3::DataImage>),
        ("metal3.io/HostFirmwareSettings", decode::<metal3::HostFirmwareSettings>),
        ("metal3.io/FirmwareSchema", decode::<metal3::FirmwareSchema>),
        ("metal3.io/HostFirmwareComponents", decode::<metal3::HostFirmwareComponents>),
        ("metal3.io/HostUpdatePolicy", decode::<metal3::HostUpdatePolicy>),
        ("metal3.io/PreprovisioningImage", decode::<metal3::PreprovisioningImage>),
        ("metal3.io/BMCEventSubscription", decode::<metal3::BMCEventSubscription>),
        ("ipam.metal3.io/IPPool", decode::<ipam::IPPool>),
        ("ipam.metal3.io/IPClaim", decode::<ipam::IPClaim>),
        ("ipam.metal3.io/IPAddress", decode::<ipam::IPAddress>),
        ("ipam.cluster.x-k8s.io/IPAddressClaim", decode::<ipam::IPAddressClaim>),
        ("ipam.cluster.x-k8s.io/IPAddress", decode::<ipam::contract::IPAddress>),
    ];
    all.into_iter().collect()
}

/// Values at the edges of what a schema of one value lets through; the first one is ordinary.
fn edges(path: &str, schema: &JSONSchemaProps) -> Vec<Value> {
    let whole = |bound: Option<f64>| json!(bound.expect("a bound") as i64);
    let ends = || [whole(schema.minimum), whole(schema.maximum)];
    let mut values = match schema.type_.as_deref() {
        Some("integer" | "number") => ends().into(),
        Some("boolean") => vec![json!(true), json!(false)],
        Some("string") => texts(path, schema),
        None if schema.x_kubernetes_int_or_string == Some(true) => {
            let text = match path.rsplit('.').next() {
                Some("maxSurge" | "maxUnavailable" | "maxInFlight" | "unhealthyLessThanOrEqualTo") => "25%",
                _ => "1.5Gi",
            };
            [vec![json!(text)], ends().into()].concat()
        }
        None => vec![json!("anything"), json!(1), json!({"a": [1]})],
        Some(other) => panic!("{path} is a {other}"),
    };
    if schema.nullable == Some(true) {
        values.push(Value::Null);
    }
    values
}

fn texts(path: &str, schema: &JSONSchemaProps) -> Vec<Value> {
    if let Some(values) = &schema.enum_ {
        return values.iter().map(|value| value.0.clone()).filter(|value| !value.is_null()).collect();
    }
    match schema.format.as_deref() {
        Some("date-time") => {
            assert_eq!(schema.pattern.as_deref(), Some(scute_api::bounds::TIME), "{path}");
            // All of these match the pattern, and the format: Go's check is a subset of it but for the pattern.
            let times = [
                "2026-01-01T00:00:00Z",
                "0001-01-01t00:00:00.000000001z",
                "2999-12-31T23:59:59.999999999-23:59",
                "2000-02-29T12:00:00+23:59",
            ];
            times.map(|time| json!(time)).into()
        }
        Some("byte") => vec![json!(""), json!("YQ=="), json!("YWI=")],
        Some("ip" | "cidr" | "ipv4" | "ipv6") => panic!("{path}: say what the type reads"),
        _ => vec![json!("x"), json!("")],
    }
}

/// An object with every field at its first edge, and for each edge of each leaf one more.
fn filled(path: &str, schema: &JSONSchemaProps) -> (Value, Vec<(String, Value)>) {
    let is_leaf = !matches!(schema.type_.as_deref(), Some("object" | "array"));
    if is_leaf {
        let edges = edges(path, schema);
        let rest = edges.iter().map(|value| (format!("{path} = {value}"), value.clone())).collect();
        return (edges[0].clone(), rest);
    }
    let parts: Vec<_> = below(schema)
        .into_iter()
        .map(|(step, inner)| {
            let (value, variants) = filled(&format!("{path}{step}"), inner);
            (step, value, variants)
        })
        .collect();
    let assemble = |changed: Option<(usize, &Value)>| {
        let mut object = Map::new();
        for (at, (step, value, _)) in parts.iter().enumerate() {
            let value = changed.filter(|(index, _)| *index == at).map_or(value, |(_, value)| value);
            match step.as_str() {
                "[]" => return json!([value]),
                "{}" => return json!({"key": value}),
                name => object.insert(name[1..].to_owned(), value.clone()),
            };
        }
        Value::Object(object)
    };
    let mut variants = Vec::new();
    for (at, (_, _, inner)) in parts.iter().enumerate() {
        variants.extend(inner.iter().map(|(name, value)| (name.clone(), assemble(Some((at, value))))));
    }
    if schema.nullable == Some(true) {
        variants.push((format!("{path} = null"), Value::Null));
    }
    (assemble(None), variants)
}

#[test]
fn what_a_schema_lets_through_the_type_reads() {
    let decoders = decoders();
    let mut tried = 0;
    let mut unread = Vec::new();
    for (kind, version, schema) in schemas() {
        // Managers read the new version of what is converted; tests/conversion.rs has the old one.
        let is_old =
            |known: Conversion| kind == format!("{}/{}", known.group, known.kind) && version == known.old;
        if conversions().into_iter().any(is_old) {
            continue;
        }
        let decoder = decoders.get(kind.as_str()).unwrap_or_else(|| panic!("{kind} has no type here"));
        let (ordinary, variants) = filled("", &schema);
        for (name, object) in std::iter::once(("as it is".to_owned(), ordinary)).chain(variants) {
            let mut object = object;
            let (group, name_of_kind) = kind.split_once('/').expect("a group");
            object["apiVersion"] = json!(format!("{group}/{version}"));
            object["kind"] = json!(name_of_kind);
            object["metadata"] = json!({"name": "n"});
            tried += 1;
            if let Err(error) = decoder(&object) {
                unread.push(format!("{kind} {name}: {error}"));
            }
        }
    }
    assert!(tried > 5_000, "{tried} objects only");
    unread.sort();
    unread.dedup();
    assert!(unread.is_empty(), "{} of {tried} cannot be decoded:\n{}", unread.len(), unread.join("\n"));
}

/// Names become label values, and names of Services, Pods and Secrets of which they are a part.
#[test]
fn a_name_has_a_limit_that_what_is_made_from_it_fits_into() {
    // Kinds whose children's names are cut with a hash, or are their own, or have no children.
    const FREE: [&str; 40] = [
        "ClusterClass",
        "KamajiControlPlaneTemplate",
        "MachineDrainRule",
        "ClusterResourceSet",
        "ClusterResourceSetBinding",
        "MachineHealthCheck",
        "MachineSet",
        "Machine",
        "MachinePool",
        "KubeadmConfig",
        "KubeadmConfigTemplate",
        "KubeadmControlPlaneTemplate",
        "KubevirtCluster",
        "KubevirtClusterTemplate",
        "KubevirtMachine",
        "KubevirtMachineTemplate",
        "DataStore",
        "VirtualMachine",
        "VirtualMachineInstance",
        "BareMetalHost",
        "HardwareData",
        "DataImage",
        "HostFirmwareSettings",
        "FirmwareSchema",
        "HostFirmwareComponents",
        "HostUpdatePolicy",
        "PreprovisioningImage",
        "BMCEventSubscription",
        "Metal3Cluster",
        "Metal3ClusterTemplate",
        "Metal3Machine",
        "Metal3MachineTemplate",
        "Metal3Data",
        "Metal3DataClaim",
        "Metal3Remediation",
        "Metal3RemediationTemplate",
        "IPPool",
        "IPClaim",
        "IPAddress",
        "IPAddressClaim",
    ];
    for (kind, version, schema) in schemas() {
        let rules = schema.x_kubernetes_validations.unwrap_or_default();
        let limited = rules.iter().any(|rule| rule.rule.contains("size(self.metadata.name) <="));
        let name = kind.rsplit('/').next().expect("a kind");
        assert!(limited || FREE.contains(&name), "{kind} {version} takes a name of 253 letters");
    }
}
