//! The Nodes of one tenant: a copy that follows its API server, and calls for every change.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::Client;
use kube::api::PartialObjectMeta;
use tokio::time::sleep;

use super::heard::{GRACE, Heard};
use super::kept::{Kept, MOST_BYTES, MOST_NODES, slim};
use super::pages::PAGE;
use super::{TenantKey, Tenants};
use crate::key::Key;
use crate::source::Source;
use crate::watch::{Subscription, Watch};

/// Called for a Node of a tenant, or for all that is known of the tenant; answers whether it wants to be called again.
pub(super) type Waker = Arc<dyn Fn(&TenantKey, Option<&Node>) -> bool + Send + Sync>;

/// Who is called when a Node of any tenant changes.
#[derive(Default)]
pub(super) struct Wakers(Mutex<Vec<Waker>>);

impl Wakers {
    pub(super) fn add(&self, waker: Waker) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }

    fn wake(&self, tenant: &TenantKey, node: Option<&Node>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|waker| waker(tenant, node));
    }
}

/// What the copy of a tenant's Nodes is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They have not been listed yet, since this process began to ask less than [`GRACE`] ago.
    NotYet,
    /// All of them, as of now or less than [`GRACE`] ago.
    Known,
    /// Some of them: the tenant has more than are kept.
    Partial,
    /// Nothing has been heard of them for more than [`GRACE`].
    Silent,
}

impl Standing {
    /// In words, for a condition; `None` when there is nothing to say.
    #[must_use]
    pub fn message(self) -> Option<String> {
        match self {
            Self::NotYet => Some("The Nodes of the tenant cluster have not been listed yet".to_owned()),
            Self::Known => None,
            Self::Partial => Some(format!(
                "The tenant cluster has more Nodes than are followed: at most {MOST_NODES}, or {} MiB of them",
                MOST_BYTES >> 20
            )),
            Self::Silent => Some(format!(
                "The tenant cluster has not answered for more than {} min",
                GRACE.as_secs() / 60
            )),
        }
    }
}

/// The Nodes of a tenant, as far as they are known. Cheap to clone.
#[derive(Clone)]
pub struct TenantNodes {
    tenant: TenantKey,
    watch: Watch<Node>,
    heard: Heard,
    kept: Arc<Mutex<Kept>>,
    wakers: Arc<Wakers>,
}

impl TenantNodes {
    pub(super) fn new(tenant: &TenantKey, heard: Heard, wakers: &Arc<Wakers>) -> Self {
        let watch = Watch::named(format!("Node of tenant {}/{}", tenant.namespace, tenant.secret));
        let (weak, key) = (Arc::downgrade(wakers), tenant.clone());
        watch.listen(move |node| {
            weak.upgrade().is_some_and(|wakers| {
                wakers.wake(&key, Some(node));
                true
            })
        });
        Self { tenant: tenant.clone(), watch, heard, kept: Arc::default(), wakers: Arc::clone(wakers) }
    }

    /// The Node of this name, as last seen.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Node>> {
        self.watch.get(&Key::new("", name))
    }

    /// The Nodes with this providerID, as last seen.
    #[must_use]
    pub fn with_provider_id(&self, id: &str) -> Vec<Arc<Node>> {
        let has = |node: &Node| node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()) == Some(id);
        self.list().into_iter().filter(|node| has(node)).collect()
    }

    /// All of them, as last seen, ordered by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Node>> {
        self.watch.list()
    }

    /// What that is worth.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let silent = self.heard.last().elapsed() >= GRACE;
        match (silent, self.watch.is_ready()) {
            (true, _) => Standing::Silent,
            (false, false) => Standing::NotYet,
            (false, true) if self.kept().is_partial => Standing::Partial,
            (false, true) => Standing::Known,
        }
    }

    /// How long ago something was heard of them, once they have been listed.
    #[must_use]
    pub fn heard(&self) -> Option<Duration> {
        self.watch.is_ready().then(|| self.heard.last().elapsed())
    }

    /// Bytes of all that is kept, as JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.kept().bytes()
    }

    /// Returns when they have been listed.
    pub async fn ready(&self) {
        self.watch.ready().await;
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the API server behind `client`; returns when the watch ends, which it does not by itself.
    async fn follow(&self, client: Client) {
        let kept = Arc::clone(&self.kept);
        let source = Source::all(client, &()).pages_of(PAGE).admit(move |event| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).admit(event.modify(slim))
        });
        self.watch.follow(source).await;
    }

    /// Wakes whom it concerns when the Nodes have been listed, when the tenant falls silent, and when it is heard again:
    /// none of that is an event of a Node, and a tenant need not have one.
    async fn tell_standing(&self) {
        let listed = async {
            self.ready().await;
            self.wakers.wake(&self.tenant, None);
        };
        let silence = async {
            loop {
                self.heard.silence(GRACE).await;
                self.wakers.wake(&self.tenant, None);
                self.heard.next().await;
                self.wakers.wake(&self.tenant, None);
            }
        };
        tokio::join!(listed, silence);
    }

    /// Returns when some did not fit, and it is time to see whether they do now.
    async fn overdue(&self) {
        loop {
            sleep(LIST_AGAIN).await;
            if self.kept().is_partial {
                return;
            }
        }
    }
}

/// When a tenant with too many Nodes is listed again: nothing tells that some which did not fit would now.
const LIST_AGAIN: Duration = Duration::from_secs(600);
/// Until what may pass by itself is tried again: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Keeps a tenant's Nodes as long as the tenants are kept: a watch on one must not keep them all alive.
pub(super) async fn follow(
    tenants: Weak<Tenants>,
    secrets: Watch<PartialObjectMeta<Secret>>,
    nodes: TenantNodes,
) {
    let secret = Key::new(nodes.tenant.namespace.clone(), nodes.tenant.secret.clone());
    let changed = secrets.subscribe(&secret);
    tokio::select! {
        () = follow_changes(&tenants, &nodes, &changed) => {}
        () = nodes.tell_standing() => {}
    }
}

async fn follow_changes(
    tenants: &Weak<Tenants>,
    nodes: &TenantNodes,
    changed: &Subscription<PartialObjectMeta<Secret>>,
) {
    let mut retry = RETRY.0;
    loop {
        let Some(alive) = tenants.upgrade() else { return };
        let client = alive.client(&nodes.tenant).await;
        drop(alive);
        match client {
            Ok(client) => {
                retry = RETRY.0;
                tokio::select! {
                    () = nodes.follow(client) => {}
                    () = nodes.overdue() => {}
                    () = changed.changed() => {}
                }
            }
            Err(error) => {
                let TenantKey { namespace, secret, .. } = &nodes.tenant;
                tracing::debug!(%secret, %namespace, %error, "no tenant client yet");
                let passes = !error.is_final();
                tokio::select! {
                    () = changed.changed() => {}
                    () = sleep(retry), if passes => {}
                }
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_not_heard_for_the_grace_period_is_silent_and_everybody_is_told() {
        let wakers = Arc::<Wakers>::default();
        let (send, mut woken) = tokio::sync::mpsc::unbounded_channel();
        wakers.add(Arc::new(move |tenant, node| send.send((tenant.clone(), node.is_none())).is_ok()));
        let key = TenantKey::capi("ns", "c");
        let nodes = TenantNodes::new(&key, Heard::new(Instant::now()), &wakers);
        let told = nodes.clone();
        let telling = tokio::spawn(async move { told.tell_standing().await });
        assert_eq!(nodes.standing(), Standing::NotYet);
        nodes.watch.replace(Vec::new(), "1");
        assert_eq!(nodes.standing(), Standing::Known);
        let begun = Instant::now();
        assert_eq!(woken.recv().await, Some((key.clone(), true)), "listed, without a Node");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(woken.recv().await, Some((key.clone(), true)));
        assert_eq!((begun.elapsed(), nodes.standing()), (GRACE, Standing::Silent));
        assert!(nodes.standing().message().expect("words").contains("5 min"));
        tokio::task::yield_now().await;
        nodes.heard.note();
        assert_eq!(woken.recv().await, Some((key, true)), "and when it is heard again");
        assert_eq!(nodes.standing(), Standing::Known);
        telling.abort();
    }
}
