//! Tells on an object that it cannot be read: a warning event, and a condition where its kind has any. The condition goes
//! when the object can be read again.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Client;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::request::Request;
use kube::runtime::events::EventType;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::conditions::whole_seconds;
use crate::event::{Notice, post_event};
use crate::key::{Key, Kind};
use crate::limits::LONGEST_NOTE;
use crate::memory::{Memory, hash};
use crate::said;
use crate::text::cut;
use crate::unreadable::{CONDITION, Unreadable};
use crate::watch::{Found, Watch};
use crate::write::MANAGER;

/// The reason of the events and of the condition.
pub(crate) const REASON: &str = "Unreadable";
/// Field manager of the condition.
const CONDITION_MANAGER: &str = "scute-unreadable";
/// How often the condition is taken away again from an object that somebody writes in between.
const TRIES: u32 = 5;

/// What is to be told.
enum News {
    Unreadable(Arc<Unreadable>),
    /// It can be read, and may still say that it cannot.
    Mended(Arc<Key>),
}

impl News {
    fn key(&self) -> Key {
        match self {
            Self::Unreadable(bad) => bad.key(),
            Self::Mended(key) => Key::clone(key),
        }
    }
}

/// Tells of every object of this watch that cannot be read, one at a time: a thousand of them are no storm. Begins when
/// `works` says so: a manager that waits for its lease writes nothing.
pub(crate) fn tell_of_unreadable<K: Kind>(
    watch: &Watch<K>,
    client: Client,
    clock: Clock,
    kind: &K::DynamicType,
    mut works: tokio::sync::watch::Receiver<bool>,
) {
    let (send, mut news) = mpsc::unbounded_channel();
    let also = send.clone();
    watch.listen_unreadable(move |bad| send.send(News::Unreadable(Arc::clone(bad))).is_ok());
    watch.listen_mended(move |key| also.send(News::Mended(Arc::clone(key))).is_ok());
    let teller = Teller::<K> { client, clock, kind: kind.clone(), told: Memory::default() };
    let watch = watch.clone();
    tokio::spawn(async move {
        // Without a hub nobody works any more.
        if works.wait_for(|works| *works).await.is_err() {
            return;
        }
        while let Some(news) = news.recv().await {
            // What was true may have passed while it waited for its turn.
            match (&news, watch.find(&news.key())) {
                (News::Unreadable(bad), Found::Unreadable(now)) if Arc::ptr_eq(&now, bad) => {
                    teller.tell(bad).await;
                }
                (News::Mended(key), Found::Object(_)) => teller.mended(key).await,
                _ => {}
            }
        }
    });
}

struct Teller<K: Kind> {
    client: Client,
    clock: Clock,
    kind: K::DynamicType,
    /// What was told of an object: others may take the condition away, and it is not a game.
    told: Memory,
}

impl<K: Kind> Teller<K> {
    async fn tell(&self, bad: &Unreadable) {
        let mut message = format!("{}; until this is mended nothing is done about it", bad.message());
        cut(&mut message, LONGEST_NOTE);
        let (event, condition) = topics(bad.metadata.uid.as_deref());
        let hash = hash(&message);
        if self.told.say(&event, hash) != Some(hash) {
            self.event(bad, &message).await;
        }
        if self.told.last(&condition) != Some(hash) && self.condition(bad, &message).await {
            self.told.say(&condition, hash);
        }
    }

    async fn event(&self, bad: &Unreadable, message: &str) {
        let (kind, key, field) = (&bad.kind, bad.key(), &bad.fault.path);
        // Not the reason: it may quote the value. Who may read the object finds it in the event.
        tracing::warn!(kind, object = %key, field, "object cannot be read; it is left alone");
        let notice = Notice {
            controller: MANAGER,
            instance: MANAGER,
            kind: EventType::Warning,
            reason: REASON,
            note: message,
        };
        let about = ObjectReference {
            api_version: Some(K::api_version(&self.kind).into_owned()),
            kind: Some(kind.clone()),
            name: bad.metadata.name.clone(),
            namespace: bad.metadata.namespace.clone(),
            uid: bad.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        if let Err(error) = post_event(&self.client, about, notice, self.clock.now()).await {
            tracing::warn!(kind, object = %key, error = said(&error), "event not written");
        }
    }

    /// Writes the condition; answers whether that is settled, one way or the other.
    async fn condition(&self, bad: &Unreadable, message: &str) -> bool {
        let Some(patch) = with_condition(bad, message, self.clock.now()) else { return false };
        match self.patch_status(&bad.key(), patch).await {
            Ok(()) => true,
            // Somebody wrote in between, and that version is on its way to here.
            Err(kube::Error::Api(status)) if status.code == 422 => false,
            // It is gone, or its kind has no status.
            Err(kube::Error::Api(_)) => true,
            Err(error) => {
                let (kind, key) = (&bad.kind, bad.key());
                tracing::warn!(kind, object = %key, error = said(&error), "condition not written");
                false
            }
        }
    }

    /// Takes the condition away. Read anew: of an object that can be read nobody kept the text.
    async fn mended(&self, key: &Key) {
        for _ in 0..TRIES {
            let answer = match self.request(key).get(&key.name, &GetParams::default()) {
                Ok(request) => self.client.request::<Value>(request).await,
                Err(error) => Err(kube::Error::BuildRequest(error)),
            };
            let Ok(object) = answer else { return };
            let Some(patch) = without_condition(&object) else { return };
            let (event, condition) = topics(object["metadata"]["uid"].as_str());
            for topic in [event, condition] {
                self.told.say(&topic, 0);
            }
            match self.patch_status(key, patch).await {
                Err(kube::Error::Api(status)) if status.code == 422 => {}
                Err(error) => {
                    tracing::warn!(object = %key, error = said(&error), "condition not taken away");
                    return;
                }
                Ok(()) => return,
            }
        }
    }

    async fn patch_status(&self, key: &Key, patch: Value) -> kube::Result<()> {
        let params =
            PatchParams { field_manager: Some(CONDITION_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::<Value>::Json(serde_json::from_value(patch).map_err(kube::Error::SerdeError)?);
        let request = self
            .request(key)
            .patch_subresource("status", &key.name, &params, &patch)
            .map_err(kube::Error::BuildRequest)?;
        self.client.request::<Value>(request).await.map(|_| ())
    }

    fn request(&self, key: &Key) -> Request {
        Request::new(K::url_path(&self.kind, key.namespace()))
    }
}

/// What is remembered of an object: the event, the condition.
fn topics(uid: Option<&str>) -> (String, String) {
    let uid = uid.unwrap_or_default();
    (format!("{uid} event"), format!("{uid} condition"))
}

/// The patch that puts the condition on this version of the object and no other; None where it is there already. Not a
/// server-side apply: in half of the kinds the conditions are a list of one owner, and an apply would drop the others.
fn with_condition(bad: &Unreadable, message: &str, now: Timestamp) -> Option<Value> {
    let status = bad.value("/status").filter(Value::is_object);
    let mut conditions = match status.as_ref().and_then(|status| status.get("conditions")) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(conditions)) => conditions.clone(),
        Some(_) => return None,
    };
    let before = conditions.iter().position(is_ours).map(|at| conditions.remove(at));
    if before.as_ref().is_some_and(|before| before["message"] == message) {
        return None;
    }
    let since = before.map(|before| before["lastTransitionTime"].clone());
    let mut condition = json!(Condition {
        type_: CONDITION.to_owned(),
        status: "False".to_owned(),
        reason: REASON.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(whole_seconds(now)),
        observed_generation: bad.metadata.generation,
    });
    if let Some(since) = since {
        condition["lastTransitionTime"] = since;
    }
    conditions.push(condition);
    let (path, value) = match status {
        Some(_) => ("/status/conditions", json!(conditions)),
        None => ("/status", json!({ "conditions": conditions })),
    };
    Some(patch_of(&json!(bad.metadata.resource_version), path, &value))
}

/// The patch that takes the condition away; None where there is none.
fn without_condition(object: &Value) -> Option<Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    let others: Vec<_> = conditions.iter().filter(|condition| !is_ours(condition)).collect();
    let is_there = others.len() < conditions.len();
    is_there.then(|| patch_of(&object["metadata"]["resourceVersion"], "/status/conditions", &json!(others)))
}

fn is_ours(condition: &Value) -> bool {
    condition["type"] == CONDITION && condition["reason"] == REASON
}

fn patch_of(version: &Value, path: &str, value: &Value) -> Value {
    json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": version },
        { "op": "add", "path": path, "value": value },
    ])
}
