//! Calls to tenants outside of the reconciles that need them. A reconcile starts a call and ends; it is run again when
//! the call has ended, and observes the outcome. A tenant that does not answer so never holds a worker of a controller.

mod lanes;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use scute_kit::Key;
use scute_kit::tenants::{TenantError, TenantKey, Tenants};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

pub use lanes::Lanes;

/// How long a call may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no client.
    #[error("the tenant cluster cannot be reached: {0}")]
    NoClient(#[from] TenantError),
    /// The tenant refused.
    #[error("{}", scute_kit::said(.0))]
    Api(#[from] kube::Error),
    /// It did not answer.
    #[error("the tenant cluster did not answer within {} s", PATIENCE.as_secs())]
    Silent,
}

/// How an object's latest call stands. `A` says what was asked, `T` is the answer.
#[derive(Debug)]
pub enum Call<A, T> {
    /// There is none.
    Idle,
    /// It is under way.
    Running,
    /// It has ended. This is said once.
    Ended(A, Result<T, CallError>),
}

struct Kept<A, T> {
    /// Which start it was: the end of one that was replaced must not count.
    number: u64,
    ended: Option<(A, Result<T, CallError>)>,
    task: Option<AbortHandle>,
}

type All<A, T> = Mutex<HashMap<Key, Kept<A, T>>>;

/// The calls of one controller, at most one for each of its objects.
pub struct Calls<A, T> {
    tenants: Arc<Tenants>,
    lanes: Arc<Lanes>,
    all: Arc<All<A, T>>,
    wake: UnboundedSender<Key>,
}

impl<A: Send + 'static, T: Send + 'static> Calls<A, T> {
    /// No calls yet. The receiver gets the keys of objects whose calls have ended.
    pub fn new(tenants: &Arc<Tenants>, lanes: &Arc<Lanes>) -> (Self, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        let this = Self { tenants: Arc::clone(tenants), lanes: Arc::clone(lanes), all: Arc::default(), wake };
        (this, woken)
    }

    /// How the latest call of an object stands.
    pub fn look(&self, key: &Key) -> Call<A, T> {
        let mut all = lock(&self.all);
        match all.remove(key) {
            None => Call::Idle,
            Some(Kept { ended: Some((ask, outcome)), .. }) => Call::Ended(ask, outcome),
            Some(running) => {
                all.insert(key.clone(), running);
                Call::Running
            }
        }
    }

    /// Starts a call. One that is under way is given up.
    pub fn start<F>(
        &self,
        key: &Key,
        tenant: TenantKey,
        ask: A,
        call: impl FnOnce(Client) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<T, kube::Error>> + Send,
    {
        let mut all = lock(&self.all);
        let number = all.get(key).map_or(0, |before| before.number) + 1;
        let (tenants, lanes) = (Arc::clone(&self.tenants), Arc::clone(&self.lanes));
        let (ends, wake, ended_key) = (Arc::clone(&self.all), self.wake.clone(), key.clone());
        let task = tokio::spawn(async move {
            let made = async { Ok(call(tenants.client(&tenant).await?).await?) };
            let outcome = lanes.call(&tenant, PATIENCE, made).await.unwrap_or(Err(CallError::Silent));
            if let Some(kept) = lock(&ends).get_mut(&ended_key).filter(|kept| kept.number == number) {
                kept.ended = Some((ask, outcome));
            }
            // A closed channel means that the controller is gone.
            let _ = wake.send(ended_key);
        });
        let kept = Kept { number, ended: None, task: Some(task.abort_handle()) };
        if let Some(Kept { task: Some(task), .. }) = all.insert(key.clone(), kept) {
            task.abort();
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &Key) {
        if let Some(Kept { task: Some(task), .. }) = lock(&self.all).remove(key) {
            task.abort();
        }
    }
}

impl<A, T> Drop for Calls<A, T> {
    fn drop(&mut self) {
        for task in lock(&self.all).values().filter_map(|kept| kept.task.as_ref()) {
            task.abort();
        }
    }
}

fn lock<A, T>(all: &All<A, T>) -> MutexGuard<'_, HashMap<Key, Kept<A, T>>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
