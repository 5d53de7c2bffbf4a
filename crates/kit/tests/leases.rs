//! Leases on a real API server.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use scute_kit::lease::{Election, Held, Holder, Lost};
use scute_kit::limits::Tenure;
use scute_kit::{Clock, Key};
use scute_testkit::{PATIENCE, eventually, server};
use serde_json::json;
use tokio::time::timeout;

const LONG: Tenure = Tenure {
    ends: Duration::from_secs(600),
    renew: Duration::from_millis(200),
    gives_up: Duration::from_secs(30),
};

struct World {
    client: Client,
    lease: Key,
}

impl World {
    async fn new(prefix: &str) -> Self {
        let namespace = server().await.namespace(prefix).await;
        Self { client: server().await.client().await, lease: Key::new(namespace, "manager") }
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.lease.namespace)
    }

    fn candidate(&self, me: Holder, tenure: Tenure) -> Election {
        Election::new(self.client.clone(), self.lease.clone(), me, tenure, Clock::system())
    }

    async fn wins(&self, me: Holder, tenure: Tenure) -> Held {
        timeout(PATIENCE, self.candidate(me, tenure).win()).await.expect("the lease in time")
    }

    async fn pod(&self, name: &str) -> Pod {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.lease.namespace);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
        pods.create(&Default::default(), &serde_json::from_value(pod).unwrap()).await.expect("a Pod")
    }
}

fn named(unique: &str) -> Holder {
    Holder { pod: None, unique: unique.to_owned() }
}

fn of_pod(pod: &Pod, unique: &str) -> Holder {
    let uid = pod.uid().unwrap();
    Holder { pod: Some((Key::of(pod), uid)), unique: unique.to_owned() }
}

#[tokio::test]
async fn a_second_one_waits_and_has_it_when_the_first_gives_it_back() {
    let world = World::new("lease").await;
    let mut first = world.wins(named("first"), LONG).await;
    let second = tokio::spawn(world.candidate(named("second"), LONG).win());
    let renewals = async {
        eventually(world.api(), "manager", "renewed", |lease| {
            let spec = lease.spec.as_ref().unwrap();
            spec.renew_time > spec.acquire_time
        })
        .await
    };
    tokio::select! {
        lost = first.keep() => panic!("{lost}"),
        lease = renewals => assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some("first")),
    }
    assert!(!second.is_finished(), "it waits");
    first.release().await;
    timeout(PATIENCE, second).await.expect("in time").expect("no panic");
    let spec = world.api().get("manager").await.unwrap().spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("second"), Some(1)));
}

#[tokio::test]
async fn a_renewal_whose_answer_nobody_heard_does_not_hinder_giving_it_back() {
    let world = World::new("lease-cut").await;
    let first = world.wins(named("first"), LONG).await;
    // What a renewal leaves that was cut off after it was sent.
    let renewed = Patch::Merge(json!({"metadata": {"annotations": {"renewed": "again"}}}));
    world.api().patch("manager", &PatchParams::default(), &renewed).await.unwrap();
    first.release().await;
    world.wins(named("second"), LONG).await;
}

#[tokio::test]
async fn who_ends_without_a_word_is_followed_when_the_lease_has_ended() {
    let world = World::new("lease-end").await;
    let brief = Tenure { ends: Duration::from_secs(2), ..LONG };
    drop(world.wins(named("first"), brief).await);
    let begun = std::time::Instant::now();
    world.wins(named("second"), brief).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "not before its end");
}

#[tokio::test]
async fn a_pod_that_is_gone_or_started_again_holds_nothing() {
    let world = World::new("lease-pod").await;
    let (first, second) = (world.pod("first").await, world.pod("second").await);
    drop(world.wins(of_pod(&first, "boot-1"), LONG).await);
    drop(world.wins(of_pod(&first, "boot-2"), LONG).await);
    let waits = tokio::spawn(world.candidate(of_pod(&second, "boot-1"), LONG).win());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waits.is_finished(), "the first Pod is there");
    waits.abort();
    let pods = Api::<Pod>::namespaced(world.client.clone(), &world.lease.namespace);
    pods.delete("first", &DeleteParams::default().grace_period(0)).await.unwrap();
    world.wins(of_pod(&second, "boot-1"), LONG).await;
}

#[tokio::test]
async fn who_lost_it_learns_that_at_the_next_renewal() {
    let world = World::new("lease-lost").await;
    let mut held = world.wins(named("first"), LONG).await;
    let usurp = Patch::Merge(json!({"spec": {"holderIdentity": "other"}}));
    world.api().patch("manager", &PatchParams::default(), &usurp).await.unwrap();
    let lost = timeout(PATIENCE, held.keep()).await.expect("in time");
    assert_eq!(lost, Lost::Taken { lease: world.lease.clone(), holder: "other".into() });
}
