//! The Secret that makes a bootstrap token known to a cluster.

use crate::NODE_BOOTSTRAP_GROUP;
use serde_json::{Value, json};

/// Secret `kube-system/bootstrap-token-<id>` for joining Nodes: usages `signing` and `authentication`, group
/// [`NODE_BOOTSTRAP_GROUP`]. `expiration` is RFC 3339 in UTC, as the token cleaner reads it. Holds a secret.
pub fn secret(id: &str, token_secret: &str, expiration: &str, description: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "auth-extra-groups": NODE_BOOTSTRAP_GROUP,
            "description": description,
            "expiration": expiration,
            "token-id": id,
            "token-secret": token_secret,
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
        },
    })
}
