use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;

fn map(name: &str, version: u64) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {
        "namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string(),
    }}))
    .unwrap()
}

fn item(name: &str, version: u64) -> Item<ConfigMap> {
    Item::Object(Arc::new(map(name, version)))
}

async fn is_woken(subscription: &Subscription<ConfigMap>) -> bool {
    tokio::time::timeout(Duration::from_millis(1), subscription.changed()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_subscription_wakes_for_its_object_only() {
    let watch = Watch::named("ConfigMap");
    let mine = watch.subscribe(&Key::new("ns", "mine"));
    watch.put(item("other", 1));
    assert!(!is_woken(&mine).await);
    watch.put(item("mine", 2));
    watch.put(item("mine", 3));
    assert!(is_woken(&mine).await);
    assert!(!is_woken(&mine).await, "two changes before a look are one");
    watch.put(item("mine", 3));
    assert!(!is_woken(&mine).await, "known already");
    watch.delete(item("mine", 4));
    assert!(is_woken(&mine).await);
    watch.replace(vec![item("mine", 5)], "5");
    assert!(is_woken(&mine).await);
    drop(mine);
    assert!(lock(&watch.0.subscribers).is_empty());
}

#[test]
fn a_listener_may_look_into_the_watch_and_listen_anew() {
    let watch = Watch::named("ConfigMap");
    let (inner, heard) = (watch.clone(), Arc::new(Mutex::new(0)));
    let count = Arc::clone(&heard);
    watch.listen(move |object: &Arc<ConfigMap>| {
        assert!(inner.get(&Key::of(object.as_ref())).is_some());
        let count = Arc::clone(&count);
        inner.listen(move |_| {
            *lock(&count) += 1;
            true
        });
        false
    });
    watch.put(item("a", 1));
    watch.put(item("b", 2));
    assert_eq!(*lock(&heard), 2, "the second listener: a replayed, b heard; the first is gone");
}

#[test]
fn absent_is_not_what_is_not_listed() {
    let watch = Watch::<ConfigMap>::named("ConfigMap");
    let key = Key::new("ns", "a");
    assert!(matches!(watch.find(&key), Found::NotListed));
    watch.replace(vec![], "1");
    assert!(matches!(watch.find(&key), Found::Absent));
    watch.learn(map("a", 2));
    assert!(matches!(watch.find(&key), Found::Object(_)));
}
