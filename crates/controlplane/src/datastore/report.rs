//! What is said of a DataStore.

use jiff::Timestamp;
use scute_api::kamaji::{DataStore, DataStoreStatus};
use scute_kit::conditions::{Conditions, Status};
use scute_kit::{Key, Why};
use serde_json::{Value, json};

use super::Look;
use super::upkeep::Compaction;

const VALID: &str = "kamaji.clastix.io/DataStoreValidation";
const DELETABLE: &str = "kamaji.clastix.io/DataStoreAllowedDeletion";
const COMPACTED: &str = "scute.dev/DataStoreCompacted";

/// Who holds a DataStore up.
pub fn used_by(users: &[Key]) -> String {
    format!("used by {}", names(users).join(", "))
}

fn names(users: &[Key]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

/// The whole status.
pub fn status(datastore: &DataStore, users: &[Key], look: Result<&Look, &Why>, now: Timestamp) -> Value {
    let existing = datastore.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = datastore.metadata.generation;
    let mut conditions = Conditions::new(existing, generation, now);
    conditions = match look {
        Ok(Look { health, compaction }) => {
            let message = format!("etcd {} answers with authentication on", health.version);
            compacted(conditions.put(VALID, Status::True, "DataStoreIsValid", message), *compaction)
        }
        Err(why) => conditions.put(VALID, Status::False, &why.reason, why.message.as_str()),
    };
    conditions = if users.is_empty() {
        conditions.put(DELETABLE, Status::True, "DataStoreUnused", "no TenantControlPlane uses it")
    } else {
        conditions.put(DELETABLE, Status::False, "DataStoreStillUsed", used_by(users))
    };
    let ready = look.is_ok();
    json!(DataStoreStatus {
        observed_generation: generation,
        used_by: names(users),
        ready,
        conditions: conditions.finish(),
    })
}

/// An etcd that keeps every revision serves until its quota is full, and then nobody: no API server compacts it.
fn compacted(conditions: Conditions<'_>, compaction: Compaction) -> Conditions<'_> {
    match compaction {
        Compaction::TooYoung => conditions,
        Compaction::Seen => {
            conditions.put(COMPACTED, Status::True, "Compacted", "old revisions are forgotten")
        }
        Compaction::Never { .. } => conditions.put(
            COMPACTED,
            Status::False,
            "NeverCompacted",
            "etcd keeps every revision and takes no more writes once its quota is full: start it with \
             --auto-compaction-mode=periodic --auto-compaction-retention=5m",
        ),
    }
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
        let status = status(
            &datastore(),
            &[Key::new("a", "b")],
            Ok(&look(Compaction::TooYoung)),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(status["ready"], json!(true));
        assert_eq!(status["usedBy"], json!(["a/b"]));
        assert_eq!(status["observedGeneration"], json!(3));
        assert_eq!(reasons(&status), ["False=DataStoreStillUsed", "True=DataStoreIsValid"]);
    }

    fn look(compaction: Compaction) -> Look {
        let health = scute_etcd::Health { version: "3.6.6".into(), auth: true, alarms: vec![], revision: 1 };
        Look { health, compaction }
    }

    #[test]
    fn a_store_that_forgets_nothing_serves_and_is_named() {
        let status =
            status(&datastore(), &[], Ok(&look(Compaction::Never { kept: 1 })), Timestamp::UNIX_EPOCH);
        assert_eq!(status["ready"], json!(true));
        assert_eq!(
            reasons(&status),
            ["True=DataStoreUnused", "True=DataStoreIsValid", "False=NeverCompacted"]
        );
    }

    #[test]
    fn an_unreachable_store_says_so() {
        let why = Why::new("Unreachable", "asking for the status: no member answers");
        let status = status(&datastore(), &[], Err(&why), Timestamp::UNIX_EPOCH);
        assert_eq!(status["ready"], json!(false));
        assert_eq!(reasons(&status), ["True=DataStoreUnused", "False=Unreachable"]);
    }
}
