//! Against a scripted API server in virtual time: what a real one does once in months.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::watch::Found;

/// What the server answers, one after the other; afterwards it holds requests without an answer.
#[derive(Clone)]
struct Script(Arc<Mutex<Played>>);

/// Answers to come, and what was asked.
type Played = (VecDeque<(u16, String)>, Vec<String>);

impl Script {
    fn new(answers: impl IntoIterator<Item = (u16, String)>) -> Self {
        Self(Arc::new(Mutex::new((answers.into_iter().collect(), Vec::new()))))
    }

    fn client(&self) -> Client {
        let script = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let mut script = script.0.lock().unwrap();
            let query = request.uri().query().unwrap_or_default();
            let kind = if query.contains("watch=true") { "watch" } else { "list" };
            script.1.push(kind.to_owned());
            let answer = script.0.pop_front();
            async move {
                let Some((code, body)) = answer else { return std::future::pending().await };
                let response = Response::builder().status(code).body(Body::from(body.into_bytes()));
                Ok::<_, tower::BoxError>(response.unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }
}

fn map(name: &str, version: u64, data: &Value) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string()},
        "data": data,
    })
}

fn list(version: u64, items: &[Value]) -> (u16, String) {
    (200, json!({"metadata": {"resourceVersion": version.to_string()}, "items": items}).to_string())
}

fn events(events: &[(&str, Value)]) -> (u16, String) {
    let line = |(type_, object): &(&str, Value)| format!("{}\n", json!({"type": type_, "object": object}));
    (200, events.iter().map(line).collect())
}

fn status(code: u16, message: &str) -> (u16, String) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "message": message}).to_string())
}

/// Plays a script to its end and then waits; gives the watch and what was asked.
async fn play(answers: impl IntoIterator<Item = (u16, String)>) -> (Watch<ConfigMap>, Vec<String>) {
    let script = Script::new(answers);
    let watch = Watch::<ConfigMap>::named("ConfigMap");
    let source = Source::all(script.client(), &());
    let _ = tokio::time::timeout(Duration::from_secs(600), watch.follow(source)).await;
    (watch, script.asked())
}

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

#[tokio::test(start_paused = true)]
async fn one_object_that_cannot_be_decoded_hinders_no_other() {
    let (watch, _) = play([
        list(5, &[map("a", 1, &json!({"k": "v"})), map("b", 2, &json!("no map"))]),
        events(&[
            ("ADDED", map("c", 6, &json!({}))),
            ("MODIFIED", map("a", 7, &json!(3))),
            ("ADDED", map("d", 8, &json!({}))),
            ("DELETED", map("b", 9, &json!("no map"))),
        ]),
    ])
    .await;
    let names: Vec<_> = watch.list().iter().map(|map| map.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["c", "d"]);
    assert!(matches!(watch.find(&key("a")), Found::Unreadable(bad) if bad.fault.path == "data"));
    assert!(matches!(watch.find(&key("b")), Found::Absent));
    assert_eq!((watch.health().objects, watch.health().unreadable), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_means_a_new_listing_at_once() {
    let expired = events(&[("ERROR", json!({"code": 410, "message": "too old resource version"}))]);
    let (watch, asked) = play([
        list(5, &[map("a", 1, &json!({})), map("b", 2, &json!({}))]),
        expired,
        list(9, &[map("b", 8, &json!({}))]),
    ])
    .await;
    assert_eq!(asked, ["list", "watch", "list", "watch"]);
    assert_eq!(watch.len(), 1);
    assert!(matches!(watch.find(&key("a")), Found::Absent));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_asked_for_later_each_time_and_said_in_words() {
    let refused = status(403, "configmaps is forbidden");
    let (watch, asked) = play(vec![refused; 8]).await;
    assert_eq!(asked.len(), 9);
    let health = watch.health();
    let failing = health.failing.clone().unwrap();
    assert_eq!((failing.times, failing.reason.as_str(), health.failures), (8, "configmaps is forbidden", 8));
    assert_eq!(health.complaint().unwrap(), "listing ConfigMap fails: configmaps is forbidden");
    assert!(matches!(watch.find(&key("a")), Found::NotListed));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_can_be_listed_and_not_watched_is_not_listed_in_a_storm() {
    let mut answers = vec![];
    for _ in 0..4 {
        answers.push(list(5, &[]));
        answers.extend(vec![status(403, "no watch"); 4]);
    }
    let (watch, asked) = play(answers).await;
    assert!(asked.iter().filter(|asked| *asked == "list").count() <= 5, "{asked:?}");
    assert!(watch.is_ready());
    assert_eq!(watch.health().complaint().unwrap(), "watching ConfigMap fails: no watch");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_at_once_is_not_stormed() {
    let script = Script::new(std::iter::once(list(5, &[])).chain(vec![(200, String::new()); 10_000]));
    let watch = Watch::<ConfigMap>::named("ConfigMap");
    let source = Source::all(script.client(), &());
    let _ = tokio::time::timeout(Duration::from_secs(600), watch.follow(source)).await;
    assert!(script.asked().len() < 60, "{} requests in ten minutes", script.asked().len());
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_news_works_and_forgets_its_failures() {
    let (watch, asked) = play([status(500, "etcd is away"), list(5, &[]), events(&[])]).await;
    assert_eq!(asked, ["list", "list", "watch", "watch"], "the last one is held open");
    // Held open without an answer's head: nothing was heard since the stream that ended at once.
    assert_eq!(watch.health().failing.unwrap().reason, Error::EndedAtOnce.to_string());
    let bookmark = ("BOOKMARK", json!({"metadata": {"resourceVersion": "7"}}));
    let (watch, _) = play([status(500, "etcd is away"), list(5, &[]), events(&[bookmark])]).await;
    assert!(watch.health().failing.is_none());
    assert_eq!(watch.health().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_out_is_not_in_the_copy() {
    let script = Script::new([
        list(5, &[map("a", 1, &Value::Null), map("b", 2, &json!({"drop": ""}))]),
        events(&[("MODIFIED", map("a", 6, &json!({"drop": ""}))), ("ADDED", map("c", 7, &Value::Null))]),
    ]);
    let watch = Watch::<ConfigMap>::named("ConfigMap");
    let source = Source::all(script.client(), &()).admit(|event: watcher::Event<ConfigMap>| match &event {
        watcher::Event::Apply(map) | watcher::Event::InitApply(map) if map.data.is_some() => None,
        _ => Some(event),
    });
    let _ = tokio::time::timeout(Duration::from_secs(60), watch.follow(source)).await;
    assert_eq!((watch.len(), watch.get(&key("c")).is_some()), (1, true));
}
