//! What the tests of this room start from.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use scute_api::kamaji::TenantControlPlane;
use scute_pki::{CA_VALIDITY, Ca, KeyAlgorithm};
use serde_json::{Value, json};

use super::certificates::Needs;
use super::endpoint::Endpoint;
use super::validate::{Wanted, validate};

/// When the tests happen.
pub const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// Authority of the DataStore.
pub static STORE_CA: LazyLock<Arc<Ca>> = LazyLock::new(|| {
    Arc::new(Ca::generate("etcd-ca", CA_VALIDITY, KeyAlgorithm::EcdsaP256, NOW).expect("a CA"))
});

/// A TenantControlPlane `default/t` with `over` laid over a minimal spec.
pub fn tcp(over: Value) -> TenantControlPlane {
    let mut object = json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "TenantControlPlane",
        "metadata": { "name": "t", "namespace": "default", "uid": "uid-of-t", "generation": 1 },
        "spec": {
            "controlPlane": { "deployment": { "replicas": 1 }, "service": { "serviceType": "LoadBalancer" } },
            "kubernetes": { "version": "v1.35.4" },
        },
    });
    merge(&mut object, over);
    serde_json::from_value(object).expect("a TenantControlPlane")
}

/// Lays one value over another.
pub fn merge(into: &mut Value, over: Value) {
    match (into, over) {
        (Value::Object(into), Value::Object(over)) => {
            for (key, value) in over {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, over) => *into = over,
    }
}

/// What it wants.
pub fn wanted(tcp: &TenantControlPlane) -> Wanted {
    validate(tcp, "default").expect("valid")
}

/// An endpoint at the load balancer's address.
pub fn endpoint() -> Endpoint {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    Endpoint { address: ip("172.30.0.128"), port: 6443, others: vec![ip("10.86.0.77")] }
}

/// Needs of that tenant there.
pub fn needs(tcp: &TenantControlPlane) -> Needs {
    Needs::new(&wanted(tcp), &endpoint(), &["etcd:2379".to_owned()], Arc::clone(&STORE_CA))
}
