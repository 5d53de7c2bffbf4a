//! The reconcile loop: triggers put keys into a queue, and each key is reconciled by one task at a time.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::api::PartialObjectMeta;
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::hub::Hub;
use crate::limits::CONCURRENCY;
use crate::queue::Queue;
use crate::watch::{Key, Kind, Watch};
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

type Start = Box<dyn FnOnce(mpsc::UnboundedSender<Key>) + Send>;

/// A controller of objects of kind `K`, in the making.
pub struct Controller<K> {
    name: &'static str,
    hub: Arc<Hub>,
    main: Watch<K>,
    triggers: Vec<Start>,
    concurrency: usize,
}

impl<K> Controller<K>
where
    K: Kind + Resource<DynamicType = ()>,
{
    /// A controller that reconciles every object of its kind whenever that object changes.
    pub fn new(name: &'static str, hub: &Arc<Hub>) -> Self {
        let main = hub.watch::<K>();
        let trigger = main.clone();
        let start: Start =
            Box::new(move |keys| trigger.listen(move |object| keys.send(Key::of(object.as_ref())).is_ok()));
        Self { name, hub: Arc::clone(hub), main, triggers: vec![start], concurrency: CONCURRENCY }
    }

    /// Reconciles the owner of every `C` that changes.
    #[must_use]
    pub fn owns<C>(self) -> Self
    where
        C: Kind + Resource<DynamicType = ()>,
    {
        let watch = self.hub.watch::<C>();
        self.listen(watch, owners::<K, C>)
    }

    /// As [`Controller::owns`], from a watch on metadata only.
    #[must_use]
    pub fn owns_meta<C>(self) -> Self
    where
        C: Kind + Resource<DynamicType = ()>,
    {
        let watch = self.hub.watch_meta::<C>();
        self.listen(watch, owners::<K, PartialObjectMeta<C>>)
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
    #[must_use]
    pub fn listen<C: Kind>(
        mut self,
        watch: Watch<C>,
        map: impl Fn(&C) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        self.triggers.push(Box::new(move |keys| {
            watch.listen(move |object| map(object.as_ref()).into_iter().all(|key| keys.send(key).is_ok()));
        }));
        self
    }

    /// Reconciles every key that is received.
    #[must_use]
    pub fn on(mut self, mut keys: mpsc::UnboundedReceiver<Key>) -> Self {
        self.triggers.push(Box::new(move |send| {
            tokio::spawn(async move {
                while let Some(key) = keys.recv().await {
                    if send.send(key).is_err() {
                        break;
                    }
                }
            });
        }));
        self
    }

    /// How many objects are reconciled at a time.
    #[must_use]
    pub fn concurrency(mut self, objects: usize) -> Self {
        self.concurrency = objects.max(1);
        self
    }

    /// Runs the controller; ends only by being dropped, and its reconciles with it.
    pub async fn run<C, F, R>(self, context: Arc<C>, reconcile: F)
    where
        C: Send + Sync + 'static,
        F: Fn(Arc<K>, Arc<C>) -> R,
        R: Future<Output = Next> + Send + 'static,
    {
        let Self { name, hub: _hub, main, triggers, concurrency } = self;
        let (send, mut keys) = mpsc::unbounded_channel();
        main.ready().await;
        for start in triggers {
            start(send.clone());
        }
        let mut queue = Queue::default();
        let mut running: JoinSet<(Key, Next)> = JoinSet::new();
        loop {
            while queue.running() < concurrency {
                let Some(key) = queue.start(Instant::now()) else { break };
                match main.get(&key) {
                    Some(object) => {
                        let work = reconcile(object, Arc::clone(&context));
                        running.spawn(async move { (key, work.await) });
                    }
                    None => queue.finish(&key, Instant::now(), None, false),
                }
            }
            let due = queue.next_due().filter(|_| queue.running() < concurrency);
            tokio::select! {
                Some(key) = keys.recv() => queue.schedule(key, Instant::now()),
                Some(done) = running.join_next() => finish(name, &mut queue, done),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }
}

fn finish(name: &'static str, queue: &mut Queue, done: Result<(Key, Next), tokio::task::JoinError>) {
    let (key, next) = match done {
        Ok(done) => done,
        // Reconciles do not panic; if one does, the whole process must not go on half-blind.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let now = Instant::now();
    let outcome = match &next {
        Next::Settled => "settled",
        Next::After(..) => "after",
        Next::OnChange(_) => "on_change",
        Next::Failed(_) => "failed",
    };
    crate::metrics::reconciled(name, outcome);
    match next {
        Next::Settled => queue.finish(&key, now, None, false),
        Next::After(delay, why) => {
            tracing::debug!(controller = name, object = %key, reason = %why.reason, message = why.message, "waiting");
            queue.finish(&key, now, Some(delay), false);
        }
        Next::OnChange(why) => {
            tracing::debug!(controller = name, object = %key, reason = %why.reason, message = why.message, "waiting");
            queue.finish(&key, now, None, false);
        }
        Next::Failed(why) if why.passes => {
            tracing::debug!(controller = name, object = %key, message = why.message, "again");
            queue.finish(&key, now, None, true);
        }
        Next::Failed(why) => {
            tracing::warn!(controller = name, object = %key, reason = %why.reason, message = why.message, "failed");
            queue.finish(&key, now, None, true);
        }
    }
}

fn owners<K: Resource<DynamicType = ()>, C: Resource>(child: &C) -> Vec<Key> {
    let namespace = child.namespace().unwrap_or_default();
    let (group, kind) = (K::group(&()), K::kind(&()));
    child
        .meta()
        .owner_references
        .iter()
        .flatten()
        .filter(|owner| {
            owner.kind == kind && owner.api_version.split_once('/').map_or("", |(group, _)| group) == group
        })
        .map(|owner| Key::new(namespace.clone(), owner.name.clone()))
        .collect()
}
