//! Events: reasons, told where a user looks for them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::Api;
use kube::runtime::events::EventType;
use kube::{Client, Resource};

use crate::hub::Hub;
use crate::key::{Key, Kind};
use crate::limits::LONGEST_NOTE;
use crate::memory::hash;
use crate::text::cut;
use crate::write::{MANAGER, post_params_of};
use crate::{is_terminating, said};

/// The longest reason and action that it takes.
const LONGEST_REASON: usize = 128;
/// The longest name of an object, without a point and the sixteen digits that make it the only one.
const LONGEST_NAME: usize = 253 - 17;

/// What an Event says, and who says it. What is too long is cut.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Name of the controller, which is the field manager of the Event as well.
    pub controller: &'a str,
    /// Which one of its kind: a Node, a Pod.
    pub instance: &'a str,
    /// Whether somebody has to look after it.
    pub kind: EventType,
    /// One word in CamelCase.
    pub reason: &'a str,
    /// A sentence for a person.
    pub note: &'a str,
}

impl Hub {
    /// Writes an Event about an object; the same reason and note about the same object are written once. A failure is
    /// logged: an event is never worth failing a reconcile.
    pub async fn event<K>(&self, about: &K, kind: EventType, reason: &str, note: &str)
    where
        K: Kind + Resource<DynamicType = ()>,
    {
        let memory = format!("{} {reason}", about.meta().uid.as_deref().unwrap_or_default());
        let hash = hash((reason, note));
        if self.events.say(&memory, hash) == Some(hash) {
            return;
        }
        let notice = Notice { controller: MANAGER, instance: MANAGER, kind, reason, note };
        if let Err(error) = post_event(&self.client(), about.object_ref(&()), notice, self.now()).await {
            tracing::warn!(object = %Key::of(about), reason, error = said(&error), "event not written");
        }
    }
}

/// Posts one Event. In a namespace that is going away nobody reads any.
///
/// # Errors
/// When the API server refuses for another reason, or does not answer.
pub async fn post_event(
    client: &Client,
    about: ObjectReference,
    notice: Notice<'_>,
    now: Timestamp,
) -> kube::Result<()> {
    let event = made(about, notice, now);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api = Api::<Event>::namespaced(client.clone(), &namespace);
    crate::metrics::wrote("create", "Event");
    match api.create(&post_params_of(notice.controller), &event).await {
        Err(error) if !is_terminating(&error) => Err(error),
        _ => Ok(()),
    }
}

fn made(regarding: ObjectReference, notice: Notice<'_>, now: Timestamp) -> Event {
    let Notice { controller, instance, kind, reason, note } = notice;
    let at_most = |text: &str, longest| {
        let mut text = text.to_owned();
        cut(&mut text, longest);
        text
    };
    let name = at_most(regarding.name.as_deref().unwrap_or_default(), LONGEST_NAME);
    Event {
        metadata: ObjectMeta {
            // Of a cluster-scoped object they are in the default namespace.
            namespace: Some(regarding.namespace.clone().unwrap_or_else(|| "default".to_owned())),
            name: Some(format!("{name}.{:016x}", now.as_nanosecond() as u64)),
            ..ObjectMeta::default()
        },
        type_: Some(match kind {
            EventType::Normal => "Normal".to_owned(),
            EventType::Warning => "Warning".to_owned(),
        }),
        reason: Some(at_most(reason, LONGEST_REASON)),
        action: Some(at_most(reason, LONGEST_REASON)),
        note: Some(at_most(note, LONGEST_NOTE)),
        event_time: Some(MicroTime(now)),
        regarding: Some(regarding),
        reporting_controller: Some(controller.to_owned()),
        reporting_instance: Some(at_most(instance, LONGEST_REASON)),
        ..Event::default()
    }
}
