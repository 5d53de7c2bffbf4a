//! What is said of a DataStore.

use jiff::Timestamp;
use scute_api::kamaji::{DataStore, DataStoreStatus};
use scute_etcd::Health;
use scute_kit::Why;
use scute_kit::conditions::{Conditions, Status};
use serde_json::{Value, json};

const VALID: &str = "kamaji.clastix.io/DataStoreValidation";
const DELETABLE: &str = "kamaji.clastix.io/DataStoreAllowedDeletion";

/// The whole status.
pub fn status(
    datastore: &DataStore,
    users: &[String],
    health: Result<&Health, &Why>,
    now: Timestamp,
) -> Value {
    let existing = datastore.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = datastore.metadata.generation;
    let mut conditions = Conditions::new(existing, generation, now);
    conditions = match health {
        Ok(health) => {
            let message = format!("etcd {} answers with authentication on", health.version);
            conditions.put(VALID, Status::True, "DataStoreIsValid", message)
        }
        Err(why) => conditions.put(VALID, Status::False, &why.reason, why.message.as_str()),
    };
    conditions = if users.is_empty() {
        conditions.put(DELETABLE, Status::True, "DataStoreUnused", "no TenantControlPlane uses it")
    } else {
        let message = format!("used by {}", users.join(", "));
        conditions.put(DELETABLE, Status::False, "DataStoreStillUsed", message)
    };
    let ready = health.is_ok();
    json!(DataStoreStatus {
        observed_generation: generation,
        used_by: users.to_vec(),
        ready,
        conditions: conditions.finish(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datastore() -> DataStore {
        serde_json::from_value(json!({
            "apiVersion": "kamaji.clastix.io/v1alpha1",
            "kind": "DataStore",
            "metadata": { "name": "default", "generation": 3 },
            "spec": {
                "driver": "etcd",
                "endpoints": ["etcd:2379"],
                "tlsConfig": {
                    "certificateAuthority": { "certificate": { "content": "YQ==" }, "privateKey": { "content": "YQ==" } },
                    "clientCertificate": { "certificate": { "content": "YQ==" }, "privateKey": { "content": "YQ==" } },
                },
            },
        }))
        .expect("a DataStore")
    }

    fn reasons(status: &Value) -> Vec<String> {
        let conditions = status["conditions"].as_array().expect("a list");
        conditions
            .iter()
            .map(|condition| format!("{}={}", condition["status"], condition["reason"]).replace('"', ""))
            .collect()
    }

    #[test]
    fn a_healthy_store_in_use_is_ready_and_kept() {
        let health = Health { version: "3.6.5".into(), auth: true, alarms: vec![] };
        let status = status(&datastore(), &["a/b".to_owned()], Ok(&health), Timestamp::UNIX_EPOCH);
        assert_eq!(status["ready"], json!(true));
        assert_eq!(status["usedBy"], json!(["a/b"]));
        assert_eq!(status["observedGeneration"], json!(3));
        assert_eq!(reasons(&status), ["False=DataStoreStillUsed", "True=DataStoreIsValid"]);
    }

    #[test]
    fn an_unreachable_store_says_so() {
        let why = Why::new("Unreachable", "asking for the status: no member answers");
        let status = status(&datastore(), &[], Err(&why), Timestamp::UNIX_EPOCH);
        assert_eq!(status["ready"], json!(false));
        assert_eq!(reasons(&status), ["True=DataStoreUnused", "False=Unreachable"]);
    }
}
