//! Panics: a fault in one reconcile or one request must neither end the process nor leave it half alive.
//!
//! Work on one object runs guarded: a panic there becomes an error of that object. Everywhere else a panic ends the
//! process ([`end_process_on_panic`]), because a manager that goes on without one of its parts looks healthy and is not.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

thread_local! {
    /// Whether what this thread does just now is guarded.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The work panicked. Where it did is in the log, written when it happened.
#[derive(Debug, thiserror::Error)]
#[error("a fault of the program; its log says where")]
pub struct Panicked;

/// Runs work on one object, so that a panic in it is an error.
///
/// What the work shares with others must stand a break in the middle of any step that does not await: so do the copies
/// of the kit, whose locks are not poisoned.
///
/// # Errors
/// When it panics.
pub async fn guarded<F>(work: F) -> Result<F::Output, Panicked>
where
    F: Future + Send,
{
    Guarded(Box::pin(work)).await
}

/// As [`guarded`], for work that does not wait.
///
/// # Errors
/// When it panics.
pub fn guarded_call<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    let outer = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    done.map_err(|_| Panicked)
}

struct Guarded<'a, T>(BoxFuture<'a, T>);

impl<T> Future for Guarded<'_, T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match guarded_call(|| self.0.as_mut().poll(context)) {
            Ok(polled) => polled.map(Ok),
            Err(panicked) => Poll::Ready(Err(panicked)),
        }
    }
}

/// From now on a panic ends the process, as it would with `panic = "abort"`, unless the work is guarded: then its place
/// is logged.
pub fn end_process_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !GUARDED.get() {
            before(panic);
            std::process::abort();
        }
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, fault = fault(panic.payload()), "panic");
    }));
}

/// What the panic says, if it is written in the program. A formatted one may hold what a tenant wrote, or a Secret.
fn fault(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(not shown: it may quote objects)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_that_work_only() {
        let bad = guarded(async {
            tokio::task::yield_now().await;
            panic!("as the test wants");
        });
        let (bad, good): (Result<(), _>, _) = tokio::join!(bad, guarded(async { 7 }));
        assert!(bad.is_err());
        assert!(matches!(good, Ok(7)));
        assert!(!GUARDED.get());
    }

    #[test]
    fn only_fixed_words_of_a_panic_are_logged() {
        assert_eq!(fault(&"index out of range"), "index out of range");
        assert!(!fault(&format!("token {}", "hunter2")).contains("hunter2"));
    }
}
