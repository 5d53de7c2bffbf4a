//! Orders to BMCs outside of the reconciles that give them. A reconcile gives an order and ends; it is run again when the
//! order has been carried out, and observes the outcome. A BMC that does not answer so never holds a worker, and those
//! that did not answer last time have places of their own: they must not take those of the others.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scute_kit::Key;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::baremetalhost::order::Order;
use crate::baremetalhost::seen::Call;
use scute_redfish::{Error, State};

/// Orders to BMCs that answered last time, or have not been asked yet.
const ANSWERING: usize = 256;
/// Orders to BMCs that did not answer last time.
const SILENT: usize = 32;

struct Kept {
    /// Which order it was: the end of one that was replaced must not count.
    number: u64,
    order: Order,
    ended: Option<Result<State, Error>>,
    task: Option<AbortHandle>,
}

#[derive(Default)]
struct Book {
    calls: HashMap<Key, Kept>,
    /// Hosts whose BMC did not answer last time.
    silent: HashMap<Key, ()>,
    number: u64,
}

/// The latest order of each host.
pub struct Calls {
    book: Arc<Mutex<Book>>,
    lanes: Arc<[Semaphore; 2]>,
    wake: UnboundedSender<Key>,
}

impl Calls {
    /// No orders yet. The receiver gets the keys of hosts whose orders have ended.
    pub fn new() -> (Self, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        let lanes = Arc::new([Semaphore::new(ANSWERING), Semaphore::new(SILENT)]);
        (Self { book: Arc::default(), lanes, wake }, woken)
    }

    /// How the latest order stands.
    pub fn look(&self, key: &Key) -> Call {
        let mut book = lock(&self.book);
        match book.calls.remove(key) {
            None => Call::Idle,
            Some(Kept { ended: Some(outcome), order, .. }) => Call::Ended(order, outcome),
            Some(running) => {
                let call = Call::Running(running.order.clone());
                book.calls.insert(key.clone(), running);
                call
            }
        }
    }

    /// Has an order carried out within a limit. One that is under way is given up.
    pub fn start(
        &self,
        key: &Key,
        order: Order,
        limit: Duration,
        work: impl Future<Output = Result<State, Error>> + Send + 'static,
    ) {
        let mut book = lock(&self.book);
        book.number += 1;
        let (number, silent) = (book.number, book.silent.contains_key(key));
        let (lanes, ends, wake, of) =
            (Arc::clone(&self.lanes), Arc::clone(&self.book), self.wake.clone(), key.clone());
        let task = tokio::spawn(async move {
            let placed = async {
                // Semaphores are never closed; without a permit the order would only be less limited.
                let _place = lanes[usize::from(silent)].acquire().await;
                work.await
            };
            let late = || Error::Unreachable(format!("no end within {} s", limit.as_secs()));
            let outcome = timeout(limit, placed).await.unwrap_or_else(|_| Err(late()));
            let mut book = lock(&ends);
            match &outcome {
                Err(Error::Unreachable(_)) => _ = book.silent.insert(of.clone(), ()),
                _ => _ = book.silent.remove(&of),
            }
            if let Some(kept) = book.calls.get_mut(&of).filter(|kept| kept.number == number) {
                kept.ended = Some(outcome);
            }
            // A closed channel means that the controller is gone.
            let _ = wake.send(of);
        });
        let kept = Kept { number, order, ended: None, task: Some(task.abort_handle()) };
        if let Some(Kept { task: Some(task), .. }) = book.calls.insert(key.clone(), kept) {
            task.abort();
        }
    }

    /// Forgets a host.
    pub fn forget(&self, key: &Key) {
        let mut book = lock(&self.book);
        book.silent.remove(key);
        if let Some(Kept { task: Some(task), .. }) = book.calls.remove(key) {
            task.abort();
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        for task in lock(&self.book).calls.values().filter_map(|kept| kept.task.as_ref()) {
            task.abort();
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;
    use scute_redfish::{Health, Power};

    const ON: State = State { power: Power::On, health: Health::Ok };
    const LIMIT: Duration = Duration::from_secs(20);

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    #[tokio::test(start_paused = true)]
    async fn many_dead_bmcs_take_no_place_of_one_that_answers() {
        let (calls, mut woken) = Calls::new();
        let dead: Vec<_> = (0..2 * ANSWERING).map(|n| key(&format!("dead-{n}"))).collect();
        for host in &dead {
            calls.start(host, Order::Look, LIMIT, pending());
        }
        for _ in &dead {
            woken.recv().await;
        }
        assert!(
            dead.iter().all(|host| matches!(calls.look(host), Call::Ended(_, Err(Error::Unreachable(_)))))
        );
        for host in &dead {
            calls.start(host, Order::Look, LIMIT, pending());
        }
        tokio::task::yield_now().await;
        let begun = Instant::now();
        calls.start(&key("live"), Order::Look, LIMIT, ready(Ok(ON)));
        assert_eq!(woken.recv().await, Some(key("live")));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(calls.look(&key("live")), Call::Ended(Order::Look, Ok(ON)));
        assert_eq!(calls.look(&key("live")), Call::Idle, "an end is said once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_was_replaced_says_nothing() {
        let (calls, mut woken) = Calls::new();
        calls.start(&key("a"), Order::Retire, LIMIT, pending());
        calls.start(&key("a"), Order::Look, LIMIT, ready(Ok(ON)));
        woken.recv().await;
        assert_eq!(calls.look(&key("a")), Call::Ended(Order::Look, Ok(ON)));
        tokio::time::sleep(2 * LIMIT).await;
        assert_eq!(calls.look(&key("a")), Call::Idle);
    }
}
