//! What is known of one server when a template is rendered for it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scute_api::infrastructure::{FromAnnotation, FromObject};
use scute_api::metal3::Nic;

use crate::RenderError;
use crate::error::kind;

/// What is known of one server.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Index of its Metal3Data.
    pub index: i32,
    /// The Machine.
    pub machine: &'a ObjectMeta,
    /// The Metal3Machine.
    pub metal3_machine: &'a ObjectMeta,
    /// The BareMetalHost.
    pub host: &'a ObjectMeta,
    /// Its `spec.bootMACAddress`.
    pub boot_mac: Option<&'a str>,
    /// Its interfaces, as inspection found them.
    pub nics: &'a [Nic],
    /// Its addresses, by the name of the pool.
    pub addresses: &'a BTreeMap<String, PoolAddress>,
}

/// An address of a pool, and what the pool says of its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the network's prefix.
    pub prefix: Option<u8>,
    /// Gateway of the network.
    pub gateway: Option<IpAddr>,
    /// DNS servers.
    pub dns_servers: Vec<IpAddr>,
}

impl<'a> Facts<'a> {
    pub(crate) fn meta(&self, object: FromObject) -> &'a ObjectMeta {
        match object {
            FromObject::Machine => self.machine,
            FromObject::Metal3Machine => self.metal3_machine,
            FromObject::BareMetalHost => self.host,
        }
    }

    pub(crate) fn address(&self, field: &'static str, pool: &str) -> Result<&'a PoolAddress, RenderError> {
        let missing = || RenderError::NoAddress { field, pool: pool.to_owned() };
        self.addresses.get(pool).ok_or_else(missing)
    }

    /// The MAC address of an interface of the host.
    pub(crate) fn mac(&self, field: &'static str, name: &str) -> Result<&'a str, RenderError> {
        if let Some(nic) = self.nics.iter().find(|nic| nic.name == name) {
            return Ok(&nic.mac);
        }
        let mut known: Vec<_> = self.nics.iter().map(|nic| nic.name.as_str()).collect();
        known.dedup();
        let known =
            if known.is_empty() { "none, as it was not inspected".to_owned() } else { known.join(", ") };
        Err(RenderError::NoInterface { field, host: name_of(self.host), name: name.to_owned(), known })
    }

    /// The value of an annotation that must be there.
    pub(crate) fn annotation(
        &self,
        field: &'static str,
        from: &FromAnnotation,
    ) -> Result<&'a str, RenderError> {
        let annotations = self.meta(from.object).annotations.as_ref();
        let value = annotations.and_then(|all| all.get(&from.annotation)).filter(|value| !value.is_empty());
        let missing = || RenderError::NoAnnotation {
            field,
            object: kind(from.object),
            annotation: from.annotation.clone(),
        };
        value.map(String::as_str).ok_or_else(missing)
    }
}

pub(crate) fn name_of(meta: &ObjectMeta) -> String {
    meta.name.clone().unwrap_or_default()
}
