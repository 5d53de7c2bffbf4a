//! A manager that a test kills.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// A manager with a runtime of its own: dropping it stops everything that it ever started, wherever it stands, watches
/// included, as a killed process would.
pub struct Mortal(Option<Runtime>);

impl Mortal {
    /// Starts one, and keeps what starting it gave until its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start<T: Send + 'static>(start: impl Future<Output = T> + Send + 'static) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let started = runtime.spawn(async move {
            let kept = start.await;
            tokio::spawn(async move {
                let _kept = kept;
                std::future::pending::<()>().await;
            });
        });
        started.await.expect("a manager");
        Self(Some(runtime))
    }

    /// Ends it, and waits until nothing of it runs and its ports are free: a worker that is busy notices its end late.
    ///
    /// # Panics
    /// Never: it is there until now.
    pub async fn kill(mut self) {
        let runtime = self.0.take().expect("not killed yet");
        let end = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10)));
        end.await.expect("its end");
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
