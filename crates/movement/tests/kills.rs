//! A move that is killed before any of its writes, and run again.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;
use world::{World, run};

/// Lets so many writes pass, over both sides, and holds the next one for good.
struct Gate {
    left: AtomicUsize,
    closed: Notify,
}

impl Gate {
    fn before(self: &Arc<Self>, client: Client) -> Client {
        let gate = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (gate, client) = (gate.clone(), client.clone());
            async move {
                let passes = request.method() == Method::GET
                    || gate
                        .left
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                        .is_ok();
                if !passes {
                    gate.closed.notify_one();
                    std::future::pending::<()>().await;
                }
                client.send(request).await
            }
        });
        Client::new(service, "default")
    }
}

/// Runs until the write after `writes` others and drops everything; whether it came to its end before.
async fn killed_after(world: &World, writes: usize) -> bool {
    let gate = Arc::new(Gate { left: AtomicUsize::new(writes), closed: Notify::new() });
    let movement = world.movement(
        gate.before(world.source.client.clone()),
        gate.before(world.target.client.clone()),
        &[],
        true,
    );
    tokio::select! {
        done = movement.run(&|_| true) => {
            done.unwrap_or_else(|error| panic!("after {writes} writes: {error}"));
            true
        }
        () = gate.closed.notified() => false,
    }
}

/// Every write is once the one that is not made. What is found then has to be safe, and the next run has to finish it.
#[test]
fn killed_before_any_write_a_move_is_finished_by_the_next_run() {
    run(async {
        for writes in 0..400 {
            let world = World::new(&format!("killed-{writes}")).await;
            let before = world.settle().await;
            let ended = killed_after(&world, writes).await;
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
            let ended = killed_after(&world, 3).await;
            world.is_safe(&before).await;
            if ended {
                return world.is_moved(&before).await;
            }
        }
        panic!("a move has no end");
    });
}
