//! Objects that a real API server stores and our type refuses: told on the object, and nobody else is hindered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{CustomResource, Resource, ResourceExt};
use scute_kit::{Controller, Found, Hub, Key, Next, Watch};
use scute_testkit::{eventually, server, until};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Mutex as Turn, MutexGuard, OnceCell};

/// A kind whose schema takes more than the type: so does that of every `format` which the API server does not know.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize)]
#[kube(group = "test.scute.dev", version = "v1", kind = "Widget", namespaced, schema = "disabled")]
struct WidgetSpec {
    size: i32,
    #[serde(default)]
    after: Option<jiff::Timestamp>,
}

static CRD: OnceCell<()> = OnceCell::const_new();
/// A manager tells of objects in every namespace, other tests' too: one test at a time.
static TURN: Turn<()> = Turn::const_new(());

/// A hub that has listed nothing yet, as after a restart, and a namespace.
async fn hub(prefix: &str) -> (Arc<Hub>, String) {
    let server = server().await;
    let client = server.client().await;
    CRD.get_or_init(|| async {
        let definition: CustomResourceDefinition = serde_json::from_value(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.test.scute.dev"},
            "spec": {
                "group": "test.scute.dev", "scope": "Namespaced",
                "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
                "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                        },
                    }}}],
            },
        }))
        .unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &definition).await.unwrap();
        until("the kind is served", || async {
            Api::<DynamicObject>::all_with(client.clone(), &widgets()).list(&ListParams::default()).await.ok()
        })
        .await;
    })
    .await;
    (Hub::new(client), server.namespace(prefix).await)
}

fn widgets() -> ApiResource {
    ApiResource::erase::<Widget>(&())
}

struct Case {
    hub: Arc<Hub>,
    namespace: String,
    widgets: Api<DynamicObject>,
    _turn: MutexGuard<'static, ()>,
}

impl Case {
    async fn new(prefix: &str) -> Self {
        let turn = TURN.lock().await;
        let (hub, namespace) = hub(prefix).await;
        let widgets = Api::namespaced_with(hub.client(), &namespace, &widgets());
        Self { hub, namespace, widgets, _turn: turn }
    }

    async fn widget(&self, name: &str, spec: Value, owner: Option<&ConfigMap>) {
        let mut object = DynamicObject::new(name, &widgets()).data(json!({ "spec": spec }));
        object.metadata.owner_references =
            owner.and_then(|owner| Some(vec![owner.controller_owner_ref(&())?]));
        self.widgets.create(&PostParams::default(), &object).await.unwrap();
    }

    async fn mend(&self, name: &str) {
        let patch = Patch::Merge(json!({"spec": {"size": 1, "after": null}}));
        self.widgets.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn owner(&self, name: &str) -> ConfigMap {
        let mut owner = ConfigMap::default();
        owner.metadata.name = Some(name.to_owned());
        Api::namespaced(self.hub.client(), &self.namespace)
            .create(&PostParams::default(), &owner)
            .await
            .unwrap()
    }

    /// A controller of nothing: the manager has its lease, and tells.
    fn works(&self) -> tokio::task::JoinHandle<()> {
        let controller = Controller::<ConfigMap>::new("works", &self.hub);
        tokio::spawn(controller.run(Arc::new(()), |_, _| async { Next::Settled }))
    }

    /// The condition that says that it cannot be read, and who wrote it.
    async fn condition(&self, name: &str) -> Value {
        let has = |widget: &DynamicObject| !said(widget).is_null();
        let widget = eventually(self.widgets.clone(), name, "a condition", has).await;
        let managers = widget.metadata.managed_fields.iter().flatten();
        let managers: Vec<_> = managers.filter_map(|field| field.manager.as_deref()).collect();
        assert!(managers.contains(&"scute-unreadable"), "{managers:?}");
        said(&widget).clone()
    }

    fn key(&self, name: &str) -> Key {
        Key::new(self.namespace.clone(), name)
    }

    /// The message of the warning on an object.
    async fn warning(&self, about: &str, reason: &str) -> String {
        let events: Api<Event> = Api::namespaced(self.hub.client(), &self.namespace);
        until(&format!("{reason} on {about}"), || async {
            let all = events.list(&ListParams::default()).await.ok()?.items;
            let is = |event: &&Event| {
                event.regarding.as_ref().is_some_and(|regarding| regarding.name.as_deref() == Some(about))
                    && event.reason.as_deref() == Some(reason)
            };
            all.iter().find(is).and_then(|event| event.note.clone())
        })
        .await
    }
}

const READABLE: &str = "scute.dev/Readable";

/// The condition about what can be read.
fn said(widget: &DynamicObject) -> &Value {
    let conditions = widget.data["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == READABLE).unwrap_or(&Value::Null)
}

/// Waits until the watch finds what `is` wants.
async fn found(watch: &Watch<Widget>, key: &Key, is: impl Fn(&Found<Widget>) -> bool) -> Found<Widget> {
    let changes = watch.subscribe(key);
    let wait = async {
        loop {
            let found = watch.find(key);
            if is(&found) {
                return found;
            }
            changes.changed().await;
        }
    };
    tokio::time::timeout(scute_testkit::PATIENCE, wait).await.expect("never found")
}

/// How often each object was reconciled.
type Runs = Arc<Mutex<HashMap<String, u32>>>;

fn runs(runs: &Runs, name: &str) -> u32 {
    runs.lock().unwrap().get(name).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_listing_with_an_object_that_cannot_be_decoded_gives_the_others() {
    let case = Case::new("bad-list").await;
    case.widget("good", json!({"size": 1}), None).await;
    case.widget("bad", json!({"size": 1, "after": "2026-01-01T00:00:00+99:99"}), None).await;
    let running = case.works();
    let watch = case.hub.watch::<Widget>();
    watch.ready().await;
    assert!(watch.get(&case.key("good")).is_some());
    let Found::Unreadable(bad) = watch.find(&case.key("bad")) else {
        panic!("{:?}", watch.find(&case.key("bad")))
    };
    assert_eq!((bad.fault.path.as_str(), bad.value("/spec/size")), ("spec.after", Some(json!(1))));
    assert!(watch.get(&case.key("bad")).is_none(), "nobody acts on it");
    let said = case.warning("bad", "Unreadable").await;
    assert!(said.contains("spec.after: Invalid value: \"2026-01-01T00:00:00+99:99\": "), "{said}");

    case.widget("later", json!({"size": 2}), None).await;
    found(&watch, &case.key("later"), |found| matches!(found, Found::Object(_))).await;
    case.mend("bad").await;
    found(&watch, &case.key("bad"), |found| matches!(found, Found::Object(_))).await;
    running.abort();
}

/// An event is gone after an hour. What others say of the object stays, whatever kind of list their conditions are.
#[tokio::test]
async fn a_condition_says_that_an_object_cannot_be_read_until_it_can() {
    let case = Case::new("condition").await;
    for name in ["old", "new", "left"] {
        case.widget(name, json!({"size": 1}), None).await;
    }
    let left = json!([{"type": READABLE, "status": "False", "reason": "Unreadable", "message": "it was so"}]);
    let left = Patch::Merge(json!({"status": {"conditions": left}}));
    case.widgets.patch_status("left", &PatchParams::default(), &left).await.unwrap();
    let others = json!([{"type": "Ready", "status": "True", "own": 1}]);
    let status = Patch::Merge(json!({"status": {"conditions": others, "more": 1}}));
    case.widgets.patch_status("old", &PatchParams::default(), &status).await.unwrap();
    let running = case.works();
    let watch = case.hub.watch::<Widget>();
    let big = Patch::Merge(json!({"spec": {"size": "big"}}));
    for name in ["old", "new"] {
        case.widgets.patch(name, &PatchParams::default(), &big).await.unwrap();
        let condition = case.condition(name).await;
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Unreadable")));
        let message = condition["message"].as_str().unwrap();
        assert!(message.contains("spec.size: Invalid value: \"big\": "), "{message}");
        assert!(condition["lastTransitionTime"].is_string(), "{condition}");
    }
    let old = case.widgets.get("old").await.unwrap();
    assert_eq!(old.data["status"]["conditions"][0], others[0]);
    assert_eq!(old.data["status"]["more"], 1);

    // Who takes it away is let: two who write against each other never end.
    let status = Patch::Merge(json!({"status": {"conditions": others}}));
    let taken = case.widgets.patch_status("old", &PatchParams::default(), &status).await.unwrap();
    let key = case.key("old");
    let version = taken.resource_version();
    found(
        &watch,
        &key,
        |found| matches!(found, Found::Unreadable(bad) if bad.metadata.resource_version == version),
    )
    .await;
    // Told one after the other: once the next one is told, this one was looked at.
    let bigger = Patch::Merge(json!({"spec": {"size": "bigger"}}));
    case.widgets.patch("new", &PatchParams::default(), &bigger).await.unwrap();
    let says =
        |widget: &DynamicObject| said(widget)["message"].as_str().is_some_and(|said| said.contains("bigger"));
    eventually(case.widgets.clone(), "new", "the new fault", says).await;
    assert_eq!(case.widgets.get("old").await.unwrap().resource_version(), version);

    // Mended while no manager ran.
    let mended = |widget: &DynamicObject| said(widget).is_null();
    eventually(case.widgets.clone(), "left", "no condition", mended).await;
    // And before its eyes.
    case.mend("new").await;
    eventually(case.widgets.clone(), "new", "no condition", mended).await;
    case.widgets.patch("new", &PatchParams::default(), &big).await.unwrap();
    case.condition("new").await;
    running.abort();
}

#[tokio::test]
async fn who_waits_for_the_lease_writes_nothing() {
    let case = Case::new("lease").await;
    case.widget("bad", json!({"size": "big"}), None).await;
    let watch = case.hub.watch::<Widget>();
    found(&watch, &case.key("bad"), |found| matches!(found, Found::Unreadable(_))).await;
    let events: Api<Event> = Api::namespaced(case.hub.client(), &case.namespace);
    assert!(events.list(&ListParams::default()).await.unwrap().items.is_empty());
    let begin = jiff::Timestamp::now();
    let running = case.works();
    case.condition("bad").await;
    // The event is the first of the two.
    let told = events.list(&ListParams::default()).await.unwrap().items;
    let [event] = &told[..] else { panic!("one event: {told:?}") };
    assert!(event.event_time.as_ref().unwrap().0 >= begin, "{event:?}");
    running.abort();
}

#[tokio::test]
async fn a_good_object_that_turns_bad_is_not_what_it_was_and_not_gone() {
    let case = Case::new("turns-bad").await;
    case.widget("a", json!({"size": 1}), None).await;
    let watch = case.hub.watch::<Widget>();
    found(&watch, &case.key("a"), |found| matches!(found, Found::Object(_))).await;
    let patch = Patch::Merge(json!({"spec": {"size": "big"}}));
    case.widgets.patch("a", &PatchParams::default(), &patch).await.unwrap();
    let Found::Unreadable(bad) =
        found(&watch, &case.key("a"), |found| !matches!(found, Found::Object(_))).await
    else {
        panic!("it looks deleted")
    };
    assert_eq!(bad.fault.path, "spec.size");
    assert!(watch.list_in(&case.namespace).is_empty());
    case.widgets.delete("a", &DeleteParams::default()).await.unwrap();
    found(&watch, &case.key("a"), |found| matches!(found, Found::Absent)).await;
}

#[tokio::test]
async fn an_owner_waits_for_its_unreadable_child_and_others_do_not() {
    let case = Case::new("held").await;
    let (held, free) = (case.owner("held").await, case.owner("free").await);
    case.widget("bad", json!({"size": "big"}), Some(&held)).await;
    case.widget("good", json!({"size": 1}), Some(&free)).await;
    let ran = Runs::default();
    let (count, namespace) = (Arc::clone(&ran), case.namespace.clone());
    let controller = Controller::<ConfigMap>::new("owner", &case.hub).owns::<Widget>();
    let running = tokio::spawn(controller.run(Arc::new(()), move |map, _| {
        if map.namespace().as_deref() == Some(&namespace) {
            *count.lock().unwrap().entry(map.name_any()).or_default() += 1;
        }
        async { Next::Settled }
    }));
    let said = case.warning("held", "UnreadableObject").await;
    assert!(said.contains("Widget") && said.contains("spec.size"), "{said}");
    until("the other is reconciled", || async { (runs(&ran, "free") > 0).then_some(()) }).await;
    assert_eq!(runs(&ran, "held"), 0, "it would make the child anew");
    case.mend("bad").await;
    until("reconciled when its child is mended", || async { (runs(&ran, "held") > 0).then_some(()) }).await;

    case.widget("bad-2", json!({"size": "big"}), Some(&held)).await;
    case.warning("bad-2", "Unreadable").await;
    let before = runs(&ran, "held");
    case.widgets.delete("bad-2", &DeleteParams::default()).await.unwrap();
    until("reconciled when its child is gone", || async { (runs(&ran, "held") > before).then_some(()) })
        .await;
    running.abort();
}

#[tokio::test]
async fn a_panic_is_the_failure_of_one_object() {
    let case = Case::new("panic").await;
    for name in ["bad", "good"] {
        case.widget(name, json!({"size": i32::from(name == "good")}), None).await;
    }
    let (hub, namespace) = (Arc::clone(&case.hub), case.namespace.clone());
    let running =
        tokio::spawn(Controller::<Widget>::new("panics", &case.hub).run(Arc::new(()), move |widget, _| {
            let (hub, own) = (Arc::clone(&hub), widget.namespace().as_deref() == Some(namespace.as_str()));
            async move {
                if !own {
                    return Next::Settled;
                }
                assert_ne!(widget.spec.size, 0, "as the test wants");
                let patch = json!({"metadata": {"labels": {"seen": "yes"}}});
                hub.patch::<Widget>(&Key::of(widget.as_ref()), &patch).await.unwrap();
                Next::Settled
            }
        }));
    let seen = |widget: &DynamicObject| widget.labels().contains_key("seen");
    eventually(case.widgets.clone(), "good", "seen", seen).await;
    case.mend("bad").await;
    eventually(case.widgets.clone(), "bad", "seen after its mistake was mended", seen).await;
    assert!(!running.is_finished());
    running.abort();
}

#[tokio::test]
async fn a_kind_that_is_not_served_holds_nobody() {
    let case = Case::new("unserved").await;
    case.widget("a", json!({"size": 1}), None).await;
    let foreign = ApiResource { kind: "Nothing".into(), plural: "nothings".into(), ..widgets() };
    let ran = Runs::default();
    let (count, foreign) = (Arc::clone(&ran), case.hub.watch_dynamic(&foreign));
    let controller = Controller::<Widget>::new("foreign", &case.hub).listen(foreign.clone(), |_| vec![]);
    let running = tokio::spawn(controller.run(Arc::new(()), move |widget, _| {
        *count.lock().unwrap().entry(widget.namespace().unwrap_or_default()).or_default() += 1;
        async { Next::Settled }
    }));
    until("reconciled", || async { (runs(&ran, &case.namespace) > 0).then_some(()) }).await;
    let health = until("the failure is known", || async {
        case.hub.health().into_iter().find(|health| health.kind == "Nothing" && health.failing.is_some())
    })
    .await;
    assert!(!health.required && !health.listed, "{health:?}");
    running.abort();
}
