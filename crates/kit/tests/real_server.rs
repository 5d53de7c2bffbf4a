//! The kit against a real API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use scute_kit::ladder::{self, Stage, Stop};
use scute_kit::tenants::{TenantError, TenantKey, Tenants};
use scute_kit::{Controller, EventType, Hub, Key, Next, Watch, Why, finalizer};
use scute_testkit::{PATIENCE, eventually, server, until};
use serde_json::json;

fn config_map(namespace: &str, name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, "labels": {"of": "test"}},
        "data": {"key": value},
    }))
    .unwrap()
}

async fn hub(prefix: &str) -> (Arc<Hub>, String) {
    let server = server().await;
    (Hub::new(server.client().await), server.namespace(prefix).await)
}

/// The object of a key once the watch has what `is` wants.
async fn seen<K: scute_kit::Kind>(watch: &Watch<K>, key: &Key, is: impl Fn(&K) -> bool) -> Arc<K> {
    let mut changes = watch.changes();
    let found = async {
        loop {
            if let Some(object) = watch.get(key).filter(|object| is(object)) {
                return object;
            }
            changes.recv().await.expect("the watch lives");
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("never seen")
}

#[tokio::test]
async fn the_second_apply_of_the_same_is_no_request() {
    let (hub, namespace) = hub("apply").await;
    let watch = hub.watch::<ConfigMap>();
    watch.ready().await;
    let want = config_map(&namespace, "a", "1");
    let first = hub.apply("test", &want).await.unwrap();
    let again = hub.apply("test", &want).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the known object, not an answer of the server");
}

#[tokio::test]
async fn a_new_manager_applies_nothing_again_that_the_one_before_it_applied() {
    let (old, namespace) = hub("restart").await;
    let mut want = config_map(&namespace, "a", "1");
    want.data.get_or_insert_default().insert("extra".into(), "x".into());
    old.apply("test", &want).await.unwrap();

    let new = Hub::new(server().await.client().await);
    let watch = new.watch::<ConfigMap>();
    watch.ready().await;
    let known = watch.get(&Key::new(namespace.clone(), "a")).unwrap();
    let again = new.apply("test", &want).await.unwrap();
    assert!(
        Arc::ptr_eq(&known, &again),
        "no apply: {:?} {:?}",
        known.resource_version(),
        again.resource_version()
    );

    let newer = Hub::new(server().await.client().await);
    newer.watch::<ConfigMap>().ready().await;
    let less = newer.apply("test", &config_map(&namespace, "a", "1")).await.unwrap();
    assert!(
        !less.data.as_ref().unwrap().contains_key("extra"),
        "what is wanted no more is pruned by a new one, too"
    );
}

#[tokio::test]
async fn what_somebody_else_changed_is_applied_again() {
    let (hub, namespace) = hub("drift").await;
    let watch = hub.watch::<ConfigMap>();
    watch.ready().await;
    let (want, key) = (config_map(&namespace, "a", "1"), Key::new(namespace.clone(), "a"));
    hub.apply("test", &want).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(hub.client(), &namespace);
    let foreign = Patch::Merge(json!({"data": {"key": "2", "other": "kept"}}));
    api.patch("a", &PatchParams::default(), &foreign).await.unwrap();
    seen(&watch, &key, |map| map.data.as_ref().is_some_and(|data| data["key"] == "2")).await;
    hub.apply("test", &want).await.unwrap();
    let data = api.get("a").await.unwrap().data.unwrap();
    assert_eq!((data["key"].as_str(), data["other"].as_str()), ("1", "kept"));
}

#[tokio::test]
async fn what_is_no_longer_wanted_is_pruned() {
    let (hub, namespace) = hub("prune").await;
    hub.watch::<ConfigMap>().ready().await;
    let mut want = config_map(&namespace, "a", "1");
    want.data.get_or_insert_default().insert("extra".into(), "x".into());
    hub.apply("test", &want).await.unwrap();
    let less = config_map(&namespace, "a", "1");
    let after = hub.apply("test", &less).await.unwrap();
    assert!(!after.data.as_ref().unwrap().contains_key("extra"));
}

#[tokio::test]
async fn own_writes_are_seen_at_once_and_deletions_stay() {
    let (hub, namespace) = hub("learn").await;
    let watch = hub.watch::<ConfigMap>();
    watch.ready().await;
    let key = Key::new(namespace.clone(), "a");
    let created = hub.create(&config_map(&namespace, "a", "1")).await.unwrap();
    assert!(watch.get(&key).is_some(), "before any event had to come");
    hub.delete(created.as_ref()).await.unwrap();
    until("deleted", || async { watch.get(&key).is_none().then_some(()) }).await;
    watch.learn(created.as_ref().clone());
    assert!(watch.get(&key).is_none(), "a late answer does not revive it");
    hub.delete(created.as_ref()).await.expect("gone already is no error");
}

#[tokio::test]
async fn a_failure_is_retried_until_it_succeeds_and_a_restart_changes_nothing() {
    let (hub, namespace) = hub("retry").await;
    let runs = Arc::new(AtomicU32::new(0));
    let reconcile = {
        let (hub, runs, own) = (hub.clone(), runs.clone(), namespace.clone());
        move |map: Arc<ConfigMap>, (): _| {
            let (hub, runs, own) = (hub.clone(), runs.clone(), own.clone());
            async move {
                if Key::of(map.as_ref()).namespace != own {
                    return Next::Settled;
                }
                if runs.fetch_add(1, Ordering::SeqCst) < 2 {
                    return Next::Failed(Why::new("NotYet", "the third time it works"));
                }
                match finalizer::ensure(&hub, &map, "scute.dev/test").await {
                    Ok(_) => Next::Settled,
                    Err(error) => Next::Failed(Why::new("Write", error.to_string())),
                }
            }
        }
    };
    let start = || {
        let (controller, reconcile) = (Controller::<ConfigMap>::new("test", &hub), reconcile.clone());
        tokio::spawn(controller.run(Arc::new(()), move |map, _| reconcile(map, ())))
    };
    let running = start();
    hub.create(&config_map(&namespace, "a", "1")).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(hub.client(), &namespace);
    let done =
        eventually(api.clone(), "a", "finalized", |map: &ConfigMap| finalizer::has(map, "scute.dev/test"))
            .await;
    running.abort();
    let again = start();
    let before = runs.load(Ordering::SeqCst);
    until("reconciled after the restart", || async { (runs.load(Ordering::SeqCst) > before).then_some(()) })
        .await;
    assert_eq!(api.get("a").await.unwrap().metadata.resource_version, done.metadata.resource_version);
    let map = Arc::new(api.get("a").await.unwrap());
    finalizer::remove(&hub, &map, "scute.dev/test").await.unwrap();
    again.abort();
}

#[tokio::test]
async fn a_tenant_is_reached_by_its_secret_and_followed_when_that_changes() {
    let (hub, namespace) = hub("remote").await;
    let (tenants, key) = (Tenants::new(&hub), TenantKey::capi(&namespace, "c"));
    assert!(matches!(tenants.client(&key).await, Err(TenantError::NoSecret(_))));
    let nodes = tenants.nodes(&key);
    let secrets: Api<Secret> = Api::namespaced(hub.client(), &namespace);
    let secret = |value: String| -> Secret {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c-kubeconfig"}, "stringData": {"value": value}}))
            .unwrap()
    };
    secrets.create(&Default::default(), &secret(server().await.kubeconfig())).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), nodes.ready()).await.expect("the Nodes are listed");
    let client = tenants.client(&key).await.unwrap();
    assert!(client.apiserver_version().await.is_ok());

    let garbage = Patch::Merge(json!({"data": null, "stringData": {"value": "password: hunter2"}}));
    secrets.patch("c-kubeconfig", &PatchParams::default(), &garbage).await.unwrap();
    let error = until("refused", || async { tenants.client(&key).await.err() }).await;
    assert!(!error.to_string().contains("hunter2"), "{error}");
    tenants.forget(&key);
}

fn pod(namespace: &str, name: &str) -> Pod {
    serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "i"}]}}))
    .unwrap()
}

#[tokio::test]
async fn what_was_made_again_under_a_name_gets_neither_the_status_nor_the_deletion_of_the_one_before() {
    let (hub, namespace) = hub("again").await;
    let first = hub.create(&pod(&namespace, "a")).await.unwrap();
    let status = |phase: &str| json!({"phase": phase, "qosClass": "BestEffort"});
    hub.patch_status(first.as_ref(), status("Failed")).await.unwrap();
    hub.delete(first.as_ref()).await.unwrap();
    let second = until("made again", || async { hub.create(&pod(&namespace, "a")).await.ok() }).await;

    let error = hub.patch_status(first.as_ref(), status("Succeeded")).await.expect_err("another Pod");
    assert!(error.is_not_found(), "{error}");
    assert_eq!(error.to_string(), format!("Pod {namespace}/a has been deleted and made again"));
    hub.delete(first.as_ref()).await.expect("the one that was meant is gone");
    let pods: Api<Pod> = Api::namespaced(hub.client(), &namespace);
    let now = pods.get("a").await.unwrap();
    assert_eq!((now.uid(), now.metadata.deletion_timestamp), (second.uid(), None));
    assert_eq!(now.status.unwrap().phase.as_deref(), Some("Pending"));
}

#[tokio::test]
async fn a_status_becomes_what_is_wanted_and_fields_can_go() {
    let (hub, namespace) = hub("status").await;
    let pod = hub.create(&pod(&namespace, "a")).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(hub.client(), &namespace);
    let mut status = json!(pod.status);
    status["message"] = json!("m");
    status["nominatedNodeName"] = json!("n");
    hub.patch_status(pod.as_ref(), status.clone()).await.unwrap();
    let seen = pods.get("a").await.unwrap();
    status.as_object_mut().unwrap().remove("message");
    hub.patch_status(&seen, status.clone()).await.unwrap();
    hub.patch_status(&seen, status).await.expect("what is gone already may go again");
    let now = pods.get("a").await.unwrap().status.unwrap();
    assert_eq!((now.message, now.nominated_node_name.as_deref()), (None, Some("n")));
}

#[tokio::test]
async fn an_applied_text_arrives_as_it_is_letter_by_letter() {
    let (hub, namespace) = hub("letters").await;
    let borders =
        [0x1, 0x7f, 0x80, 0x85, 0xa0, 0xad, 0x2028, 0x2029, 0xd7ff, 0xe000, 0xfeff, 0xfffd, 0xfffe, 0xffff];
    let beyond = [0x1_0000, 0x1_f600, 0x1_ffff, 0x10_ffff];
    let letters: Vec<char> = (1..0x300).chain(borders).chain(beyond).filter_map(char::from_u32).collect();
    let text: String = letters.iter().collect();
    let mut want = config_map(&namespace, "a", &text);
    let annotations = want.metadata.annotations.get_or_insert_default();
    annotations.insert("of".into(), format!("{text}{{}}[]: #&*!|>'\"%@`\\u0041 "));
    for (n, letter) in letters.iter().enumerate() {
        want.data.get_or_insert_default().insert(format!("{n}"), letter.to_string());
    }
    hub.apply("test", &want).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(hub.client(), &namespace);
    let got = api.get("a").await.unwrap();
    assert_eq!(got.data, want.data);
    assert_eq!(got.metadata.annotations, want.metadata.annotations);

    // Keys too: those of a field without a schema may be anything.
    let selector = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {}});
    let body = String::from_utf8(scute_kit::apply_body(&json!({text.clone(): selector}))).unwrap();
    assert!(!body.contains(['\u{7f}', '\u{85}', '\u{2028}', '\u{feff}', '\u{ffff}']));
    let back: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(back.get(&text).is_some(), "and it is the same JSON");
}

#[tokio::test]
async fn every_write_names_who_writes() {
    let (hub, namespace) = hub("managers").await;
    let created = hub.create(&config_map(&namespace, "a", "1")).await.unwrap();
    hub.patch::<ConfigMap>(&Key::of(created.as_ref()), &json!({"data": {"more": "1"}})).await.unwrap();
    let pod = hub.create(&pod(&namespace, "a")).await.unwrap();
    hub.patch_status(pod.as_ref(), json!({"phase": "Failed"})).await.unwrap();
    let (maps, pods): (Api<ConfigMap>, Api<Pod>) =
        (Api::namespaced(hub.client(), &namespace), Api::namespaced(hub.client(), &namespace));
    let fields = [
        maps.get("a").await.unwrap().metadata.managed_fields,
        pods.get("a").await.unwrap().metadata.managed_fields,
    ];
    let managers: Vec<_> = fields.into_iter().flatten().flatten().filter_map(|entry| entry.manager).collect();
    assert_eq!(managers, ["scute", "scute", "scute"], "none is unknown");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Written;

impl Stage for Written {
    const ALL: &'static [Self] = &[Self];

    fn condition(self) -> &'static str {
        "Written"
    }

    fn goal(self) -> &'static str {
        "it is written"
    }
}

/// Somebody else's write in between, or a namespace that goes away, is no failure of the object.
#[tokio::test]
async fn a_ladder_says_nothing_of_what_passes_by_itself() {
    let (hub, namespace) = hub("ladder").await;
    let pod = hub.create(&pod(&namespace, "a")).await.unwrap();
    let finish = async |error: &scute_kit::Error| {
        let stopped = Some(Stop::failed(Written, Why::of("WriteFailed", error)));
        let next =
            ladder::finish(&hub, pod.as_ref(), json!({"phase": "Failed"}), stopped, || Next::Settled).await;
        let now = hub.get::<Pod>(&Key::of(pod.as_ref())).await.unwrap().unwrap();
        let events: Api<Event> = Api::namespaced(hub.client(), &namespace);
        let told = events.list(&ListParams::default()).await.unwrap().items.len();
        let Next::Failed(why) = next else { panic!("it is tried again: {next:?}") };
        (why.passes(), now.status.unwrap().phase.unwrap(), told)
    };
    let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}});
    let conflict = hub.patch::<Pod>(&Key::of(pod.as_ref()), &stale).await.expect_err("of an old version");
    assert_eq!(finish(&conflict).await, (true, "Pending".to_owned(), 0), "{conflict}");
    let taken = hub.create(pod.as_ref()).await.expect_err("there is one");
    assert_eq!(finish(&taken).await, (false, "Failed".to_owned(), 1), "{taken}");
}

#[tokio::test]
async fn a_long_event_is_cut_and_not_lost() {
    let (hub, namespace) = hub("events").await;
    let map = hub.create(&config_map(&namespace, "a", "1")).await.unwrap();
    let note = "\u{e9}".repeat(2_000);
    hub.event(map.as_ref(), EventType::Warning, "TooLong", &note).await;
    hub.event(map.as_ref(), EventType::Warning, "TooLong", &note).await;
    let events: Api<Event> = Api::namespaced(hub.client(), &namespace);
    let found = events.list(&ListParams::default()).await.unwrap().items;
    let [event] = &found[..] else { panic!("one event, once: {found:?}") };
    assert_eq!(event.note.as_deref().map(str::len), Some(1_024));
    assert_eq!(event.regarding.as_ref().and_then(|about| about.uid.clone()), map.uid());
    assert_eq!(event.metadata.managed_fields.as_ref().unwrap()[0].manager.as_deref(), Some("scute"));
}

#[tokio::test]
async fn a_namespace_that_goes_away_is_known_as_that_and_errors_are_sentences() {
    let (hub, namespace) = hub("ending").await;
    let mut keeps = config_map(&namespace, "keeps", "1");
    keeps.metadata.finalizers = Some(vec!["scute.dev/test".into()]);
    let keeps = hub.create(&keeps).await.unwrap();
    let exists = hub.create(&config_map(&namespace, "keeps", "1")).await.expect_err("it exists");
    assert_eq!(
        exists.to_string(),
        format!("create ConfigMap {namespace}/keeps: configmaps \"keeps\" already exists")
    );
    assert!(exists.is_conflict() && !exists.is_terminating());
    let namespaces: Api<Namespace> = Api::all(hub.client());
    namespaces.delete(&namespace, &Default::default()).await.unwrap();
    let error =
        until("refused", || async { hub.create(&config_map(&namespace, "b", "1")).await.err() }).await;
    assert!(error.is_terminating() && Why::of("FailedCreate", &error).passes(), "{error}");
    let _ = finalizer::remove(&hub, &keeps, "scute.dev/test").await;
}
