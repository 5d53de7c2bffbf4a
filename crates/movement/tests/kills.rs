//! A move that is killed before any of its writes, and run again.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;
use world::{World, run};

/// Lets so many writes pass, over both sides, and holds the next one for good.
struct Gate {
    left: AtomicUsize,
    under_way: AtomicUsize,
    holds: AtomicBool,
    closed: Notify,
    all_done: Notify,
}

impl Gate {
    fn new(writes: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(writes),
            under_way: AtomicUsize::new(0),
            holds: AtomicBool::new(false),
            closed: Notify::new(),
            all_done: Notify::new(),
        })
    }

    fn passes(&self) -> bool {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn look(&self) {
        if self.holds.load(Ordering::SeqCst) && self.under_way.load(Ordering::SeqCst) == 0 {
            self.all_done.notify_one();
        }
    }

    fn before(self: &Arc<Self>, client: Client) -> Client {
        let gate = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (gate, client) = (gate.clone(), client.clone());
            async move {
                if request.method() == Method::GET {
                    return client.send(request).await;
                }
                gate.under_way.fetch_add(1, Ordering::SeqCst);
                if !gate.passes() {
                    gate.holds.store(true, Ordering::SeqCst);
                    gate.under_way.fetch_sub(1, Ordering::SeqCst);
                    gate.closed.notify_one();
                    gate.look();
                    std::future::pending::<()>().await;
                }
                let answer = client.send(request).await;
                gate.under_way.fetch_sub(1, Ordering::SeqCst);
                gate.look();
                answer
            }
        });
        Client::new(service, "default")
    }
}

/// When a run is dropped that has come to its last write.
enum Kill {
    /// At once: nobody knows what has become of the writes that are under way.
    AtOnce,
    /// When the others are done.
    Later,
}

/// Runs until the write after `writes` others and drops everything; whether it came to its end before.
async fn killed_after(world: &World, writes: usize, kill: Kill) -> bool {
    let gate = Gate::new(writes);
    let movement = world.movement(
        gate.before(world.source.client.clone()),
        gate.before(world.target.client.clone()),
        &[],
        true,
    );
    let held = match kill {
        Kill::AtOnce => &gate.closed,
        Kill::Later => &gate.all_done,
    };
    tokio::select! {
        done = movement.run(&|_| true) => {
            done.unwrap_or_else(|error| panic!("after {writes} writes: {error}"));
            true
        }
        () = held.notified() => false,
    }
}

/// How many writes further each run of the first test is let come: every one would take minutes, and of those that go at
/// once it is not the same one each time anyway.
const STEP: usize = 3;

/// Writes all along the way are once the one that is not made. What is found then has to be safe, and the next run has to finish it.
#[test]
fn killed_before_any_write_a_move_is_finished_by_the_next_run() {
    run(async {
        for writes in (0..400).step_by(STEP) {
            let world = World::new(&format!("killed-{writes}")).await;
            let before = world.settle().await;
            let ended = killed_after(&world, writes, Kill::AtOnce).await;
            world.is_safe(&before).await;
            if ended {
                assert!(writes > 40, "there are more writes than {writes}");
                return world.is_moved(&before).await;
            }
            world.moves(&[], true).await.unwrap_or_else(|error| panic!("after {writes} writes: {error}"));
            world.is_moved(&before).await;
        }
        panic!("a move has no end");
    });
}

/// A run that is killed again and again, each time a few writes further.
#[test]
fn killed_after_every_few_writes_a_move_comes_to_its_end() {
    run(async {
        let world = World::new("again").await;
        let before = world.settle().await;
        for _ in 0..100 {
            let ended = killed_after(&world, STEP, Kill::Later).await;
            world.is_safe(&before).await;
            if ended {
                return world.is_moved(&before).await;
            }
        }
        panic!("a move has no end");
    });
}
