//! How a ramdisk reaches us: addresses from network data in the words of OpenStack, as the Secret of
//! `spec.preprovisioningNetworkDataName` has them. The Secret's content is in no message.

use std::net::IpAddr;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_agent::protocol::StaticAddress;
use scute_api::metal3::BareMetalHost;
use scute_kit::{Error, Hub, Key};
use serde::Deserialize;

/// The addresses; none is DHCP on every port. Else what somebody has to mend.
pub type Network = Result<Vec<StaticAddress>, String>;

/// More do not fit beside everything else on a command line.
const MOST: usize = 8;
/// As many as a resolver asks.
const RESOLVERS: usize = 3;

/// Reads the Secret, if there is one.
///
/// # Errors
/// When it cannot be read.
pub async fn observe(hub: &Hub, host: &BareMetalHost) -> Result<Network, Error> {
    let name = host.spec.preprovisioning_network_data_name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let key = Key::new(host.namespace().unwrap_or_default(), name);
    let told = |why: String| format!("the Secret {key} of spec.preprovisioningNetworkDataName {why}");
    let Some(secret) = hub.get::<Secret>(&key).await? else { return Ok(Err(told("is missing".to_owned()))) };
    let data = secret.data.as_ref().and_then(|data| data.get("networkData"));
    Ok(match data {
        None => Err(told("has no networkData".to_owned())),
        Some(ByteString(text)) => addresses(text).map_err(told),
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    links: Vec<Link>,
    networks: Vec<Net>,
    services: Vec<Service>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Link {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    ethernet_mac_address: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Net {
    #[serde(rename = "type")]
    kind: String,
    link: String,
    ip_address: String,
    netmask: String,
    gateway: Option<String>,
    routes: Vec<Route>,
    services: Vec<Service>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Route {
    network: String,
    netmask: String,
    gateway: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

/// The static addresses of network data.
fn addresses(text: &[u8]) -> Network {
    let text = std::str::from_utf8(text).map_err(|_| "is no text".to_owned())?;
    // JSON is YAML.
    let data: Option<Data> = serde_saphyr::from_str(text)
        .map_err(|_| "has no network data in the form of OpenStack".to_owned())?;
    let data = data.unwrap_or_default();
    let mut all = Vec::new();
    for (index, net) in data.networks.iter().enumerate() {
        // Others are found by the port itself.
        if matches!(net.kind.as_str(), "ipv4" | "ipv6") {
            let address = net.address(&data).map_err(|why| format!("has in networks[{index}]{why}"))?;
            all.push(address);
        }
    }
    match all.len() > MOST {
        true => Err(format!("has {} addresses, and a ramdisk can have {MOST}", all.len())),
        false => Ok(all),
    }
}

impl Net {
    fn address(&self, data: &Data) -> Result<StaticAddress, String> {
        let link = data.links.iter().find(|link| link.id == self.link);
        let link = link.ok_or(".link the id of no link")?;
        if matches!(link.kind.as_str(), "bond" | "vlan") {
            return Err(format!(".link a {}, which a ramdisk does not set up: name a port", link.kind));
        }
        let mac = link.ethernet_mac_address.replace('-', ":");
        let (ip, prefix) = match self.ip_address.split_once('/') {
            Some((ip, prefix)) => (ip, prefix.parse().ok()),
            None => (self.ip_address.as_str(), length(&self.netmask)),
        };
        let prefix = prefix.ok_or(".netmask no mask")?;
        let gateway = self.gateway()?;
        let dns = self.services.iter().chain(&data.services).filter(|service| service.kind == "dns");
        let dns: String = dns.take(RESOLVERS).flat_map(|service| [",", service.address.as_str()]).collect();
        let text = format!("{mac},{ip}/{prefix},{gateway}{dns}");
        text.parse().map_err(|_| {
            " something that is no MAC address of its link, address, gateway or name server".to_owned()
        })
    }

    /// Of the default route: a ramdisk has no other.
    fn gateway(&self) -> Result<&str, String> {
        let other = self.routes.iter().position(|route| !route.is_default());
        if let Some(other) = other {
            return Err(format!(
                ".routes[{other}] a route that is not the default: a ramdisk sets up no other"
            ));
        }
        let routed = self.routes.first().map(|route| route.gateway.as_str());
        Ok(routed.or(self.gateway.as_deref()).unwrap_or_default())
    }
}

impl Route {
    fn is_default(&self) -> bool {
        let (network, prefix) = match self.network.split_once('/') {
            Some((network, prefix)) => (network, prefix.parse().ok()),
            None => (self.network.as_str(), length(&self.netmask)),
        };
        prefix == Some(0) && network.parse::<IpAddr>().is_ok_and(|network| network.is_unspecified())
    }
}

/// The length of a prefix, written as a number or as a mask.
fn length(mask: &str) -> Option<u32> {
    if let Ok(length) = mask.parse() {
        return Some(length);
    }
    let (ones, rest) = match mask.parse().ok()? {
        IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
        IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
    };
    (ones == rest).then_some(ones)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn data() -> Value {
        json!({
            "links": [
                {"id": "nic", "type": "phy", "ethernet_mac_address": "00-11-22-33-44-55"},
                {"id": "both", "type": "bond", "ethernet_mac_address": "00:11:22:33:44:55"},
            ],
            "networks": [{"id": "n", "type": "ipv4", "link": "nic", "ip_address": "192.0.2.5",
                "netmask": "255.255.255.0",
                "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}]}],
            "services": [{"type": "dns", "address": "192.0.2.53"}],
        })
    }

    fn read(data: &Value) -> Result<Vec<String>, String> {
        let text = data.to_string();
        addresses(text.as_bytes()).map(|all| all.iter().map(ToString::to_string).collect())
    }

    fn with(change: &Value) -> Value {
        let mut data = data();
        data["networks"][0].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        data
    }

    #[test]
    fn static_addresses_are_taken_and_everything_else_is_dhcp() {
        let expected = "00:11:22:33:44:55,192.0.2.5/24,192.0.2.1,192.0.2.53";
        assert_eq!(read(&data()), Ok(vec![expected.to_owned()]));
        let slash = json!({"ip_address": "192.0.2.5/24", "netmask": ""});
        assert_eq!(read(&with(&slash)), Ok(vec![expected.to_owned()]));
        let gateway = json!({"routes": [], "gateway": "192.0.2.1"});
        assert_eq!(read(&with(&gateway)), Ok(vec![expected.to_owned()]));
        let six = json!({"type": "ipv6", "ip_address": "fd00::4", "netmask": "ffff:ffff:ffff:ffff::",
            "routes": [{"network": "::", "netmask": "::", "gateway": "fe80::1"}], "services": []});
        let expected = "00:11:22:33:44:55,fd00::4/64,fe80::1,192.0.2.53";
        assert_eq!(read(&with(&six)), Ok(vec![expected.to_owned()]));
        for text in [json!({}), Value::Null, with(&json!({"type": "ipv4_dhcp"}))] {
            assert_eq!(read(&text), Ok(Vec::new()), "{text}");
        }
    }

    #[test]
    fn what_a_ramdisk_cannot_do_is_refused_with_its_place_and_without_what_is_there() {
        let route =
            json!({"routes": [{"network": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "192.0.2.1"}]});
        for (change, word) in [
            (json!({"link": "both"}), "networks[0].link a bond"),
            (json!({"link": "hunter2"}), "networks[0].link the id of no link"),
            (json!({"netmask": "255.0.255.0"}), "networks[0].netmask"),
            (json!({"ip_address": "hunter2"}), "networks[0] something"),
            (route, "networks[0].routes[0]"),
        ] {
            let why = read(&with(&change)).expect_err(word);
            assert!(why.contains(word) && !why.contains("hunter2"), "{why}");
        }
        assert!(addresses(b"- hunter2").is_err_and(|why| !why.contains("hunter2")));
        let mut many = data();
        many["networks"] = json!(vec![many["networks"][0].clone(); 9]);
        assert!(read(&many).unwrap_err().contains("9 addresses"));
    }
}
