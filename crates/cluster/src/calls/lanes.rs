//! How many calls to tenants are under way at a time. Tenants that do not answer have places of their own: they must
//! not take those of the others.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use scute_kit::tenants::TenantKey;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Calls to tenants that answered last time, or have not been asked yet: after a restart those are all, and the first
/// call to each that is dead takes its time here.
const ANSWERING: usize = 256;
/// Calls to tenants that were slow last time, or did not answer.
const SLOW: usize = 16;
/// Calls to one tenant. Its client has no more requests under way either.
const OF_ONE_TENANT: usize = 2;
/// From when on a tenant is slow. One that answers takes milliseconds.
const SLOW_AFTER: Duration = Duration::from_secs(2);

struct Tenant {
    turns: Semaphore,
    is_slow: AtomicBool,
}

/// Places for calls to tenants.
pub struct Lanes {
    answering: Semaphore,
    slow: Semaphore,
    tenants: Mutex<HashMap<TenantKey, Arc<Tenant>>>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { answering: Semaphore::new(ANSWERING), slow: Semaphore::new(SLOW), tenants: Mutex::default() }
    }
}

impl Lanes {
    /// Waits for a place, then for the call: at most `limit`, or there is no answer.
    pub async fn call<T>(
        &self,
        tenant: &TenantKey,
        limit: Duration,
        call: impl Future<Output = T>,
    ) -> Option<T> {
        let tenant = self.tenant(tenant);
        // Semaphores are never closed; without a permit the call would only be less limited.
        let _turn = tenant.turns.acquire().await;
        let lane = if tenant.is_slow.load(Ordering::Relaxed) { &self.slow } else { &self.answering };
        let _place = lane.acquire().await;
        let begun = Instant::now();
        let answer = timeout(limit, call).await.ok();
        tenant.is_slow.store(answer.is_none() || begun.elapsed() >= SLOW_AFTER, Ordering::Relaxed);
        answer
    }

    /// Forgets a tenant that is gone.
    pub fn forget(&self, tenant: &TenantKey) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(tenant);
    }

    fn tenant(&self, key: &TenantKey) -> Arc<Tenant> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Tenant { turns: Semaphore::new(OF_ONE_TENANT), is_slow: AtomicBool::new(false) };
        Arc::clone(tenants.entry(key.clone()).or_insert_with(|| Arc::new(fresh())))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn key(name: &str) -> TenantKey {
        TenantKey::capi("ns", name)
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_never_answer_take_no_place_of_one_that_does() {
        let lanes = Arc::new(Lanes::default());
        // Each is found out once, and is slow from then on.
        let dead: Vec<_> = (0..2 * ANSWERING).map(|n| key(&format!("dead-{n}"))).collect();
        for tenant in &dead {
            assert_eq!(lanes.call(tenant, LIMIT, pending::<()>()).await, None);
        }
        for tenant in dead {
            let lanes = Arc::clone(&lanes);
            tokio::spawn(async move { lanes.call(&tenant, LIMIT, pending::<()>()).await });
        }
        tokio::task::yield_now().await;
        assert_eq!(lanes.slow.available_permits(), 0, "the dead have taken their places");
        let begun = Instant::now();
        assert_eq!(lanes.call(&key("live"), LIMIT, ready(7)).await, Some(7));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn one_tenant_that_falls_silent_takes_a_few_places_only() {
        let lanes = Arc::new(Lanes::default());
        for _ in 0..2 * ANSWERING {
            let lanes = Arc::clone(&lanes);
            tokio::spawn(async move { lanes.call(&key("dying"), LIMIT, pending::<()>()).await });
        }
        tokio::task::yield_now().await;
        assert_eq!(lanes.answering.available_permits(), ANSWERING - OF_ONE_TENANT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_answers_again_gets_its_place_back() {
        let lanes = Lanes::default();
        lanes.call(&key("t"), LIMIT, pending::<()>()).await;
        assert!(lanes.tenant(&key("t")).is_slow.load(Ordering::Relaxed));
        lanes.call(&key("t"), LIMIT, ready(())).await;
        assert!(!lanes.tenant(&key("t")).is_slow.load(Ordering::Relaxed));
    }
}
