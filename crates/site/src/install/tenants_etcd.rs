//! The default DataStore: the site's second etcd, and the Secrets by which the manager administers it.

use super::{InstallError, NAMESPACE, manager::pki_file};
use crate::{Layout, SiteConfig, node::static_pods::TENANTS_ETCD_PORT};
use serde_json::{Value, json};

const CA_SECRET: &str = "etcd-tenants-ca";
const CLIENT_SECRET: &str = "etcd-tenants-root-client";

/// Its authority, which signs tenants' certificates, and its root user's certificate.
pub fn secrets(layout: &Layout) -> Result<Vec<Value>, InstallError> {
    let secret = |name: &str, pairs: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": pairs,
        })
    };
    let authority = json!({
        "ca.crt": pki_file(layout, "etcd-tenants-ca.crt")?,
        "ca.key": pki_file(layout, "etcd-tenants-ca.key")?,
    });
    let client = json!({
        "tls.crt": pki_file(layout, "etcd-tenants-root-client.crt")?,
        "tls.key": pki_file(layout, "etcd-tenants-root-client.key")?,
    });
    Ok(vec![secret(CA_SECRET, authority), secret(CLIENT_SECRET, client)])
}

/// The DataStore `default`.
pub fn datastore(config: &SiteConfig) -> Value {
    let reference = |name: &str, key: &str| json!({"secretReference": {"name": name, "namespace": NAMESPACE, "keyPath": key}});
    json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "DataStore",
        "metadata": {"name": "default"},
        "spec": {
            "driver": "etcd",
            "endpoints": [format!("{}:{TENANTS_ETCD_PORT}", config.addresses.node)],
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
