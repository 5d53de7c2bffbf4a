//! What to do about a Metal3Data. Pure.
//!
//! ```text
//! host of the claim's machine ─► an address of each pool ─► Secrets ─► ready
//! deletion: the claim is gone ─► addresses given back ─► gone
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ObjectReference, Secret, SecretReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use scute_api::infrastructure::{
    METAL3_DATA_FINALIZER, Metal3Data, Metal3DataStatus, Metal3DataTemplate, PoolRef,
};
use scute_api::ipam::{IPAddressClaim, IPClaim};
use scute_api::meta::{CLUSTER_NAME_LABEL, ContractRef};
use scute_contract::owners::{owner, owner_of_kind};
use scute_metaldata::{Facts, PoolAddress, pools, render_metadata, render_networkdata};

use super::observe::{AddressClaim, Observed, secret_names};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask for an address.
    Ask(Box<AddressClaim>),
    /// Make a Secret, unless there is one of its name.
    MakeSecret(Box<Secret>),
    /// Write down which Secrets they are.
    Refer(Option<SecretReference>, Option<SecretReference>),
    /// Give an address back.
    GiveBack(AddressClaim),
    /// Let the Metal3Data go.
    RemoveFinalizer,
}

/// What to do, and what is said.
#[derive(Debug, Default)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The status.
    pub status: Metal3DataStatus,
}

/// Decides.
#[must_use]
pub fn plan(data: &Metal3Data, seen: &Observed) -> Plan {
    let mut actions = Vec::new();
    if data.metadata.deletion_timestamp.is_some() {
        let waits = deletion(seen, &mut actions);
        return Plan {
            actions,
            status: Metal3DataStatus { error_message: waits, ..data.status.clone().unwrap_or_default() },
        };
    }
    // A rendering that a server may run with stays as it is.
    if data.status.as_ref().is_some_and(|status| status.ready == Some(true)) && has_secrets(data, seen) {
        return Plan { actions, status: Metal3DataStatus { ready: Some(true), error_message: None } };
    }
    let outcome = render(data, seen, &mut actions);
    let (ready, error_message) = (outcome.is_ok(), outcome.err());
    Plan { actions, status: Metal3DataStatus { ready: Some(ready), error_message } }
}

fn has_secrets(data: &Metal3Data, seen: &Observed) -> bool {
    let there = |secret: &Option<SecretReference>| {
        let name = secret.as_ref().and_then(|secret| secret.name.as_ref());
        name.is_none_or(|name| seen.secrets.contains_key(name))
    };
    there(&data.spec.meta_data) && there(&data.spec.network_data)
}

/// What is still missing, if anything.
fn render(data: &Metal3Data, seen: &Observed, actions: &mut Vec<Action>) -> Result<(), String> {
    let missing = |what: &str| format!("waits for its {what}");
    let template = seen.template.as_deref().ok_or_else(|| missing("Metal3DataTemplate"))?;
    let metal3_machine = seen.metal3_machine.as_deref().ok_or_else(|| missing("Metal3Machine"))?;
    let machine = seen.machine.as_deref().ok_or_else(|| missing("Machine"))?;
    let host = seen.host.as_deref().ok_or_else(|| missing("BareMetalHost"))?;
    let hardware = host.status.clone().unwrap_or_default().hardware.unwrap_or_default();
    let none = BTreeMap::new();
    let facts = Facts {
        index: data.spec.index.unwrap_or_default(),
        machine: &machine.metadata,
        metal3_machine: &metal3_machine.metadata,
        host: &host.metadata,
        boot_mac: host.spec.boot_mac_address.as_deref(),
        nics: &hardware.nics,
        addresses: &none,
    };
    let pools = pools(&template.spec, &facts).map_err(|error| error.to_string())?;
    let addresses = ask(data, pools.into_values(), seen, actions)?;
    let facts = Facts { addresses: &addresses, ..facts };
    let rendered = rendered(template, &facts)?;
    let names = secret_names(&metal3_machine.name_any());
    let mut references = [None, None];
    for (((text, key), name), reference) in
        rendered.into_iter().zip(["metaData", "networkData"]).zip(names).zip(&mut references)
    {
        let Some(text) = text else { continue };
        *reference = Some(SecretReference { name: Some(name.clone()), namespace: data.namespace() });
        match seen.secrets.get(&name) {
            None => actions.push(Action::MakeSecret(Box::new(secret(data, name, key, text)))),
            Some(known) => usable(data, &known.metadata)?,
        }
    }
    let [meta_data, network_data] = references;
    if (&meta_data, &network_data) != (&data.spec.meta_data, &data.spec.network_data) {
        actions.push(Action::Refer(meta_data, network_data));
    }
    Ok(())
}

/// Both texts, in the order of the Secrets.
fn rendered(template: &Metal3DataTemplate, facts: &Facts) -> Result<[Option<String>; 2], String> {
    let metadata = template.spec.meta_data.as_ref().map(|template| render_metadata(template, facts));
    let network = template.spec.network_data.as_ref().map(|template| render_networkdata(template, facts));
    let text = |rendered: Option<Result<String, scute_metaldata::RenderError>>| {
        rendered.transpose().map_err(|error| error.to_string())
    };
    Ok([text(metadata)?, text(network)?])
}

/// A Secret that the user has made is used; that of another rendering has the addresses of another server.
pub fn usable(data: &Metal3Data, secret: &ObjectMeta) -> Result<(), String> {
    let stranger =
        owner_of_kind::<Metal3Data>(secret).filter(|owner| Some(&owner.uid) != data.metadata.uid.as_ref());
    match stranger {
        Some(owner) => {
            let name = secret.name.clone().unwrap_or_default();
            Err(format!("Secret {name} is still that of Metal3Data {}, which is on its way out", owner.name))
        }
        None => Ok(()),
    }
}

/// An address of each pool; those that were not asked for are.
fn ask(
    data: &Metal3Data,
    pools: impl Iterator<Item = PoolRef>,
    seen: &Observed,
    actions: &mut Vec<Action>,
) -> Result<BTreeMap<String, PoolAddress>, String> {
    let (mut addresses, mut waits) = (BTreeMap::new(), Vec::new());
    for pool in pools {
        match seen.addresses.get(&claim_name(data, &pool)).map(|asked| &asked.answer) {
            Some(Ok(address)) => {
                addresses.insert(pool.name, address.clone());
            }
            Some(Err(why)) => waits.push(why.clone()),
            None => {
                waits.push(format!("an address of {} {} is being asked for", pool.kind, pool.name));
                actions.push(Action::Ask(Box::new(claim(data, &pool))));
            }
        }
    }
    if waits.is_empty() { Ok(addresses) } else { Err(waits.join("; ")) }
}

/// As upstream has it, so that `preAllocations` of pools name it.
fn claim_name(data: &Metal3Data, pool: &PoolRef) -> String {
    format!("{}-{}", data.name_any(), pool.name)
}

fn claim(data: &Metal3Data, pool: &PoolRef) -> AddressClaim {
    let cluster = data.labels().get(CLUSTER_NAME_LABEL);
    let metadata = ObjectMeta {
        name: Some(claim_name(data, pool)),
        namespace: data.namespace(),
        labels: cluster.map(|cluster| [(CLUSTER_NAME_LABEL.to_owned(), cluster.clone())].into()),
        owner_references: Some(vec![owner(data, true)]),
        // Its address is the server's until the Metal3Data goes, whoever deletes the claim.
        finalizers: Some(vec![METAL3_DATA_FINALIZER.to_owned()]),
        ..ObjectMeta::default()
    };
    if pool.is_metal3() {
        let mut claim = IPClaim { metadata, ..IPClaim::default() };
        claim.spec.pool = ObjectReference {
            name: Some(pool.name.clone()),
            namespace: data.namespace(),
            ..ObjectReference::default()
        };
        return AddressClaim::Metal3(Arc::new(claim));
    }
    let mut claim = IPAddressClaim { metadata, ..IPAddressClaim::default() };
    claim.spec.cluster_name = cluster.cloned();
    claim.spec.pool_ref =
        ContractRef { api_group: pool.api_group.clone(), kind: pool.kind.clone(), name: pool.name.clone() };
    AddressClaim::Contract(Arc::new(claim))
}

fn secret(data: &Metal3Data, name: String, key: &str, text: String) -> Secret {
    let cluster = data.labels().get(CLUSTER_NAME_LABEL);
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: data.namespace(),
            labels: cluster.map(|cluster| [(CLUSTER_NAME_LABEL.to_owned(), cluster.clone())].into()),
            owner_references: Some(vec![owner(data, true)]),
            ..ObjectMeta::default()
        },
        type_: Some("infrastructure.cluster.x-k8s.io/secret".to_owned()),
        data: Some([(key.to_owned(), ByteString(text.into_bytes()))].into()),
        ..Secret::default()
    }
}

/// What it waits for, if anything.
fn deletion(seen: &Observed, actions: &mut Vec<Action>) -> Option<String> {
    let living = seen
        .claim
        .as_ref()
        .filter(|claim| claim.metadata.deletion_timestamp.is_none() || seen.metal3_machine.is_some());
    if let Some(claim) = living {
        return Some(format!("deleted, and in use by Metal3DataClaim {}", claim.name_any()));
    }
    actions.extend(seen.addresses.values().map(|asked| Action::GiveBack(asked.claim.clone())));
    if seen.addresses.is_empty() {
        actions.push(Action::RemoveFinalizer);
    }
    Some("addresses are being given back".to_owned())
}
