//! BMCs that did not answer, and whether they do again. After a failure a host rests, longer each time, so that no BMC is
//! stormed and no account locked; but one that was away for hours shall not be left alone for a quarter of an hour when it is
//! back. So it is asked now and then for what everybody may read, and the rest ends when it answers.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scute_kit::Key;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// BMCs that are asked at a time.
const AT_A_TIME: usize = 32;

struct Probe {
    /// Which one it was: the end of one that was replaced must not count.
    number: u64,
    task: AbortHandle,
    back: bool,
}

#[derive(Default)]
struct Book {
    probes: HashMap<Key, Probe>,
    number: u64,
}

/// The BMCs that are asked.
pub struct Probes {
    book: Arc<Mutex<Book>>,
    lane: Arc<Semaphore>,
    wake: UnboundedSender<Key>,
}

impl Probes {
    /// None yet. The receiver gets the keys of hosts whose BMCs answer again.
    pub fn new() -> (Self, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        (Self { book: Arc::default(), lane: Arc::new(Semaphore::new(AT_A_TIME)), wake }, woken)
    }

    /// Asks the BMC of a host every `rest` until it answers. One that `must_fail` has to be away first: that it answered did
    /// not mean last time that it does what it is told.
    pub fn begin<F>(
        &self,
        key: &Key,
        rest: Duration,
        must_fail: bool,
        answers: impl Fn() -> F + Send + 'static,
    ) where
        F: Future<Output = bool> + Send + 'static,
    {
        let mut book = lock(&self.book);
        book.number += 1;
        let number = book.number;
        let (lane, ends, wake, of) =
            (Arc::clone(&self.lane), Arc::clone(&self.book), self.wake.clone(), key.clone());
        let task = tokio::spawn(async move {
            let mut was_away = !must_fail;
            loop {
                // A BMC that is away tells nobody when it is back.
                sleep(rest).await;
                // Never closed; without a permit there would only be more at a time.
                let place = lane.acquire().await;
                let here = answers().await;
                drop(place);
                if here && was_away {
                    break;
                }
                was_away |= !here;
            }
            if let Some(probe) = lock(&ends).probes.get_mut(&of).filter(|probe| probe.number == number) {
                probe.back = true;
            }
            // A closed channel means that the controller is gone.
            let _ = wake.send(of);
        });
        let probe = Probe { number, task: task.abort_handle(), back: false };
        if let Some(before) = book.probes.insert(key.clone(), probe) {
            before.task.abort();
        }
    }

    /// Whether the BMC of a host answers again. Said once.
    pub fn is_back(&self, key: &Key) -> bool {
        let mut book = lock(&self.book);
        let back = book.probes.get(key).is_some_and(|probe| probe.back);
        if back {
            book.probes.remove(key);
        }
        back
    }

    /// Asks the BMC of a host no more.
    pub fn forget(&self, key: &Key) {
        if let Some(probe) = lock(&self.book).probes.remove(key) {
            probe.task.abort();
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        lock(&self.book).probes.values().for_each(|probe| probe.task.abort());
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;

    const REST: Duration = Duration::from_secs(30);

    /// Away for so many questions.
    fn away(questions: usize) -> impl Fn() -> std::future::Ready<bool> + Send + 'static {
        let asked = AtomicUsize::new(0);
        move || ready(asked.fetch_add(1, Ordering::Relaxed) >= questions)
    }

    #[tokio::test(start_paused = true)]
    async fn a_bmc_that_answers_again_wakes_its_host_once() {
        let (probes, mut woken) = Probes::new();
        let (key, begun) = (Key::new("ns", "a"), Instant::now());
        probes.begin(&key, REST, false, away(3));
        assert_eq!(woken.recv().await, Some(key.clone()));
        assert_eq!(begun.elapsed(), 4 * REST);
        assert!(probes.is_back(&key) && !probes.is_back(&key));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answered_in_vain_must_be_away_first() {
        let (probes, mut woken) = Probes::new();
        let key = Key::new("ns", "a");
        probes.begin(&key, REST, true, away(0));
        assert!(tokio::time::timeout(100 * REST, woken.recv()).await.is_err(), "it was here all the time");
        // There, away, there.
        let asked = AtomicUsize::new(0);
        probes.begin(&key, REST, true, move || ready(asked.fetch_add(1, Ordering::Relaxed) != 1));
        let begun = Instant::now();
        assert_eq!(woken.recv().await, Some(key));
        assert_eq!(begun.elapsed(), 3 * REST);
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_are_asked_some_at_a_time_and_none_when_nobody_cares() {
        let (probes, mut woken) = Probes::new();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let keys: Vec<_> = (0..1000).map(|n| Key::new("ns", format!("h{n}"))).collect();
        for key in &keys {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            probes.begin(key, REST, false, move || {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    sleep(Duration::from_secs(5)).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                    false
                }
            });
        }
        sleep(20 * REST).await;
        assert_eq!(most.load(Ordering::Relaxed), AT_A_TIME);
        keys.iter().for_each(|key| probes.forget(key));
        sleep(REST).await;
        let before = most.swap(0, Ordering::Relaxed);
        sleep(10 * REST).await;
        assert_eq!((before, most.load(Ordering::Relaxed)), (AT_A_TIME, 0));
        assert!(woken.try_recv().is_err());
    }
}
