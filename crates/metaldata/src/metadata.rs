//! Metadata of a server, from the `metaData` of a Metal3DataTemplate.

use std::collections::BTreeMap;

use scute_api::infrastructure::{MetaData, MetaDataPool};
use serde_json::Value;

use crate::facts::name_of;
use crate::{Facts, PoolAddress, RenderError, yaml};

/// YAML for the key `metaData` of the Secret. Where two entries have one key, the later kind wins, in the order of the
/// fields of [`MetaData`]; `providerid` is always there.
///
/// # Errors
/// When something that the template names is not there.
pub fn render_metadata(template: &MetaData, facts: &Facts) -> Result<String, RenderError> {
    let mut metadata = BTreeMap::new();
    addresses(template, facts, &mut metadata)?;
    for entry in &template.indexes {
        let step = i64::from(if entry.step == 0 { 1 } else { entry.step });
        let number = i64::from(entry.offset.unwrap_or_default()) + i64::from(facts.index) * step;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        metadata.insert(entry.key.clone(), format!("{}{number}{}", text(&entry.prefix), text(&entry.suffix)));
    }
    let namespace = facts.metal3_machine.namespace.clone().unwrap_or_default();
    metadata.extend(template.namespaces.iter().map(|entry| (entry.key.clone(), namespace.clone())));
    metadata.extend(
        template.object_names.iter().map(|entry| (entry.key.clone(), name_of(facts.meta(entry.object)))),
    );
    // What has no such label or annotation gives an empty text.
    let value = |all: &Option<BTreeMap<String, String>>, name: &str| {
        all.as_ref().and_then(|all| all.get(name)).cloned().unwrap_or_default()
    };
    let labels = template.from_labels.iter();
    metadata.extend(
        labels.map(|entry| (entry.key.clone(), value(&facts.meta(entry.object).labels, &entry.label))),
    );
    let annotations = template.from_annotations.iter();
    metadata.extend(
        annotations.map(|entry| {
            (entry.key.clone(), value(&facts.meta(entry.object).annotations, &entry.annotation))
        }),
    );
    metadata.extend(template.strings.iter().map(|entry| (entry.key.clone(), entry.value.clone())));
    let id = format!("{namespace}/{}/{}", name_of(facts.host), name_of(facts.metal3_machine));
    metadata.insert("providerid".to_owned(), id);
    let metadata = metadata.into_iter().map(|(key, value)| (key, Value::String(value)));
    yaml(&metadata.collect())
}

type Read = fn(&'static str, &str, &PoolAddress) -> Result<String, RenderError>;

fn addresses(
    template: &MetaData,
    facts: &Facts,
    metadata: &mut BTreeMap<String, String>,
) -> Result<(), RenderError> {
    for entry in &template.from_host_interfaces {
        let value = if entry.from_boot_mac.unwrap_or_default() {
            let mac = facts.boot_mac.filter(|mac| !mac.is_empty());
            mac.ok_or_else(|| RenderError::NoBootMac(name_of(facts.host)))?
        } else {
            let name = entry.interface.as_deref().unwrap_or_default();
            facts.mac("spec.metaData.fromHostInterfaces", name)?
        };
        metadata.insert(entry.key.clone(), value.to_owned());
    }
    let lists: [(&'static str, &[MetaDataPool], Read); 4] = [
        ("spec.metaData.ipAddressesFromPool", &template.ip_addresses_from_pool, |_, _, found| {
            Ok(found.address.to_string())
        }),
        ("spec.metaData.prefixesFromPool", &template.prefixes_from_pool, |field, pool, found| {
            let lacks = RenderError::Lacks { field, pool: pool.to_owned(), what: "prefix" };
            found.prefix.map(|prefix| prefix.to_string()).ok_or(lacks)
        }),
        ("spec.metaData.gatewaysFromPool", &template.gateways_from_pool, |_, _, found| {
            Ok(found.gateway.map(|gateway| gateway.to_string()).unwrap_or_default())
        }),
        ("spec.metaData.dnsServersFromPool", &template.dns_servers_from_pool, |_, _, found| {
            Ok(found.dns_servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        }),
    ];
    for (field, entries, read) in lists {
        for entry in entries {
            let value = read(field, &entry.name, facts.address(field, &entry.name)?)?;
            metadata.insert(entry.key.clone(), value);
        }
    }
    Ok(())
}
