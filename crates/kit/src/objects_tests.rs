use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;
use crate::unreadable::decode;

fn map(name: &str, uid: &str, version: u64) -> Item<ConfigMap> {
    owned(name, uid, version, &[])
}

fn owned(name: &str, uid: &str, version: u64, owners: &[&str]) -> Item<ConfigMap> {
    let owners: Vec<_> = owners
        .iter()
        .map(|uid| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}))
        .collect();
    let object = json!({"metadata": {
        "namespace": "ns", "name": name, "uid": uid, "resourceVersion": version.to_string(),
        "ownerReferences": owners, "labels": {"of": uid},
    }});
    Item::Object(Arc::new(serde_json::from_value(object).unwrap()))
}

fn bad(name: &str, uid: &str, version: u64) -> Item<ConfigMap> {
    let object = json!({
        "metadata": {"namespace": "ns", "name": name, "uid": uid, "resourceVersion": version.to_string()},
        "data": 1,
    });
    let raw = serde_json::value::to_raw_value(&object).unwrap();
    Item::Unreadable(Arc::new(decode::<ConfigMap>("ConfigMap", &raw).unwrap().unwrap_err()))
}

/// Name, version and whether it can be read, of each.
fn brief<'a>(items: impl IntoIterator<Item = &'a Item<ConfigMap>>) -> Vec<String> {
    let brief = |item: &Item<ConfigMap>| {
        let mark = if item.object().is_some() { "" } else { "?" };
        format!("{}{mark}@{}", item.key().name, version(item.meta()).unwrap_or_default())
    };
    items.into_iter().map(brief).collect()
}

#[test]
fn a_relist_keeps_what_was_learned_while_it_was_under_way() {
    let mut objects = Objects::default();
    objects.replace(vec![map("a", "1", 5), map("b", "2", 6)], 6);
    objects.learn(map("c", "3", 9));
    objects.learn(map("a", "1", 8));
    let told = objects.replace(vec![map("a", "1", 5), map("b", "2", 6)], 7);
    assert_eq!(brief(objects.all()), ["a@8", "b@6", "c@9"]);
    assert_eq!(brief(&told), [""; 0], "nothing changed, so nobody hears of it");
}

#[test]
fn what_vanished_between_two_listings_stays_gone_when_an_answer_comes_late() {
    let mut objects = Objects::default();
    objects.replace(vec![map("a", "1", 5), map("b", "2", 6)], 6);
    let told = objects.replace(vec![map("b", "2", 6)], 10);
    assert_eq!(brief(&told), ["a@5"]);
    objects.learn(map("a", "1", 7));
    assert_eq!(brief(objects.all()), ["b@6"]);
    objects.learn(map("a", "4", 12));
    assert_eq!(brief(objects.all()), ["a@12", "b@6"], "a new object of the same name is another");
}

#[test]
fn an_object_made_anew_between_two_listings_takes_the_place_of_the_old() {
    let mut objects = Objects::default();
    objects.replace(vec![map("a", "1", 5)], 6);
    objects.replace(vec![map("a", "2", 8)], 10);
    assert_eq!(brief(objects.all()), ["a@8"]);
    objects.learn(map("a", "1", 11));
    assert_eq!(brief(objects.all()), ["a@8"], "a late answer about the old one");
}

#[test]
fn a_relist_does_not_bring_back_the_old_object_of_a_name_made_anew() {
    let mut objects = Objects::default();
    objects.replace(vec![map("a", "1", 5)], 6);
    objects.delete(map("a", "1", 8));
    objects.learn(map("a", "2", 9));
    objects.replace(vec![map("a", "1", 5)], 7);
    assert_eq!(brief(objects.all()), ["a@9"]);
}

#[test]
fn what_left_the_selection_of_a_watch_may_come_back() {
    let mut objects = Objects::default();
    objects.put(map("a", "1", 5));
    objects.delete(map("a", "1", 6));
    objects.put(map("a", "1", 7));
    objects.learn(map("a", "1", 8));
    assert_eq!(brief(objects.all()), ["a@8"]);
}

#[test]
fn what_cannot_be_read_is_there_but_no_object() {
    let mut objects = Objects::default();
    objects.replace(vec![map("a", "1", 5), bad("b", "2", 6)], 6);
    assert_eq!(objects.unreadable(), 1);
    assert_eq!(brief(objects.all()), ["a@5", "b?@6"]);
    let told = objects.put(bad("a", "1", 7));
    assert_eq!(brief(&told), ["a?@7", "a@5"], "who acted on the good copy hears that it is no more");
    let told = objects.put(map("a", "1", 8));
    assert_eq!(brief(&told), ["a@8", "a?@7"], "who waited for it to be mended hears too");
    let told = objects.delete(bad("b", "2", 9));
    assert_eq!((brief(&told), objects.unreadable()), (vec!["b?@9".to_owned()], 0));
}

#[test]
fn indexes_follow_every_change() {
    let mut objects = Objects::default();
    objects.put(owned("b", "2", 1, &["o"]));
    objects.put(owned("a", "1", 2, &["o", "p"]));
    const OF: Field<ConfigMap> =
        Field { name: "of", of: |map| map.metadata.labels.as_ref()?.get("of").map(Into::into) };
    assert!(objects.of_field(&OF, "ns", "1").is_none());
    objects.index(&OF);
    let labelled =
        |objects: &Objects<ConfigMap>, value: &str| brief(objects.of_field(&OF, "ns", value).unwrap());
    assert_eq!(brief(objects.of_field(&OF, "n", "1").unwrap()), [""; 0], "another namespace");
    assert_eq!(brief(objects.of_field_anywhere(&OF, "1").unwrap()), ["a@2"]);
    assert_eq!(brief(objects.of_owner("o")), ["a@2", "b@1"]);
    assert_eq!((labelled(&objects, "1"), labelled(&objects, "2")), (vec!["a@2".into()], vec!["b@1".into()]));
    objects.put(owned("a", "1", 3, &["p"]));
    assert_eq!(
        (brief(objects.of_owner("o")), brief(objects.of_owner("p"))),
        (vec!["b@1".into()], vec!["a@3".into()])
    );
    objects.delete(owned("a", "1", 4, &["p"]));
    assert_eq!((brief(objects.of_owner("p")), labelled(&objects, "1")), (vec![], Vec::<String>::new()));
    objects.replace(vec![], 9);
    assert!(objects.owners.0.is_empty() && objects.fields["of"].1.0.is_empty() && objects.items.is_empty());
}

#[test]
fn a_namespace_is_a_range_and_the_round_starts_again_at_its_end() {
    let mut objects = Objects::default();
    for (namespace, name) in [("a", "x"), ("a-b", "x"), ("b", "y"), ("b", "x")] {
        let object =
            json!({"metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}{name}")}});
        objects.put(Item::Object(Arc::new(serde_json::from_value::<ConfigMap>(object).unwrap())));
    }
    assert_eq!(brief(objects.of_namespace("a")), ["x@0"]);
    assert_eq!(brief(objects.of_namespace("b")), ["x@0", "y@0"]);
    let mut key = Key::default();
    let round: Vec<_> = std::iter::from_fn(|| {
        key = objects.after(&key)?;
        Some(key.to_string())
    })
    .take(5)
    .collect();
    assert_eq!(round, ["a/x", "a-b/x", "b/x", "b/y", "a/x"]);
}

#[test]
fn the_memory_of_deletions_is_bounded() {
    let mut gone = Gone::default();
    for n in 0..3 * REMEMBERED_DELETIONS {
        gone.remember(&n.to_string());
    }
    assert_eq!((gone.order.len(), gone.uids.len()), (REMEMBERED_DELETIONS, REMEMBERED_DELETIONS));
}
