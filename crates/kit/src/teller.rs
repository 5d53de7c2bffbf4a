//! Tells on an object that it cannot be read: one warning event for each version that is at fault.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use crate::key::Kind;
use crate::limits::LONGEST_NOTE;
use crate::text::cut;
use crate::unreadable::Unreadable;
use crate::watch::{Found, Watch};

/// The reason of the events.
pub(crate) const REASON: &str = "Unreadable";

/// Tells of every object of this watch that cannot be read, one at a time: a thousand of them are no storm.
pub(crate) fn tell_of_unreadable<K: Kind>(watch: &Watch<K>, client: Client, kind: &K::DynamicType) {
    let (send, mut bad) = mpsc::unbounded_channel::<Arc<Unreadable>>();
    watch.listen_unreadable(move |bad| send.send(Arc::clone(bad)).is_ok());
    let api_version = K::api_version(kind).into_owned();
    let watch = watch.clone();
    tokio::spawn(async move {
        let reporter = Reporter { controller: crate::write::MANAGER.to_owned(), instance: None };
        let recorder = Recorder::new(client, reporter);
        while let Some(bad) = bad.recv().await {
            // Mended or gone while it waited for its turn.
            let is_so = matches!(watch.find(&bad.key()), Found::Unreadable(now) if Arc::ptr_eq(&now, &bad));
            if is_so {
                tell(&recorder, &api_version, &bad).await;
            }
        }
    });
}

async fn tell(recorder: &Recorder, api_version: &str, bad: &Unreadable) {
    let (kind, key, field) = (&bad.kind, bad.key(), &bad.fault.path);
    // Not the reason: it may quote the value. Who may read the object finds it in the event.
    tracing::warn!(kind, object = %key, field, "object cannot be read; it is left alone");
    let mut note = format!("{}; until this is mended nothing is done about it", bad.message());
    cut(&mut note, LONGEST_NOTE);
    let event = Event {
        type_: EventType::Warning,
        reason: REASON.to_owned(),
        note: Some(note),
        action: REASON.to_owned(),
        secondary: None,
    };
    let about = ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.clone()),
        name: bad.metadata.name.clone(),
        namespace: bad.metadata.namespace.clone(),
        uid: bad.metadata.uid.clone(),
        ..ObjectReference::default()
    };
    if let Err(error) = recorder.publish(&event, &about).await {
        tracing::warn!(kind, object = %key, %error, "event not written");
    }
}
