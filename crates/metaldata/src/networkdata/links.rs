//! Links: bonds, interfaces and VLANs.

use scute_api::infrastructure::{BondLink, EthernetLink, MacSource, NetworkLinks, VlanLink};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Facts, RenderError};

pub(super) fn render(links: &NetworkLinks, facts: &Facts) -> Result<Vec<Value>, RenderError> {
    let bonds = links.bonds.iter().map(|link| bond(link, facts));
    let ethernets = links.ethernets.iter().map(|link| ethernet(link, facts));
    let vlans = links.vlans.iter().map(|link| vlan(link, facts));
    bonds.chain(ethernets).chain(vlans).map(|link| link.map(Value::Object)).collect()
}

/// What every link has.
fn link(kind: &str, id: &str, mtu: i32, name: Option<&String>) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("type".into(), kind.into());
    fields.insert("id".into(), id.into());
    fields.insert("mtu".into(), mtu.into());
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        fields.insert("name".into(), name.as_str().into());
    }
    fields
}

/// The word of an enum.
fn word(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn bond(bond: &BondLink, facts: &Facts) -> Result<Map<String, Value>, RenderError> {
    let mut fields = link("bond", &bond.id, bond.mtu, bond.name.as_ref());
    // What has a field of its own was refused here at the door; it would be overwritten below.
    for parameter in &bond.parameters {
        fields.insert(format!("bond_{}", parameter.name), parameter.value.clone());
    }
    fields.insert("bond_mode".into(), word(&bond.bond_mode));
    if let Some(policy) = &bond.bond_xmit_hash_policy {
        fields.insert("bond_xmit_hash_policy".into(), word(policy));
    }
    fields.insert("bond_links".into(), json!(bond.bond_links));
    fields.insert("ethernet_mac_address".into(), mac(&bond.id, &bond.mac_address, facts)?);
    Ok(fields)
}

fn ethernet(ethernet: &EthernetLink, facts: &Facts) -> Result<Map<String, Value>, RenderError> {
    let mut fields = link("", &ethernet.id, ethernet.mtu, ethernet.name.as_ref());
    fields.insert("type".into(), word(&ethernet.type_));
    fields.insert("ethernet_mac_address".into(), mac(&ethernet.id, &ethernet.mac_address, facts)?);
    Ok(fields)
}

fn vlan(vlan: &VlanLink, facts: &Facts) -> Result<Map<String, Value>, RenderError> {
    let mut fields = link("vlan", &vlan.id, vlan.mtu, vlan.name.as_ref());
    fields.insert("vlan_id".into(), vlan.vlan_id.into());
    fields.insert("vlan_link".into(), vlan.vlan_link.as_str().into());
    fields.insert("vlan_mac_address".into(), mac(&vlan.id, &vlan.mac_address, facts)?);
    Ok(fields)
}

fn mac(link: &str, source: &MacSource, facts: &Facts) -> Result<Value, RenderError> {
    let given = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    let found = if let Some(text) = given(&source.string) {
        text
    } else if let Some(name) = given(&source.from_host_interface) {
        facts.mac("spec.networkData.links", &name)?.to_owned()
    } else if let Some(from) = &source.from_annotation {
        facts.annotation("spec.networkData.links", from)?.to_owned()
    } else {
        String::new()
    };
    if scute_api::infrastructure::is_mac(&found) {
        return Ok(found.into());
    }
    Err(RenderError::Mac { link: link.to_owned(), mac: found })
}
