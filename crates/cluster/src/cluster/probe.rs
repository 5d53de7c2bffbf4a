//! Whether tenants' API servers answer: asked outside of reconciles, each by a task of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use scute_kit::conditions::whole_seconds;
use scute_kit::limits::BOOKMARKS;
use scute_kit::tenants::{TenantKey, Tenants};
use scute_kit::{Hub, Key};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::calls::Lanes;

/// How long an answer counts. Nothing tells when a server stops answering, so it is asked again then.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// As [`GOOD_FOR`], of a failure, while it may be the only one.
const AGAIN: Duration = Duration::from_secs(10);
/// As [`GOOD_FOR`], of a server that is known not to answer.
const BAD_FOR: Duration = Duration::from_secs(30);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many failures in a row there are before a server is said not to answer. With [`AGAIN`] between them this is
/// the `--remote-connection-grace-period` of Cluster API, 50 s.
const FAILURES: u32 = 5;

/// What is known of an API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// When it last answered.
    answered: Option<Timestamp>,
    failures: u32,
    why: String,
}

/// What is said of an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It answers, or did and has not failed often enough yet.
    Up,
    /// It has not answered yet; and why, if that is known.
    NotYet(String),
    /// It does not answer, and why.
    Down(String),
}

impl Probe {
    /// What is to be said.
    #[must_use]
    pub fn connection(&self) -> Connection {
        let Self { answered, failures, why } = self;
        match (answered, *failures >= FAILURES) {
            (Some(_), false) => Connection::Up,
            (None, false) => Connection::NotYet(why.clone()),
            (Some(at), true) => Connection::Down(format!("Last successful probe at {at}: {why}")),
            (None, true) => Connection::Down(why.clone()),
        }
    }

    fn after(&self, answer: Result<(), String>, now: Timestamp) -> Self {
        match answer {
            Ok(()) => Self { answered: Some(whole_seconds(now)), failures: 0, why: String::new() },
            Err(why) => Self { answered: self.answered, failures: self.failures.saturating_add(1), why },
        }
    }

    fn rest(&self) -> Duration {
        match self.failures {
            0 => GOOD_FOR,
            few if few < FAILURES => AGAIN,
            _ => BAD_FOR,
        }
    }
}

struct Followed {
    probe: Probe,
    task: AbortHandle,
}

type All = Mutex<HashMap<Key, Followed>>;

/// The API servers of all Clusters that are initialized.
pub struct Probes {
    hub: Arc<Hub>,
    tenants: Arc<Tenants>,
    lanes: Arc<Lanes>,
    all: Arc<All>,
    wake: UnboundedSender<Key>,
}

impl Probes {
    /// None is asked yet. The receiver gets the keys of Clusters of which something else is to be said now.
    #[must_use]
    pub fn new(hub: &Arc<Hub>, tenants: &Arc<Tenants>, lanes: &Arc<Lanes>) -> (Self, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        let (hub, tenants, lanes) = (Arc::clone(hub), Arc::clone(tenants), Arc::clone(lanes));
        (Self { hub, tenants, lanes, all: Arc::default(), wake }, woken)
    }

    /// What is known of the API server of a Cluster, which is asked from now on.
    pub fn of(&self, key: &Key) -> Connection {
        let mut all = lock(&self.all);
        let followed = all.entry(key.clone()).or_insert_with(|| Followed {
            probe: Probe::default(),
            task: tokio::spawn(follow(
                key.clone(),
                Arc::clone(&self.hub),
                Arc::clone(&self.tenants),
                Arc::clone(&self.lanes),
                Arc::clone(&self.all),
                self.wake.clone(),
            ))
            .abort_handle(),
        });
        followed.probe.connection()
    }

    /// Asks no more: the Cluster is gone.
    pub fn forget(&self, key: &Key) {
        if let Some(followed) = lock(&self.all).remove(key) {
            followed.task.abort();
        }
        self.lanes.forget(&tenant(key));
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        for followed in lock(&self.all).values() {
            followed.task.abort();
        }
    }
}

async fn follow(
    key: Key,
    hub: Arc<Hub>,
    tenants: Arc<Tenants>,
    lanes: Arc<Lanes>,
    all: Arc<All>,
    wake: UnboundedSender<Key>,
) {
    loop {
        let answer = ask(&key, &tenants, &lanes).await;
        let rest = {
            let mut all = lock(&all);
            let Some(followed) = all.get_mut(&key) else { return };
            let before = followed.probe.connection();
            // Heard or asked, an answer counts for as long; a bookmark may come a little later than the minute.
            let ago = answer.as_ref().map_or(Duration::ZERO, |ago| *ago);
            let now = hub.now();
            let at = SignedDuration::try_from(ago).map_or(now, |ago| now - ago);
            followed.probe = followed.probe.after(answer.map(|_| ()), at);
            if followed.probe.connection() != before && wake.send(key.clone()).is_err() {
                return;
            }
            let rest = followed.probe.rest();
            if ago.is_zero() { rest } else { rest.min(BOOKMARKS - ago) }
        };
        sleep(rest).await;
    }
}

/// How long ago it answered. Who was heard on a watch a moment ago need not be asked, over a connection more.
async fn ask(key: &Key, tenants: &Tenants, lanes: &Lanes) -> Result<Duration, String> {
    let tenant = tenant(key);
    if let Some(ago) = tenants.heard(&tenant).filter(|ago| *ago < BOOKMARKS) {
        return Ok(ago);
    }
    let asked = async {
        let client = tenants.client(&tenant).await.map_err(|error| error.to_string())?;
        let version = client.apiserver_version().await;
        version.map(|_| Duration::ZERO).map_err(|error| scute_kit::said(&error))
    };
    let silent = || Err(format!("the API server did not answer within {} s", PATIENCE.as_secs()));
    lanes.call(&tenant, PATIENCE, asked).await.unwrap_or_else(silent)
}

fn tenant(cluster: &Key) -> TenantKey {
    TenantKey::capi(&cluster.namespace, &cluster.name)
}

fn lock(all: &All) -> MutexGuard<'_, HashMap<Key, Followed>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn one_slow_answer_says_nothing_and_five_do() {
        let mut probe = Probe::default().after(Ok(()), at(100));
        for _ in 1..FAILURES {
            probe = probe.after(Err("silence".into()), at(200));
            assert_eq!((probe.connection(), probe.rest()), (Connection::Up, AGAIN));
        }
        probe = probe.after(Err("silence".into()), at(200));
        let said = "Last successful probe at 1970-01-01T00:01:40Z: silence";
        assert_eq!((probe.connection(), probe.rest()), (Connection::Down(said.into()), BAD_FOR));
        assert_eq!(probe.after(Ok(()), at(300)).connection(), Connection::Up);
    }

    #[test]
    fn a_server_that_never_answered_is_not_said_to_be_down_at_once() {
        let probe = Probe::default();
        assert_eq!(probe.connection(), Connection::NotYet(String::new()));
        let mut probe = probe.after(Err("no Secret".into()), at(1));
        assert_eq!(probe.connection(), Connection::NotYet("no Secret".into()));
        for _ in 1..FAILURES {
            probe = probe.after(Err("no Secret".into()), at(1));
        }
        assert_eq!(probe.connection(), Connection::Down("no Secret".into()));
    }
}
