//! What a Metal3Data depends on, read from the watches.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::PartialObjectMeta;
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::{Metal3Data, Metal3DataClaim, Metal3DataTemplate, Metal3Machine};
use scute_api::ipam::{IPAddress, IPAddressClaim, IPClaim, contract};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_api::metal3::BareMetalHost;
use scute_contract::owners::owner_of_kind;
use scute_kit::{Hub, Key};
use scute_metaldata::PoolAddress;

use crate::metal3machine::{CONSUMER, is_consumer};

/// What the controller has seen.
#[derive(Default)]
pub struct Observed {
    /// Its Cluster.
    pub cluster: Option<Arc<Cluster>>,
    /// The Metal3DataClaim that it is for.
    pub claim: Option<Arc<Metal3DataClaim>>,
    /// Its template.
    pub template: Option<Arc<Metal3DataTemplate>>,
    /// The Metal3Machine of the claim.
    pub metal3_machine: Option<Arc<Metal3Machine>>,
    /// The Machine of that.
    pub machine: Option<Arc<Machine>>,
    /// The host that the Metal3Machine has.
    pub host: Option<Arc<BareMetalHost>>,
    /// Its claims for addresses, by their names.
    pub addresses: BTreeMap<String, Asked>,
    /// Secrets of the names that its own would have, by name.
    pub secrets: BTreeMap<String, Arc<PartialObjectMeta<Secret>>>,
}

/// A claim for an address, of either kind.
pub struct Asked {
    /// The claim.
    pub claim: AddressClaim,
    /// The address that it got, or why it got none yet.
    pub answer: Result<PoolAddress, String>,
}

/// A claim for an address.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressClaim {
    /// Of an IPPool of Metal3.
    Metal3(Arc<IPClaim>),
    /// Of a pool of another provider.
    Contract(Arc<IPAddressClaim>),
}

/// Names of the Secrets of a Metal3Machine, as upstream has them: metadata and network data.
pub fn secret_names(metal3_machine: &str) -> [String; 2] {
    [format!("{metal3_machine}-metadata"), format!("{metal3_machine}-networkdata")]
}

/// The only reader.
pub fn observe(hub: &Hub, data: &Metal3Data) -> Observed {
    let namespace = data.namespace().unwrap_or_default();
    let at = |name: &str| Key::new(namespace.clone(), name);
    let cluster =
        data.labels().get(CLUSTER_NAME_LABEL).and_then(|name| hub.watch::<Cluster>().get(&at(name)));
    let named = |reference: &Option<scute_api::infrastructure::Metal3ObjectRef>| reference.clone()?.name;
    let claim = named(&data.spec.claim).and_then(|name| hub.watch::<Metal3DataClaim>().get(&at(&name)));
    let template =
        named(&data.spec.template).and_then(|name| hub.watch::<Metal3DataTemplate>().get(&at(&name)));
    let owner = claim.as_ref().and_then(|claim| owner_of_kind::<Metal3Machine>(&claim.metadata).cloned());
    let metal3_machine = owner.and_then(|owner| hub.watch::<Metal3Machine>().get(&at(&owner.name)));
    let machine = metal3_machine
        .as_ref()
        .and_then(|machine| owner_of_kind::<Machine>(&machine.metadata))
        .and_then(|owner| hub.watch::<Machine>().get(&at(&owner.name)));
    let host = metal3_machine.as_ref().and_then(|machine| {
        let hosts = hub.watch::<BareMetalHost>().list_by(&CONSUMER, &namespace, &machine.name_any());
        hosts.into_iter().find(|host| is_consumer(host, machine))
    });
    let secrets = metal3_machine.iter().flat_map(|machine| secret_names(&machine.name_any()));
    let secrets =
        secrets.filter_map(|name| Some((name.clone(), hub.watch_meta::<Secret>().get(&at(&name))?)));
    let secrets = secrets.collect();
    let addresses = addresses(hub, data);
    Observed { cluster, claim, template, metal3_machine, machine, host, addresses, secrets }
}

fn addresses(hub: &Hub, data: &Metal3Data) -> BTreeMap<String, Asked> {
    let uid = data.uid().unwrap_or_default();
    let at = |name: &str| Key::new(data.namespace().unwrap_or_default(), name);
    let own = hub.watch::<IPClaim>().owned_by(&uid).into_iter().map(|claim| {
        let status = claim.status.clone().unwrap_or_default();
        let found = status.address.and_then(|address| hub.watch::<IPAddress>().get(&at(&address.name?)));
        let waits = status.error_message.unwrap_or_else(|| "not answered yet".to_owned());
        let answer = found
            .map_or_else(|| Err(format!("IPClaim {}: {waits}", claim.name_any())), |found| of_metal3(&found));
        (claim.name_any(), Asked { claim: AddressClaim::Metal3(claim), answer })
    });
    let others = hub.watch::<IPAddressClaim>().owned_by(&uid).into_iter().map(|claim| {
        let reference = claim.status.as_ref().and_then(|status| status.address_ref.as_ref());
        let found = reference.and_then(|address| hub.watch::<contract::IPAddress>().get(&at(&address.name)));
        let waits = || {
            Err(format!(
                "IPAddressClaim {}: its pool's controller has given no address yet",
                claim.name_any()
            ))
        };
        let answer = found.map_or_else(waits, |found| of_contract(&found));
        (claim.name_any(), Asked { claim: AddressClaim::Contract(claim), answer })
    });
    own.chain(others).collect()
}

fn parsed(address: &str, name: String) -> Result<IpAddr, String> {
    address.parse().map_err(|_| format!("IPAddress {name}: {address:?} is no IP address"))
}

fn of_metal3(found: &IPAddress) -> Result<PoolAddress, String> {
    let spec = &found.spec;
    let parse = |text: &String| parsed(text, found.name_any());
    Ok(PoolAddress {
        address: parse(&spec.address)?,
        prefix: spec.prefix.and_then(|prefix| u8::try_from(prefix).ok()),
        gateway: spec.gateway.as_ref().filter(|gateway| !gateway.is_empty()).map(parse).transpose()?,
        dns_servers: spec.dns_servers.iter().map(parse).collect::<Result<_, _>>()?,
    })
}

fn of_contract(found: &contract::IPAddress) -> Result<PoolAddress, String> {
    let spec = &found.spec;
    let parse = |text: &String| parsed(text, found.name_any());
    Ok(PoolAddress {
        address: parse(&spec.address)?,
        prefix: u8::try_from(spec.prefix).ok(),
        gateway: spec.gateway.as_ref().filter(|gateway| !gateway.is_empty()).map(parse).transpose()?,
        dns_servers: Vec::new(),
    })
}
