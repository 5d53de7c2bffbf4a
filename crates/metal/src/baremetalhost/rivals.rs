//! Hosts that say that they are the same server: with the same interface, or behind the same BMC. The oldest of them is it;
//! the others are left alone until they say something else, or it is gone.

use std::sync::Arc;

use kube::ResourceExt;
use scute_api::metal3::{BareMetalHost, BmcAddress};
use scute_kit::{Field, Key, Watch};

const INTERFACE: Field<BareMetalHost> =
    Field { name: "spec.bootMACAddress", of: |host| interface(host).map(Into::into) };
const BMC: Field<BareMetalHost> =
    Field { name: "spec.bmc.address", of: |host| bmc(host).map(|address| address.endpoint().into()) };

/// Why this host is left alone, if another was there before it.
pub fn before(host: &BareMetalHost, hosts: &Watch<BareMetalHost>) -> Option<String> {
    let older = others(host, hosts).into_iter().filter(|other| age(other) < age(host));
    older.into_iter().find_map(|other| clash(host, &other))
}

/// The hosts that may be the same server.
pub fn others(host: &BareMetalHost, hosts: &Watch<BareMetalHost>) -> Vec<Arc<BareMetalHost>> {
    let with = |field, value: Option<String>| {
        value.map(|value| hosts.list_anywhere_by(field, &value)).unwrap_or_default()
    };
    let key = Key::of(host);
    let all = with(&INTERFACE, interface(host))
        .into_iter()
        .chain(with(&BMC, bmc(host).map(|address| address.endpoint())));
    all.filter(|other| Key::of(other.as_ref()) != key).collect()
}

/// Creation times are whole seconds.
fn age(host: &BareMetalHost) -> impl Ord + use<> {
    (host.metadata.creation_timestamp.as_ref().map(|created| created.0), host.uid())
}

fn interface(host: &BareMetalHost) -> Option<String> {
    Some(host.spec.boot_mac_address.as_ref()?.to_lowercase())
}

fn bmc(host: &BareMetalHost) -> Option<BmcAddress> {
    host.spec.bmc.as_ref()?.address.parse().ok()
}

/// What both claim, for the younger of the two. The name of a host in another namespace is not told.
fn clash(host: &BareMetalHost, older: &BareMetalHost) -> Option<String> {
    let other = match older.namespace() == host.namespace() {
        true => format!("existing node {}", older.name_any()),
        false => "an existing node of another namespace".to_owned(),
    };
    if let Some(mac) = interface(host).filter(|mac| interface(older).as_ref() == Some(mac)) {
        return Some(format!("MAC address {mac} conflicts with {other}: spec.bootMACAddress must differ"));
    }
    let same = bmc(host)?.may_be(&bmc(older)?);
    let address = host.spec.bmc.as_ref().map(|bmc| bmc.address.as_str()).unwrap_or_default();
    same.then(|| format!("BMC {address} conflicts with {other}: spec.bmc.address must differ"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn host(namespace: &str, name: &str, created: &str, mac: &str, address: &str) -> BareMetalHost {
        let bmc = json!({"address": address, "credentialsName": name});
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": namespace, "uid": name,
                "creationTimestamp": format!("2026-01-01T00:00:0{created}Z")},
            "spec": {"online": true, "bootMACAddress": mac, "bmc": bmc},
        }))
        .unwrap()
    }

    #[test]
    fn one_interface_or_one_system_is_one_server() {
        let first = host("a", "first", "1", "52:54:00:00:00:0a", "redfish://10.0.0.9/redfish/v1/Systems/1");
        let clash = |namespace, mac, address| {
            let other = host(namespace, "other", "2", mac, address);
            assert!(age(&first) < age(&other));
            clash(&other, &first).unwrap_or_default()
        };
        let (mac, address) = ("52:54:00:00:00:0b", "redfish://10.0.0.8");
        assert_eq!(clash("a", mac, address), "");
        assert_eq!(clash("a", mac, "redfish://10.0.0.9/redfish/v1/Systems/2"), "", "another System");
        let told = clash("a", "52:54:00:00:00:0A", address);
        assert!(
            told.starts_with("MAC address 52:54:00:00:00:0a conflicts with existing node first"),
            "{told}"
        );
        for same in ["idrac-virtualmedia://10.0.0.9:443/redfish/v1/Systems/1/", "redfish://10.0.0.9"] {
            let told = clash("a", mac, same);
            assert!(told.contains(same) && told.contains("existing node first"), "{told}");
        }
        let told = clash("b", mac, "redfish://10.0.0.9");
        assert!(told.contains("another namespace") && !told.contains("first"), "{told}");
    }
}
