//! The default DataStore: the etcd of tenants, and the Secrets by which the manager administers it.

use crate::{NAMESPACE, TenantsEtcd};
use serde_json::{Value, json};

/// Its name.
pub const DATA_STORE: &str = "default";
/// Secret of its authority, which signs tenants' certificates.
pub const CA_SECRET: &str = "etcd-tenants-ca";
/// Secret of its root user's certificate.
pub const CLIENT_SECRET: &str = "etcd-tenants-root-client";

/// Its authority, which signs tenants' certificates, and its root user's certificate.
pub fn secrets(etcd: &TenantsEtcd) -> Vec<Value> {
    let secret = |name: &str, pairs: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": pairs,
        })
    };
    let authority = json!({"ca.crt": etcd.root.ca, "ca.key": etcd.authority_key});
    let client = json!({"tls.crt": etcd.root.certificate, "tls.key": etcd.root.key});
    vec![secret(CA_SECRET, authority), secret(CLIENT_SECRET, client)]
}

/// The DataStore, with its Secrets in a namespace.
pub fn datastore(endpoints: &[String], namespace: &str) -> Value {
    let reference = |name: &str, key: &str| json!({"secretReference": {"name": name, "namespace": namespace, "keyPath": key}});
    json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "DataStore",
        "metadata": {"name": DATA_STORE},
        "spec": {
            "driver": "etcd",
            "endpoints": endpoints,
            "tlsConfig": {
                "certificateAuthority": {
                    "certificate": reference(CA_SECRET, "ca.crt"),
                    "privateKey": reference(CA_SECRET, "ca.key"),
                },
                "clientCertificate": {
                    "certificate": reference(CLIENT_SECRET, "tls.crt"),
                    "privateKey": reference(CLIENT_SECRET, "tls.key"),
                },
            },
        },
    })
}
