//! What the members of an etcd have to do, tried on the fake and on real processes.

use std::sync::Arc;

use scute_etcd::fake_members::{Fault, Ring};
use scute_etcd::{Connecting, Credentials, Error, Members, Stream, View, Way, open_member};
use scute_testkit::EtcdRing;

/// An etcd of members `m0`, `m1`, `m2`.
trait World {
    async fn member(&self, name: &str) -> Arc<dyn Members>;
    fn kill(&mut self, name: &str);
}

impl World for Ring {
    async fn member(&self, name: &str) -> Arc<dyn Members> {
        Self::member(self, name)
    }

    fn kill(&mut self, name: &str) {
        Self::kill(self, name);
    }
}

impl World for EtcdRing {
    async fn member(&self, name: &str) -> Arc<dyn Members> {
        let port = self.members.iter().find(|member| member.name == name).expect("a member").port;
        let (certificate_pem, key_pem) = self.client_certificate("client").expect("issued");
        let credentials = Credentials {
            ca_pem: self.ca_certificate.clone(),
            certificate_pem,
            key_pem,
            server_name: "localhost".to_owned(),
        };
        let way: Way = Arc::new(move || -> Connecting {
            Box::pin(async move {
                let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        });
        open_member(&credentials, way).await.expect("usable credentials")
    }

    fn kill(&mut self, name: &str) {
        self.members.iter_mut().find(|member| member.name == name).expect("a member").kill();
    }
}

/// Members that start, or vote, are waited for: each question is one event, and etcd answers it when it can.
async fn until(member: &Arc<dyn Members>, what: &str, is: impl Fn(&View) -> bool) -> View {
    let mut last = String::new();
    for _ in 0..200 {
        match member.look().await {
            Ok(view) if is(&view) => return view,
            Ok(view) => last = format!("{view:?}"),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{what}: {last}");
}

async fn members_come_and_go_by_name(world: &mut impl World) {
    let m0 = world.member("m0").await;
    let whole = |view: &View| {
        view.leader().is_some() && view.no_quorum.is_none() && view.members.iter().all(|m| !m.name.is_empty())
    };
    let view = until(&m0, "three members", |view| view.members.len() == 3 && whole(view)).await;
    assert_eq!(view.named("m0").map(|member| member.id), Some(view.id), "each knows which one it is");
    assert!(view.members.iter().all(|member| !member.learner && member.peer_urls.len() == 1));
    assert_eq!(view.alarms, []);

    // Leadership is moved by the one that has it, and by no other.
    let leader = view.leader().expect("a leader").clone();
    let other = view.members.iter().find(|member| member.id != leader.id).expect("another").clone();
    let follower = world.member(&other.name).await;
    assert!(matches!(follower.move_leader(other.id).await, Err(Error::Refused { .. })), "it does not lead");
    world.member(&leader.name).await.move_leader(other.id).await.expect("moved");
    until(&m0, "the other leads", |view| view.leader == other.id).await;

    // A member is taken out through another, and again is no error.
    let gone = view.members.iter().find(|member| member.id != other.id && member.name != "m0");
    let gone = gone.expect("one that neither leads nor is asked").clone();
    // etcd takes no change of members before all have been connected for some seconds.
    scute_testkit::until("a member is removed", || async { m0.remove(gone.id).await.ok() }).await;
    m0.remove(gone.id).await.expect("removed already");
    let view = until(&m0, "two members", |view| view.members.len() == 2 && whole(view)).await;
    assert_eq!(view.named(&gone.name), None);

    // One of two dies: no majority is left, the one that lives says so and takes nobody out.
    let last = view.members.iter().find(|member| member.name != "m0").expect("the other").clone();
    world.kill(&last.name);
    let view = until(&m0, "no quorum", |view| view.no_quorum.is_some()).await;
    assert_eq!(view.members.len(), 2);
    assert!(m0.remove(last.id).await.is_err(), "it would have to be agreed on");
    let dead = world.member(&last.name).await;
    assert!(matches!(dead.look().await, Err(Error::Unavailable { .. })), "a dead one does not answer");
}

#[tokio::test]
async fn a_fake() {
    let mut ring = Ring::new();
    for name in ["m0", "m1", "m2"] {
        ring.add(name);
    }
    members_come_and_go_by_name(&mut ring).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_processes() {
    let mut ring = EtcdRing::start(3).expect("started");
    members_come_and_go_by_name(&mut ring).await;
}

#[tokio::test]
async fn the_fake_fails_on_command() {
    let ring = Ring::new();
    ring.add("a");
    let b = ring.add("b");
    ring.fail([Fault::Unavailable, Fault::LostAfter]);
    let a = ring.member("a");
    assert!(matches!(a.look().await, Err(Error::Unavailable { .. })));
    assert!(matches!(a.remove(b).await, Err(Error::Unavailable { .. })), "the answer is lost");
    assert_eq!(ring.removed(), ["b"], "but it was done");
    assert_eq!(a.look().await.expect("well again").members.len(), 1);
}

#[tokio::test]
async fn a_learner_has_no_vote() {
    let ring = Ring::new();
    ring.add("a");
    let b = ring.add_learner("b");
    let a = ring.member("a");
    assert!(matches!(a.move_leader(b).await, Err(Error::Refused { .. })));
    ring.kill("b");
    assert_eq!(a.look().await.expect("one vote of one").no_quorum, None);
}
