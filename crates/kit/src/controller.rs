//! The reconcile loop: triggers put keys into a queue, and each key is reconciled by one task at a time.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::feed::{Feed, Keys, Mapped, Own, owners, wish};
use crate::guard::guarded;
use crate::hub::Hub;
use crate::key::{Key, Kind};
use crate::limits::{CONCURRENCY, Rest, SAY_AGAIN, SHARE_IN_QUARTERS};
use crate::metrics::Meter;
use crate::queue::{Ended, Queue, Wake};
use crate::resync::Resync;
use crate::unreadable::Unreadable;
use crate::watch::Watch;
use crate::write::Error;

/// Why a controller stands where it stands: becomes the condition, the event and the log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// One word in CamelCase, as conditions have it.
    pub reason: Cow<'static, str>,
    /// A sentence for a person, naming the object and field that must change.
    pub message: String,
    passes: bool,
}

impl Why {
    /// A reason and its message.
    pub fn new(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), passes: false }
    }

    /// Of a request that was not done.
    pub fn of(reason: impl Into<Cow<'static, str>>, error: &Error) -> Self {
        Self { passes: error.passes(), ..Self::new(reason, error.to_string()) }
    }

    /// Whether it passes by itself and says nothing of the object: somebody else wrote in between, or the namespace is going
    /// away. It is tried again, and worth neither a condition nor an event nor a line in the log.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.passes
    }
}

/// What comes after a reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// All is as wanted; the next change starts the next run.
    Settled,
    /// Something that cannot be watched is waited for; look again then.
    After(Duration, Why),
    /// Something that is watched is waited for.
    OnChange(Why),
    /// It failed; retried with back-off.
    Failed(Why),
}

impl Hub {
    /// The end of a run: the status that it has decided on is written, and `next` follows, unless it cannot be written. An
    /// object that is gone has none.
    pub async fn report<K>(&self, object: &K, status: Value, next: Next) -> Next
    where
        K: Kind + Serialize + Resource<DynamicType = ()>,
    {
        match self.patch_status(object, status).await {
            Err(error) if !error.is_not_found() => Next::Failed(Why::of("StatusNotWritten", &error)),
            _ => next,
        }
    }
}

/// A controller of objects of kind `K`, in the making.
pub struct Controller<K> {
    name: &'static str,
    hub: Arc<Hub>,
    main: Watch<K>,
    feeds: Vec<Box<dyn Feed<K>>>,
    others: Vec<mpsc::UnboundedReceiver<Key>>,
    concurrency: usize,
    rests: Option<Rest>,
}

impl<K> Controller<K>
where
    K: Kind + Resource<DynamicType = ()>,
{
    /// A controller that reconciles every object of its kind whenever that object changes.
    pub fn new(name: &'static str, hub: &Arc<Hub>) -> Self {
        let main = hub.watch::<K>();
        let feeds: Vec<Box<dyn Feed<K>>> = vec![Box::new(Own(main.clone()))];
        Self {
            name,
            hub: Arc::clone(hub),
            main,
            feeds,
            others: Vec::new(),
            concurrency: CONCURRENCY,
            rests: None,
        }
    }

    /// Reconciles the owner of every `C` that changes.
    #[must_use]
    pub fn owns<C>(self) -> Self
    where
        C: Kind + Resource<DynamicType = ()>,
    {
        let watch = self.hub.watch::<C>();
        self.listen(watch, |child: &C| owners::<K>(child.meta()))
    }

    /// As [`Controller::owns`], from a watch on metadata only.
    #[must_use]
    pub fn owns_meta<C>(self) -> Self
    where
        C: Kind + Resource<DynamicType = ()>,
    {
        let watch = self.hub.watch_meta::<C>();
        self.listen(watch, |child| owners::<K>(child.meta()))
    }

    /// Reconciles what `map` names for every `C` that changes.
    #[must_use]
    pub fn watches<C>(self, map: impl Fn(&C) -> Vec<Key> + Send + Sync + 'static) -> Self
    where
        C: Kind + Resource<DynamicType = ()>,
    {
        let watch = self.hub.watch::<C>();
        self.listen(watch, map)
    }

    /// Reconciles what `map` names for every object of any watch that changes.
    ///
    /// While an object of that watch cannot be read, its owners and what it owns are not reconciled: who cannot see a
    /// child must not make another.
    #[must_use]
    pub fn listen<C: Kind>(
        self,
        watch: Watch<C>,
        map: impl Fn(&C) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        self.feed(watch, map, Wake::Event)
    }

    fn feed<C: Kind>(
        mut self,
        watch: Watch<C>,
        map: impl Fn(&C) -> Vec<Key> + Send + Sync + 'static,
        wake: Wake,
    ) -> Self {
        self.feeds.push(Box::new(Mapped { watch, map: Arc::new(map), wake }));
        self
    }

    /// As [`Controller::watches`], of objects that the controller's own sum up: many changes of theirs in a short time
    /// make one run.
    #[must_use]
    pub fn sums<C>(mut self, map: impl Fn(&C) -> Vec<Key> + Send + Sync + 'static) -> Self
    where
        C: Kind + Resource<DynamicType = ()>,
    {
        let watch = self.hub.watch::<C>();
        self.rests.get_or_insert(Rest::WORK);
        self.feed(watch, map, Wake::Part)
    }

    /// As [`Controller::sums`], for what the objects own.
    #[must_use]
    pub fn sums_owned<C>(self) -> Self
    where
        C: Kind + Resource<DynamicType = ()>,
    {
        self.sums(|child: &C| owners::<K>(child.meta()))
    }

    /// How long an object that sums up others rests after a run; [`Rest::WORK`] unless told otherwise.
    #[must_use]
    pub fn rests(mut self, rest: Rest) -> Self {
        self.rests = Some(rest);
        self
    }

    /// Reconciles every key that is received.
    #[must_use]
    pub fn on(mut self, keys: mpsc::UnboundedReceiver<Key>) -> Self {
        self.others.push(keys);
        self
    }

    /// How many objects are reconciled at a time.
    #[must_use]
    pub fn concurrency(mut self, objects: usize) -> Self {
        self.concurrency = objects.max(1);
        self
    }

    /// Runs the controller; ends only by being dropped, and its reconciles with it. Begins when all that it was given is
    /// listed: kinds known at compile time only, since one that somebody's object names may never be.
    pub async fn run<C, F, R>(self, context: Arc<C>, reconcile: F)
    where
        C: Send + Sync + 'static,
        F: Fn(Arc<K>, Arc<C>) -> R,
        R: Future<Output = Next> + Send + 'static,
    {
        let Self { name, hub, main, feeds, others, concurrency, rests } = self;
        hub.work();
        for feed in &feeds {
            listed(name, feed.as_ref()).await;
        }
        let (send, mut keys) = mpsc::unbounded_channel();
        for feed in &feeds {
            feed.start(&send, &main);
        }
        for other in others {
            tokio::spawn(forward(other, send.clone()));
        }
        let meter = Meter::new(name);
        let mut queue = Queue::new(concurrency * SHARE_IN_QUARTERS / 4);
        let mut resync = Resync::new(Instant::now());
        let mut running: JoinSet<Done> = JoinSet::new();
        loop {
            while queue.running() < concurrency {
                let Some((key, waited)) = queue.start(Instant::now()) else { break };
                let Some(object) = main.get(&key) else {
                    queue.finish(&key, Instant::now(), Ended::Well(None));
                    continue;
                };
                meter.started(waited);
                let (wish, begin) = (wish(object.meta()), Instant::now());
                let leaves = object.meta().deletion_timestamp.is_some();
                match feeds.iter().find_map(|feed| feed.unreadable_kin(object.meta())) {
                    Some(bad) => {
                        let held = held(Arc::clone(&hub), object, bad);
                        running.spawn(async move { Done { key, wish, begin, leaves, next: held.await } });
                    }
                    None => {
                        let work = guarded(reconcile(object, Arc::clone(&context)));
                        running.spawn(async move {
                            let next = work.await.unwrap_or_else(|fault| {
                                Next::Failed(Why::new("Panicked", fault.to_string()))
                            });
                            Done { key, wish, begin, leaves, next }
                        });
                    }
                }
            }
            meter.depth(queue.depth(), queue.running());
            let due = queue.next_due().unwrap_or_else(|| resync.due()).min(resync.due());
            tokio::select! {
                Some((key, wake)) = keys.recv() => queue.schedule(key, Instant::now(), wake),
                Some(done) = running.join_next() => match done {
                    Ok(done) => {
                        if let Some(rest) = rests {
                            let now = Instant::now();
                            let rest = if done.leaves { Rest::LEAVING } else { rest };
                            queue.rests(&done.key, now, rest.after(now - done.begin), done.wish);
                        }
                        finish(name, &meter, &mut queue, done);
                    }
                    // Reconciles are guarded, so this is a fault outside of any.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = sleep_until(due), if queue.running() < concurrency => {
                    if let Some(key) = resync.next(Instant::now(), main.len(), |key| main.after(key)) {
                        queue.schedule(key, Instant::now(), Wake::Event);
                    }
                }
            }
        }
    }
}

/// A reconcile that ended.
struct Done {
    key: Key,
    wish: u64,
    begin: Instant,
    leaves: bool,
    next: Next,
}

/// Returns when the watch is listed, or at once if it may never be. Says every minute what is waited for.
async fn listed<K>(controller: &'static str, feed: &dyn Feed<K>) {
    if !feed.health().required {
        return;
    }
    while timeout(SAY_AGAIN, feed.ready()).await.is_err() {
        let why = feed.health().complaint().unwrap_or_default();
        tracing::warn!(controller, why, "the controller waits for a watch");
    }
}

async fn forward(mut from: mpsc::UnboundedReceiver<Key>, to: Keys) {
    while let Some(key) = from.recv().await {
        if to.send((key, Wake::Event)).is_err() {
            break;
        }
    }
}

/// Leaves an object alone whose owner, or what it owns, cannot be read: it is not absent, and nobody knows what it says.
async fn held<K>(hub: Arc<Hub>, object: Arc<K>, bad: Arc<Unreadable>) -> Next
where
    K: Kind + Resource<DynamicType = ()>,
{
    let message = format!("{}; until this is mended {} is left alone", bad.message(), object.name_any());
    hub.event(object.as_ref(), kube::runtime::events::EventType::Warning, HELD, &message).await;
    // The message may quote the value, which is for who may read the object.
    let why = format!("{} {} cannot be read", bad.kind, bad.key());
    Next::OnChange(Why::new(HELD, why))
}

/// The reason of an object that is left alone because of another.
const HELD: &str = "UnreadableObject";

fn finish(controller: &'static str, meter: &Meter, queue: &mut Queue, done: Done) {
    let Done { key, wish, begin, next, .. } = done;
    let now = Instant::now();
    let (outcome, ended) = match &next {
        Next::Settled => ("settled", Ended::Well(None)),
        Next::After(delay, why) => {
            tracing::debug!(controller, object = %key, reason = %why.reason, message = why.message, "waiting");
            ("after", Ended::Well(Some(*delay)))
        }
        Next::OnChange(why) => {
            tracing::debug!(controller, object = %key, reason = %why.reason, message = why.message, "waiting");
            ("on_change", Ended::Well(None))
        }
        Next::Failed(why) if why.passes => {
            tracing::debug!(controller, object = %key, message = why.message, "again");
            ("again", Ended::Failed(wish))
        }
        Next::Failed(why) => {
            tracing::warn!(controller, object = %key, reason = %why.reason, message = why.message, "failed");
            ("failed", Ended::Failed(wish))
        }
    };
    meter.ended(outcome, now.saturating_duration_since(begin));
    queue.finish(&key, now, ended);
}
