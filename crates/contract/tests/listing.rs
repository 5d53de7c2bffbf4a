//! Kinds that cannot be listed, behind an API server that answers as it is told to. Time is virtual.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{Request, Response};
use kube::api::{ApiResource, GroupVersionKind};
use kube::client::Body;
use scute_api::meta::ContractRef;
use scute_contract::{Externals, Found, Unknown};
use scute_kit::{Hub, Key};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tower::service_fn;

const GROUP: &str = "infrastructure.cluster.x-k8s.io";

/// What the API server says to a listing of TestClusters.
#[derive(Default)]
struct Server {
    lists: AtomicBool,
    is_silent: AtomicBool,
}

impl Server {
    fn answer(&self, path: &str) -> Option<(u16, Value)> {
        if path.ends_with("/customresourcedefinitions") {
            let meta = json!({"name": format!("testclusters.{GROUP}"), "resourceVersion": "1",
                "labels": {"cluster.x-k8s.io/v1beta2": "v1"}});
            let item =
                json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": meta});
            return Some((200, list("PartialObjectMetadataList", "meta.k8s.io/v1", &[item])));
        }
        if self.lists.load(Ordering::Relaxed) {
            let item = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "TestCluster",
                "metadata": {"name": "c", "namespace": "ns", "uid": "1", "resourceVersion": "1"}});
            return Some((200, list("TestClusterList", &format!("{GROUP}/v1"), &[item])));
        }
        let refused = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403,
            "reason": "Forbidden", "message": "testclusters is forbidden: User \"m\" cannot list resource"});
        (!self.is_silent.load(Ordering::Relaxed)).then_some((403, refused))
    }
}

fn list(kind: &str, version: &str, items: &[Value]) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"resourceVersion": "1"}, "items": items})
}

fn hub(server: &Arc<Server>) -> Arc<Hub> {
    let server = Arc::clone(server);
    let answer = move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            match server.answer(request.uri().path()).filter(|_| !watches) {
                Some((code, body)) => {
                    let response =
                        Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
                    Ok::<_, tower::BoxError>(response?)
                }
                None => std::future::pending().await,
            }
        }
    };
    Hub::new(kube::Client::new(service_fn(answer), "default"))
}

static REFERENCE: LazyLock<ContractRef> =
    LazyLock::new(|| ContractRef { api_group: GROUP.into(), kind: "TestCluster".into(), name: "c".into() });

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

fn unknown(found: Found) -> Unknown {
    match found {
        Found::Unknown(why) => why,
        other => panic!("{other:?}"),
    }
}

/// Whoever asked is woken when there is a reason.
async fn reason(externals: &Externals, woken: &mut UnboundedReceiver<Key>) -> String {
    loop {
        assert_eq!(woken.recv().await, Some(key("a")));
        let why = unknown(externals.get(&key("a"), "ns", &REFERENCE).await);
        if !matches!(why, Unknown::NotListedYet(_)) {
            return why.to_string();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_must_not_be_listed_is_told_with_the_reason_and_waited_for_once() {
    let server = Arc::new(Server::default());
    let (externals, mut woken) = Externals::new(&hub(&server));
    let first = unknown(externals.get(&key("a"), "ns", &REFERENCE).await);
    assert!(matches!(first, Unknown::NotListedYet(_)), "{first:?}");
    let second = reason(&externals, &mut woken).await;
    let said =
        "TestCluster of infrastructure.cluster.x-k8s.io/v1 cannot be listed: testclusters is forbidden";
    assert!(second.contains(said), "{second}");

    let (tasks, begun) = (tokio::runtime::Handle::current().metrics().num_alive_tasks(), Instant::now());
    for n in 0..200 {
        unknown(externals.get(&key(&n.to_string()), "ns", &REFERENCE).await);
        unknown(externals.get_live(&key(&n.to_string()), "ns", &REFERENCE).await);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waits again");
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks, "one waits for all");

    externals.forget(&key("7"));
    server.lists.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    while all.len() < 200 {
        all.push(woken.recv().await.expect("the controller is there"));
    }
    assert!(all.contains(&key("a")) && all.contains(&key("199")) && !all.contains(&key("7")));
    assert!(matches!(externals.get(&key("a"), "ns", &REFERENCE).await, Found::Object(_)));
    let missing = ContractRef { name: "other".into(), ..REFERENCE.clone() };
    assert!(matches!(externals.get(&key("a"), "ns", &missing).await, Found::Missing));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_holds_nobody() {
    let server = Arc::new(Server::default());
    server.is_silent.store(true, Ordering::Relaxed);
    let (externals, mut woken) = Externals::new(&hub(&server));
    let begun = Instant::now();
    unknown(externals.get(&key("a"), "ns", &REFERENCE).await);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    let why = reason(&externals, &mut woken).await;
    assert!(why.ends_with("cannot be listed: the API server does not answer"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn the_waiting_ends_with_the_controller() {
    let hub = hub(&Arc::new(Server::default()));
    let (externals, woken) = Externals::new(&hub);
    // The hub's watch on the kind is what is left.
    let gvk = GroupVersionKind::gvk(&REFERENCE.api_group, "v1", &REFERENCE.kind);
    let _watch = hub.watch_dynamic(&ApiResource::from_gvk(&gvk));
    let watches = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    unknown(externals.get(&key("a"), "ns", &REFERENCE).await);
    drop((externals, woken));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), watches);
}
