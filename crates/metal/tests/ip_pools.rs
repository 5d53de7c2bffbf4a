//! IPPools, IPClaims and IPAddresses on a real API server.

mod provider;

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use kube::api::ListParams;
use provider::{Bench, Manager};
use scute_api::ipam::{IPAddress, IPClaim, IPPool};
use serde_json::{Value, json};

const IPAM: &str = "ipam.metal3.io/v1alpha1";

async fn pool(bench: &Bench, name: &str, spec: Value) {
    let mut spec = spec;
    spec["namePrefix"] = json!(format!("{name}-ip"));
    bench
        .create::<IPPool>(
            json!({"apiVersion": IPAM, "kind": "IPPool", "metadata": {"name": name}, "spec": spec}),
        )
        .await;
}

/// A pool of `10.LAST.0.1` to `10.LAST.0.COUNT`.
async fn pool_of(bench: &Bench, name: &str, last: u8, count: u8) {
    let range =
        json!({"start": format!("10.{last}.0.1"), "end": format!("10.{last}.0.{count}"), "prefix": 24});
    pool(
        bench,
        name,
        json!({"gateway": format!("10.{last}.0.254"), "dnsServers": ["10.0.0.53"], "pools": [range]}),
    )
    .await;
}

async fn claim(bench: &Bench, name: &str, pool: &str, metadata: Value) {
    let mut metadata = metadata;
    metadata["name"] = json!(name);
    let object = json!({"apiVersion": IPAM, "kind": "IPClaim", "metadata": metadata, "spec": {"pool": {"name": pool}}});
    bench.create::<IPClaim>(object).await;
}

fn name_of(claim: &IPClaim) -> Option<String> {
    claim.status.as_ref()?.address.as_ref()?.name.clone()
}

fn refused(claim: &IPClaim) -> String {
    claim.status.as_ref().and_then(|status| status.error_message.clone()).unwrap_or_default()
}

/// The address that a claim gets.
async fn address(bench: &Bench, name: &str) -> IPAddress {
    let claim = bench.eventually::<IPClaim>(name, "given an address", |claim| name_of(claim).is_some()).await;
    bench.api::<IPAddress>().get(&name_of(&claim).unwrap()).await.unwrap()
}

async fn says(bench: &Bench, name: &str, word: &str) {
    bench
        .eventually::<IPClaim>(name, word, |claim| name_of(claim).is_none() && refused(claim).contains(word))
        .await;
}

/// All addresses of the namespace, by the claim that they are for; no claim has two.
async fn addresses(bench: &Bench) -> BTreeMap<String, String> {
    let all = bench.api::<IPAddress>().list(&ListParams::default()).await.unwrap();
    let count = all.items.len();
    let all: BTreeMap<_, _> = all
        .into_iter()
        .map(|address| (address.spec.claim.name.clone().unwrap(), address.spec.address))
        .collect();
    assert_eq!(all.len(), count, "a claim has two addresses: {all:?}");
    all
}

#[tokio::test]
async fn a_claim_gets_an_address_with_all_that_the_pool_says_and_gives_it_back() {
    let bench = Bench::new("address").await;
    pool_of(&bench, "pool", 1, 9).await;
    claim(&bench, "c", "pool", json!({"labels": {"cluster.x-k8s.io/cluster-name": "tenant"}})).await;
    let address = address(&bench, "c").await;
    assert_eq!(address.name_any(), "pool-ip-10-1-0-1");
    assert_eq!(address.labels()["cluster.x-k8s.io/cluster-name"], "tenant");
    let spec = serde_json::to_value(&address.spec).unwrap();
    let reference = |name: &str| json!({"name": name, "namespace": bench.namespace});
    assert_eq!(
        spec,
        json!({"address": "10.1.0.1", "prefix": 24, "gateway": "10.1.0.254", "dnsServers": ["10.0.0.53"],
            "claim": reference("c"), "pool": reference("pool")})
    );
    let listed = |pool: &IPPool| {
        pool.status
            .as_ref()
            .is_some_and(|status| status.indexes.get("c").map(String::as_str) == Some("10.1.0.1"))
    };
    bench.eventually("pool", "listing it", listed).await;
    // Neither goes while the address is in use, whoever deletes them.
    bench.delete::<IPAddress>("pool-ip-10-1-0-1").await;
    bench.delete::<IPPool>("pool").await;
    claim(&bench, "late", "pool", json!({})).await;
    says(&bench, "late", "IPPool pool is being deleted").await;
    assert_eq!(addresses(&bench).await, BTreeMap::from([("c".to_owned(), "10.1.0.1".to_owned())]));
    for name in ["late", "c"] {
        bench.delete::<IPClaim>(name).await;
        bench.gone::<IPClaim>(name).await;
    }
    bench.gone::<IPPool>("pool").await;
    assert!(addresses(&bench).await.is_empty());
}

#[tokio::test]
async fn a_pool_without_a_free_address_says_so_and_the_next_free_one_goes_to_who_waits() {
    let bench = Bench::new("exhausted").await;
    pool_of(&bench, "pool", 2, 1).await;
    claim(&bench, "first", "pool", json!({})).await;
    address(&bench, "first").await;
    claim(&bench, "second", "pool", json!({})).await;
    says(&bench, "second", "IPPool pool has no free address: 1 in use").await;
    bench.delete::<IPClaim>("first").await;
    assert_eq!(address(&bench, "second").await.spec.address, "10.2.0.1");
    let claim = bench.api::<IPClaim>().get("second").await.unwrap();
    assert_eq!(refused(&claim), "");
}

#[tokio::test]
async fn what_is_kept_for_a_claim_or_asked_for_by_it_is_what_it_gets() {
    let bench = Bench::new("kept").await;
    let ranges = json!([{"start": "10.3.0.1", "end": "10.3.0.9"}]);
    pool(&bench, "pool", json!({"pools": ranges, "preAllocations": {"mine": "10.3.0.1"}})).await;
    claim(&bench, "any", "pool", json!({})).await;
    assert_eq!(address(&bench, "any").await.spec.address, "10.3.0.2");
    claim(&bench, "five", "pool", json!({"annotations": {"ipAddress": "10.3.0.5"}})).await;
    assert_eq!(address(&bench, "five").await.spec.address, "10.3.0.5");
    claim(&bench, "again", "pool", json!({"annotations": {"ipAddress": "10.3.0.5"}})).await;
    says(&bench, "again", "10.3.0.5 of IPPool pool is in use").await;
    claim(&bench, "theirs", "pool", json!({"annotations": {"ipAddress": "10.3.0.1"}})).await;
    says(&bench, "theirs", "keeps 10.3.0.1 for the claim mine").await;
    claim(&bench, "mine", "pool", json!({})).await;
    assert_eq!(address(&bench, "mine").await.spec.address, "10.3.0.1");
}

#[tokio::test]
async fn a_claim_without_a_pool_says_so_and_can_go() {
    let bench = Bench::new("missing").await;
    claim(&bench, "c", "later", json!({})).await;
    says(&bench, "c", "IPPool later does not exist in this namespace").await;
    pool_of(&bench, "later", 4, 2).await;
    assert_eq!(address(&bench, "c").await.spec.address, "10.4.0.1");
    claim(&bench, "lost", "never", json!({"finalizers": ["ipclaim.ipam.metal3.io"]})).await;
    says(&bench, "lost", "IPPool never does not exist").await;
    bench.delete::<IPClaim>("lost").await;
    bench.gone::<IPClaim>("lost").await;
}

#[tokio::test]
async fn a_claim_that_somebody_else_keeps_keeps_its_address() {
    let bench = Bench::new("guarded").await;
    pool_of(&bench, "pool", 5, 1).await;
    claim(&bench, "c", "pool", json!({"finalizers": ["tests.scute.dev/in-use"]})).await;
    address(&bench, "c").await;
    bench.delete::<IPClaim>("c").await;
    claim(&bench, "other", "pool", json!({})).await;
    says(&bench, "other", "has no free address").await;
    assert_eq!(addresses(&bench).await.get("c").map(String::as_str), Some("10.5.0.1"));
    bench.patch::<IPClaim>("c", json!({"metadata": {"finalizers": ["ipclaim.ipam.metal3.io"]}})).await;
    bench.gone::<IPClaim>("c").await;
    assert_eq!(address(&bench, "other").await.spec.address, "10.5.0.1");
}

#[tokio::test]
async fn of_two_pools_that_overlap_the_elder_has_the_addresses() {
    let bench = Bench::new("overlap").await;
    pool_of(&bench, "elder", 6, 9).await;
    claim(&bench, "first", "elder", json!({})).await;
    address(&bench, "first").await;
    pool(&bench, "younger", json!({"pools": [{"start": "10.6.0.5", "end": "10.6.0.20"}]})).await;
    claim(&bench, "second", "younger", json!({})).await;
    says(
        &bench,
        "second",
        "spec.pools[0] (10.6.0.5-10.6.0.20) overlaps 10.6.0.1-10.6.0.9, the servers' addresses of IPPool",
    )
    .await;
    bench.delete::<IPClaim>("first").await;
    bench.delete::<IPPool>("elder").await;
    bench.gone::<IPPool>("elder").await;
    assert_eq!(address(&bench, "second").await.spec.address, "10.6.0.5");
}

/// The worst that can be of caches: two managers at work, neither of which knows what the other writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claims_at_once_and_two_managers_never_give_an_address_twice() {
    const CLAIMS: usize = 60;
    let bench = Bench::bare("many").await;
    pool_of(&bench, "pool", 7, CLAIMS as u8).await;
    let (one, two) = (Manager::start().await, Manager::start().await);
    let make = |from: usize| {
        let bench = &bench;
        let claims = (from..from + CLAIMS).map(move |index| async move {
            claim(bench, &format!("c{index}"), "pool", json!({})).await;
        });
        futures::future::join_all(claims)
    };
    let given = |from: usize| {
        let bench = &bench;
        async move {
            let names: Vec<_> = (from..from + CLAIMS).map(|index| format!("c{index}")).collect();
            let all = futures::future::join_all(names.iter().map(|name| address(bench, name))).await;
            let all: Vec<_> = all.into_iter().map(|address| address.spec.address).collect();
            let distinct: BTreeSet<_> = all.iter().cloned().collect();
            assert_eq!(distinct.len(), CLAIMS, "an address was given twice: {all:?}");
            names.into_iter().zip(all).collect::<BTreeMap<_, _>>()
        }
    };
    make(0).await;
    let before = given(0).await;
    drop((one, two));
    // What was deleted while nobody was at work is found by the manager that comes after.
    for index in (0..CLAIMS).filter(|index| index % 2 == 0) {
        bench.delete::<IPClaim>(&format!("c{index}")).await;
    }
    make(CLAIMS).await;
    let three = Manager::start().await;
    let listed = |pool: &IPPool| {
        pool.status.as_ref().is_some_and(|status| {
            status.indexes.len() == CLAIMS
                && !status.indexes.contains_key("c0")
                && status.indexes.contains_key("c1")
        })
    };
    bench.eventually("pool", "full again", listed).await;
    let after = addresses(&bench).await;
    assert_eq!(after.values().collect::<BTreeSet<_>>().len(), CLAIMS, "{after:?}");
    for index in (0..CLAIMS).filter(|index| index % 2 == 1) {
        let name = format!("c{index}");
        assert_eq!(after.get(&name), before.get(&name), "{name} has another address than before");
    }
    let api = bench.api::<IPClaim>();
    api.delete_collection(&Default::default(), &ListParams::default()).await.unwrap();
    bench.delete::<IPPool>("pool").await;
    bench.gone::<IPPool>("pool").await;
    assert!(addresses(&bench).await.is_empty());
    drop(three);
}

#[tokio::test]
async fn ranges_that_are_somebody_elses_are_refused_at_the_door() {
    let bench = Bench::bare("door").await;
    let server = scute_testkit::server().await;
    let (certificate, key, ca) = server.serving_certificate();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tls.crt"), certificate).unwrap();
    std::fs::write(folder.path().join("tls.key"), key).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], scute_testkit::free_port().unwrap()));
    let management = scute_api::ranges::Management {
        pods: vec!["10.244.0.0/16".parse().unwrap()],
        servers: vec!["10.244.248.0-10.244.255.254".parse().unwrap()],
        ..Default::default()
    };
    let hub = scute_kit::Hub::new(bench.client.clone());
    let admission = scute_metal::admission(&hub, management.claims(), scute_kit::Admission::new());
    let served = folder.path().to_owned();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { admission.serve(address, &served).await });
    pool_of(&bench, "elder", 8, 9).await;
    server.install_webhooks(&bench.namespace, &["ipam.metal3.io"], address, &ca, &bench.namespace).await;
    let refusal = |range: Value| {
        let pool: IPPool = serde_json::from_value(json!({
            "apiVersion": IPAM, "kind": "IPPool", "metadata": {"name": "new"},
            "spec": {"namePrefix": "new", "pools": [range]},
        }))
        .unwrap();
        let api = bench.api::<IPPool>();
        async move {
            let dry = kube::api::PostParams { dry_run: true, ..kube::api::PostParams::default() };
            api.create(&dry, &pool).await.err().map(|error| error.to_string())
        }
    };
    // The API server takes webhooks from a cache, and they know the pools from a watch.
    let overlap = scute_testkit::until("the overlap is refused", || async {
        let refused = refusal(json!({"start": "10.8.0.9", "end": "10.8.0.12"})).await;
        refused.filter(|refused| refused.contains("spec.pools[0]"))
    })
    .await;
    assert!(
        overlap.contains(&format!(
            "overlaps 10.8.0.1-10.8.0.9, the servers' addresses of IPPool {}/elder",
            bench.namespace
        )),
        "{overlap}"
    );
    let reserved = refusal(json!({"subnet": "10.244.7.0/24"})).await.unwrap();
    assert!(reserved.contains("the Pods of the management cluster"), "{reserved}");
    // What a site keeps for servers is theirs.
    assert_eq!(refusal(json!({"start": "10.244.248.0", "end": "10.244.248.9"})).await, None);
    assert_eq!(refusal(json!({"start": "10.8.0.10", "end": "10.8.0.12"})).await, None);
}
