//! BareMetalHosts and who may take them.

use std::collections::BTreeMap;

use scute_api::infrastructure::{HostSelector, Selector};
use scute_api::metal3::{BareMetalHost, BareMetalHostStatus, Hindrance, ProvisionStatus};
use serde_json::{Value, json};

use super::{number, of_kind, text};
use crate::model::nodes::NodeSize;
use crate::units::Mem;

/// A host, as far as it decides who may take it.
pub fn host(object: &Value) -> BareMetalHost {
    let some = |path: &str| object.pointer(path).cloned().unwrap_or_default();
    let metadata = json!({
        "name": some("/metadata/name"), "namespace": some("/metadata/namespace"), "labels": some("/metadata/labels"),
        "annotations": some("/metadata/annotations"), "deletionTimestamp": some("/metadata/deletionTimestamp"),
    });
    let mut host = BareMetalHost {
        metadata: serde_json::from_value(metadata).unwrap_or_default(),
        ..BareMetalHost::default()
    };
    host.spec.consumer_ref = serde_json::from_value(some("/spec/consumerRef")).unwrap_or_default();
    let state = serde_json::from_value(some("/status/provisioning/state")).unwrap_or_default();
    host.status = Some(BareMetalHostStatus {
        error_message: text(object, "/status/errorMessage").to_owned(),
        provisioning: ProvisionStatus { state, ..ProvisionStatus::default() },
        ..BareMetalHostStatus::default()
    });
    host
}

/// The labels of a host.
pub fn labels(host: &BareMetalHost) -> BTreeMap<String, String> {
    host.metadata.labels.clone().unwrap_or_default()
}

/// What inspection found of a host: in its status, or in the HardwareData of its name.
pub fn hardware<'a>(objects: &'a [Value], host: &'a Value) -> Option<&'a Value> {
    let data = || super::beside(objects, host, "HardwareData", text(host, "/metadata/name"));
    host.pointer("/status/hardware").filter(|h| !h.is_null()).or_else(|| data()?.pointer("/spec/hardware"))
}

/// The size of a server, when inspection found it.
pub fn size(hardware: &Value) -> Option<NodeSize> {
    let (cpus, memory) = (number(hardware, "/cpu/count")?, number(hardware, "/ramMebibytes")?);
    (cpus > 0 && memory > 0).then_some(NodeSize { cpus, memory: Mem(memory), gpus: 0 })
}

/// The hostSelector of a Metal3Machine's spec; `None` where it cannot be asked.
pub fn selector(spec: &Value) -> Option<Selector> {
    let written = spec.get("hostSelector").filter(|s| !s.is_null());
    let Some(written) = written else { return Some(Selector::default()) };
    serde_json::from_value::<HostSelector>(written.clone()).ok()?.selector().ok()
}

/// A host of a namespace, and why a Metal3Machine cannot have it.
pub struct Offer {
    /// Its name.
    pub name: String,
    /// Parts of the selector that it does not fit.
    pub misfits: Vec<String>,
    /// Why nobody can take it now.
    pub hindrance: Option<Hindrance>,
}

impl Offer {
    /// Whether it can be taken.
    pub fn free(&self) -> bool {
        self.misfits.is_empty() && self.hindrance.is_none()
    }

    /// Why not, for a person.
    pub fn why(&self) -> String {
        match (self.misfits.as_slice(), &self.hindrance) {
            ([], None) => format!("{} is free", self.name),
            ([], Some(why)) => format!("{} {why}", self.name),
            (parts, _) => {
                format!("{} does not fit hostSelector.{}", self.name, parts.join(", hostSelector."))
            }
        }
    }
}

/// Every host of the namespace, those that come nearest to the selector first.
pub fn offers(objects: &[Value], namespace: &str, selector: &Selector) -> Vec<Offer> {
    let own = of_kind(objects, "BareMetalHost").filter(|o| text(o, "/metadata/namespace") == namespace);
    let mut offers: Vec<Offer> = own
        .map(|object| {
            let host = host(object);
            let misfits = selector.misfits(&labels(&host)).map(|misfit| misfit.to_string()).collect();
            Offer { name: text(object, "/metadata/name").to_owned(), misfits, hindrance: host.hindrance() }
        })
        .collect();
    offers.sort_by_key(|o| (o.misfits.len(), o.hindrance.is_some(), crate::input::natural(&o.name)));
    offers
}
