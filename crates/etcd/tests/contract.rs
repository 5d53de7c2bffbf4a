//! What every store has to do, tried on the fake and on a real etcd.

use std::sync::Arc;

use scute_etcd::fake::{Fake, Fault, Operation};
use scute_etcd::{Access, Claim, Connect, Error, Etcd, Part, ROOT, Range, Store, Tenant, Traces};

/// What a tenant can do with its own certificate.
trait Client {
    async fn put(&mut self, key: &str) -> Result<(), String>;
    async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, String>;
    /// Reads everything from `/` on, as an unbounded list would.
    async fn get_all(&mut self) -> Result<(), String>;
}

/// A store with a way to become one of its users.
trait World {
    type Client: Client;
    fn store(&self) -> Arc<dyn Store>;
    async fn become_user(&self, user: &str) -> Self::Client;
    /// Grants a role a range beyond its own, past the store's interface.
    async fn overgrant(&self, role: &str, range: Range);
    /// Forgets the revisions before this one.
    async fn compact(&self, revision: i64);
}

fn tenant(name: &str) -> Tenant {
    Tenant { user: format!("{name}-user"), schema: name.to_owned() }
}

/// The claim of the tenant's own object.
fn claim(name: &str) -> Claim {
    Claim { uid: format!("uid-of-{name}"), name: format!("default/{name}"), certified: false }
}

async fn authentication_is_turned_on_once(world: &impl World) {
    let store = world.store();
    assert!(!store.health().await.expect("it answers").auth);
    store.secure().await.expect("root is made");
    assert!(store.health().await.expect("root is let in").auth);
    store.secure().await.expect("again is no error");
    assert_eq!(store.health().await.expect("still root").alarms, Vec::<String>::new());
}

async fn a_tenant_has_its_prefix_and_nothing_else(world: &impl World) {
    let store = world.store();
    store.secure().await.expect("root is made");
    for name in ["a", "a-suffix", "b"] {
        store.ensure(&tenant(name), &claim(name)).await.expect("made");
        store.ensure(&tenant(name), &claim(name)).await.expect("made twice");
    }
    let mut b = world.become_user("b-user").await;
    b.put("/b/registry/secrets/s").await.expect("own prefix");
    let mut a = world.become_user("a-user").await;
    a.put("/a/registry/secrets/s").await.expect("own prefix");
    assert!(a.get("/a/registry/secrets/s").await.expect("own prefix").is_some());
    for foreign in ["/b/registry/secrets/s", "/a-suffix/x", "/a", "/a0", "/ab/x", "compact_rev_key", "/zz"] {
        assert!(a.get(foreign).await.is_err(), "read of {foreign}");
        assert!(a.put(foreign).await.is_err(), "write of {foreign}");
    }
    assert!(a.get_all().await.is_err(), "a range past the own prefix");
    let mut nobody = world.become_user("nobody").await;
    assert!(nobody.get("/a/registry/secrets/s").await.is_err(), "a certificate of no user");
}

async fn too_much_is_taken_back(world: &impl World) {
    let (store, c) = (world.store(), tenant("c"));
    store.secure().await.expect("root is made");
    store.ensure(&c, &claim("c")).await.expect("made");
    world.overgrant("c", Range { start: b"/c/".to_vec(), end: b"\0".to_vec() }).await;
    world.overgrant("c", Range { start: b"/z".to_vec(), end: b"/z0".to_vec() }).await;
    store.ensure(&c, &claim("c")).await.expect("repaired");
    let mut client = world.become_user("c-user").await;
    client.put("/c/x").await.expect("own prefix");
    assert!(client.put("/z").await.is_err());
    assert!(client.put("/d/x").await.is_err());
}

async fn a_removed_tenant_leaves_nothing_and_its_neighbour_stays(world: &impl World) {
    let (store, gone, stays) = (world.store(), tenant("gone"), tenant("gone-not"));
    store.secure().await.expect("root is made");
    store.ensure(&gone, &claim("gone")).await.expect("made");
    store.ensure(&stays, &claim("stays")).await.expect("made");
    let (mut a, mut b) = (world.become_user("gone-user").await, world.become_user("gone-not-user").await);
    for number in 0..3 {
        a.put(&format!("/gone/{number}")).await.expect("own prefix");
    }
    b.put("/gone-not/x").await.expect("own prefix");
    assert_eq!(store.traces(&gone).await.expect("counted"), Traces { keys: 3, user: true, role: true });
    assert_eq!(store.remove(&gone, &claim("gone")).await.expect("removed"), []);
    assert!(store.traces(&gone).await.expect("counted").is_none());
    assert!(a.put("/gone/late").await.is_err(), "a certificate outlives its user");
    store.remove(&gone, &claim("gone")).await.expect("again is no error");
    assert_eq!(store.traces(&stays).await.expect("counted"), Traces { keys: 1, user: true, role: true });
    assert!(b.get("/gone-not/x").await.expect("own prefix").is_some());
}

async fn history_is_kept_until_it_is_compacted(world: &impl World) {
    let store = world.store();
    store.ensure(&tenant("h"), &claim("h")).await.expect("made");
    let before = store.history(1).await.expect("read");
    assert!(before.kept && before.revision > 1, "{before:?}");
    world.become_user("h-user").await.put("/h/x").await.expect("own prefix");
    let after = store.history(before.revision).await.expect("read");
    assert!(after.kept && after.revision > before.revision, "{after:?}");
    world.compact(after.revision).await;
    assert!(!store.history(before.revision).await.expect("read").kept);
    assert!(store.history(after.revision).await.expect("read").kept);
}

fn parts(foreign: &[scute_etcd::Foreign]) -> Vec<Part> {
    foreign.iter().map(|foreign| foreign.part).collect()
}

fn foreign(answer: Result<(), Error>) -> (Part, String) {
    match answer.expect_err("refused") {
        Error::Foreign(foreign) => (foreign.part, foreign.to_string()),
        error => panic!("{error}"),
    }
}

async fn what_is_anothers_is_neither_taken_nor_removed(world: &impl World) {
    let (store, victim) = (world.store(), tenant("victim"));
    store.secure().await.expect("root is made");
    store.ensure(&victim, &claim("victim")).await.expect("made");
    let mut client = world.become_user("victim-user").await;
    client.put("/victim/x").await.expect("own prefix");
    let there = Traces { keys: 1, user: true, role: true };
    // Its own user on the victim's prefix, the victim's user on its own prefix, and both; a certificate changes nothing.
    let prefix = Tenant { user: "evil-user".into(), schema: "victim".into() };
    let user = Tenant { user: "victim-user".into(), schema: "evil".into() };
    for certified in [false, true] {
        let evil = Claim { certified, ..claim("evil") };
        let (part, said) = foreign(store.ensure(&prefix, &evil).await);
        assert_eq!((part, said.as_str()), (Part::Prefix, "prefix \"victim\" is taken"));
        assert_eq!(foreign(store.ensure(&user, &evil).await).0, Part::User);
        assert_eq!(foreign(store.ensure(&victim, &evil).await).0, Part::User);
        assert_eq!(parts(&store.remove(&prefix, &evil).await.expect("ends")), [Part::Prefix]);
        assert_eq!(parts(&store.remove(&user, &evil).await.expect("ends")), [Part::User]);
        assert_eq!(parts(&store.remove(&victim, &evil).await.expect("ends")), Part::ALL);
        store.release(&victim, &evil).await.expect("ends");
    }
    assert_eq!(store.traces(&victim).await.expect("counted"), there);
    assert!(!store.traces(&prefix).await.expect("counted").user, "nothing is made before all is allowed");
    store.ensure(&victim, &claim("victim")).await.expect("still its own");
    // The record itself is out of a tenant's reach.
    for key in ["scute.dev/owner/prefix/victim", "scute.dev/owner/user/victim-user"] {
        assert!(client.get(key).await.is_err() && client.put(key).await.is_err(), "{key}");
    }
    assert_eq!(store.remove(&victim, &claim("victim")).await.expect("removed"), []);
    store.ensure(&victim, &claim("next")).await.expect("a name that nobody has is free");
    store.remove(&victim, &claim("next")).await.expect("removed");
}

async fn what_nobody_recorded_is_its_users_and_nobody_elses(world: &impl World) {
    let (store, old) = (world.store(), tenant("old"));
    store.secure().await.expect("root is made");
    store.ensure(&old, &claim("first")).await.expect("made");
    world.become_user("old-user").await.put("/old/x").await.expect("own prefix");
    // As an earlier Scute or Kamaji left it, or one that was told to keep it.
    store.release(&old, &claim("first")).await.expect("released");
    let there = Traces { keys: 1, user: true, role: true };
    let (part, said) = foreign(store.ensure(&old, &claim("guesser")).await);
    assert_eq!(part, Part::User);
    assert!(said.contains("nothing proves"), "{said}");
    assert_eq!(parts(&store.remove(&old, &claim("guesser")).await.expect("ends")), Part::ALL);
    assert_eq!(store.traces(&old).await.expect("counted"), there);
    let other_user = Tenant { user: "mine".into(), schema: "old".into() };
    let certified = Claim { certified: true, ..claim("guesser") };
    assert_eq!(
        foreign(store.ensure(&other_user, &certified).await).0,
        Part::Prefix,
        "it proves its user only"
    );

    let holder = Claim { certified: true, ..claim("second") };
    store.ensure(&old, &holder).await.expect("its certificate proves it");
    assert_eq!(store.traces(&old).await.expect("counted"), there);
    store.ensure(&old, &claim("second")).await.expect("and is recorded");
    assert_eq!(store.remove(&old, &claim("second")).await.expect("removed"), []);
    // Without a record, the own UID is as good.
    let by_uid = Tenant { user: "uid-of-u".into(), schema: "uid-of-u".into() };
    store.ensure(&by_uid, &claim("u")).await.expect("made");
    store.release(&by_uid, &claim("u")).await.expect("released");
    assert_eq!(store.remove(&by_uid, &claim("u")).await.expect("removed"), []);
    assert!(store.traces(&by_uid).await.expect("counted").is_none());
}

async fn root_is_nobodys(world: &impl World) {
    let store = world.store();
    store.secure().await.expect("root is made");
    let user = Tenant { user: ROOT.into(), schema: "r".into() };
    let prefix = Tenant { user: "r-user".into(), schema: ROOT.into() };
    for (tenant, part) in [(&user, Part::User), (&prefix, Part::Prefix)] {
        assert_eq!(foreign(store.ensure(tenant, &claim("r")).await).0, part);
        assert_eq!(parts(&store.remove(tenant, &claim("r")).await.expect("ends")), [part]);
    }
    store.health().await.expect("root is let in");
}

async fn contract(world: &impl World) {
    authentication_is_turned_on_once(world).await;
    a_tenant_has_its_prefix_and_nothing_else(world).await;
    too_much_is_taken_back(world).await;
    a_removed_tenant_leaves_nothing_and_its_neighbour_stays(world).await;
    what_is_anothers_is_neither_taken_nor_removed(world).await;
    what_nobody_recorded_is_its_users_and_nobody_elses(world).await;
    root_is_nobodys(world).await;
    history_is_kept_until_it_is_compacted(world).await;
}

struct FakeClient(Fake, String);

impl Client for FakeClient {
    async fn put(&mut self, key: &str) -> Result<(), String> {
        self.0.put(&self.1, key, "value").then_some(()).ok_or_else(|| "denied".to_owned())
    }

    async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.get(&self.1, key).map_err(|error| error.to_string())
    }

    async fn get_all(&mut self) -> Result<(), String> {
        self.get("/").await.map(|_| ())
    }
}

impl World for Fake {
    type Client = FakeClient;

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    async fn become_user(&self, user: &str) -> FakeClient {
        FakeClient(self.clone(), user.to_owned())
    }

    async fn overgrant(&self, role: &str, range: Range) {
        self.grant(role, range);
    }

    async fn compact(&self, _revision: i64) {
        Fake::compact(self);
    }
}

struct RealClient(etcd_client::Client);

impl Client for RealClient {
    async fn put(&mut self, key: &str) -> Result<(), String> {
        self.0.put(key, "value", None).await.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let answer = self.0.get(key, None).await.map_err(|error| error.to_string())?;
        Ok(answer.kvs().first().map(|pair| pair.value().to_vec()))
    }

    async fn get_all(&mut self) -> Result<(), String> {
        let all = etcd_client::GetOptions::new().with_range("\0");
        self.0.get("/", Some(all)).await.map(|_| ()).map_err(|error| error.to_string())
    }
}

struct RealWorld {
    etcd: scute_testkit::Etcd,
    store: Arc<dyn Store>,
}

impl RealWorld {
    async fn start() -> Self {
        let etcd = scute_testkit::Etcd::start().expect("etcd starts");
        let access = access(&etcd, "root");
        // It listens when the first request is through.
        let store = Etcd.open(&access).await.expect("usable certificates");
        scute_testkit::until("etcd answers", || {
            let store = store.clone();
            async move { store.health().await.ok() }
        })
        .await;
        Self { etcd, store }
    }

    async fn client(&self, user: &str) -> etcd_client::Client {
        let access = access(&self.etcd, user);
        let tls = etcd_client::TlsOptions::new()
            .ca_certificate(etcd_client::Certificate::from_pem(&access.ca_pem))
            .identity(etcd_client::Identity::from_pem(&access.certificate_pem, &access.key_pem));
        let options = etcd_client::ConnectOptions::new().with_tls(tls);
        etcd_client::Client::connect([self.etcd.endpoint.as_str()], Some(options)).await.expect("a client")
    }
}

fn access(etcd: &scute_testkit::Etcd, user: &str) -> Access {
    let (certificate_pem, key_pem) = etcd.client_certificate(user).expect("issued");
    Access {
        endpoints: vec![etcd.endpoint.trim_start_matches("https://").to_owned()],
        ca_pem: etcd.ca_certificate.clone(),
        certificate_pem,
        key_pem,
    }
}

impl World for RealWorld {
    type Client = RealClient;

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn become_user(&self, user: &str) -> RealClient {
        RealClient(self.client(user).await)
    }

    async fn overgrant(&self, role: &str, range: Range) {
        let permission = etcd_client::Permission::read_write(range.start).with_range_end(range.end);
        self.client("root").await.role_grant_permission(role, permission).await.expect("granted");
    }

    async fn compact(&self, revision: i64) {
        self.client("root").await.compact(revision, None).await.expect("compacted");
    }
}

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    contract(&Fake::new()).await;
}

#[tokio::test]
async fn etcd_keeps_the_contract() {
    contract(&RealWorld::start().await).await;
}

#[tokio::test]
async fn an_etcd_that_is_down_is_unavailable_and_comes_back() {
    let mut world = RealWorld::start().await;
    world.store.secure().await.expect("root is made");
    world.etcd.kill();
    let error = world.store.ensure(&tenant("t"), &claim("t")).await.expect_err("nobody answers");
    assert!(error.is_transient(), "{error}");
    world.etcd.restart().expect("starts again");
    scute_testkit::until("the tenant is made", || {
        let store = world.store();
        async move { store.ensure(&tenant("t"), &claim("t")).await.ok() }
    })
    .await;
}

#[tokio::test]
async fn another_certificate_than_roots_is_refused_by_name() {
    let world = RealWorld::start().await;
    world.store.secure().await.expect("root is made");
    world.store.ensure(&tenant("t"), &claim("t")).await.expect("made");
    let store = Etcd.open(&access(&world.etcd, "t-user")).await.expect("usable certificates");
    let error = store.health().await.expect_err("not root");
    assert!(matches!(error, scute_etcd::Error::Denied { .. }), "{error}");
}

#[tokio::test]
async fn half_done_work_is_finished_by_the_next_try() {
    for steps in 0..2 {
        let fake = Fake::new();
        fake.secure().await.expect("root is made");
        fake.fail(Operation::Ensure, [Fault::LostAfter(steps)]);
        assert!(fake.ensure(&tenant("t"), &claim("t")).await.expect_err("lost").is_transient());
        fake.ensure(&tenant("t"), &claim("t")).await.expect("finished");
        assert!(fake.put("t-user", "/t/x", "value"));
        fake.fail(Operation::Remove, [Fault::LostAfter(steps)]);
        assert!(fake.remove(&tenant("t"), &claim("t")).await.is_err());
        fake.remove(&tenant("t"), &claim("t")).await.expect("finished");
        assert!(fake.traces(&tenant("t")).await.expect("counted").is_none());
    }
}

#[tokio::test]
async fn a_defragmentation_gives_back_what_is_free() {
    let world = RealWorld::start().await;
    world.store.secure().await.expect("root is made");
    world.store.ensure(&tenant("big"), &claim("big")).await.expect("made");
    let mut client = world.client("big-user").await;
    for number in 0..64 {
        client.put(format!("/big/{number}"), vec![b'x'; 256 << 10], None).await.expect("written");
    }
    world.store.remove(&tenant("big"), &claim("big")).await.expect("removed");
    let now = world.store.history(1).await.expect("read").revision;
    world
        .client("root")
        .await
        .compact(now, Some(etcd_client::CompactionOptions::new().with_physical()))
        .await
        .expect("compacted");
    let [before] = world.store.members().await.expect("asked").try_into().expect("one member");
    assert!(before.leads && before.size > 16 << 20, "{before:?}");
    // bbolt counts a page as free once a later write has begun: a store that is used has one at any moment.
    let root = world.client("root").await;
    let freed = scute_testkit::until("the pages are free", || async {
        root.clone().put("later", "", None).await.ok()?;
        world.store.members().await.ok()?.into_iter().find(|member| member.in_use < member.size / 2)
    })
    .await;
    world.store.defragment(&freed.endpoint).await.expect("defragmented");
    let [after] = world.store.members().await.expect("asked").try_into().expect("one member");
    assert!(after.size < before.size / 2, "{before:?} became {after:?}");
}
