//! The one place that starts processes and waits for them in a site's init, which inherits every orphan.

use std::{
    collections::HashMap,
    io,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Starts processes and tells their end. Exactly one per process, because it reaps every child.
pub struct Reaper {
    waiting: Mutex<HashMap<i32, oneshot::Sender<ExitStatus>>>,
}

/// A started process.
pub struct Started {
    /// Its process id.
    pub pid: u32,
    exit: oneshot::Receiver<ExitStatus>,
}

impl Started {
    /// Waits for its end.
    pub async fn wait(self) -> ExitStatus {
        // The sender lives in the reaper's table until it has an answer.
        self.exit.await.unwrap_or_else(|_| ExitStatus::from_raw(0))
    }
}

impl Reaper {
    /// Begins to reap.
    pub fn begin() -> io::Result<Arc<Self>> {
        let reaper = Arc::new(Self { waiting: Mutex::default() });
        let mut children = signal(SignalKind::child())?;
        let own = reaper.clone();
        tokio::spawn(async move {
            while children.recv().await.is_some() {
                own.reap();
            }
        });
        Ok(reaper)
    }

    /// Starts a process. The table stays locked meanwhile, so that an early end finds its entry.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Started> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let (tell, exit) = oneshot::channel();
        let pid = child.id();
        waiting.insert(pid.cast_signed(), tell);
        Ok(Started { pid, exit })
    }

    fn reap(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let options = rustix::process::WaitOptions::NOHANG;
        while let Ok(Some((pid, status))) = rustix::process::wait(options) {
            if let Some(tell) = waiting.remove(&pid.as_raw_nonzero().get()) {
                // Nobody has to listen.
                _ = tell.send(ExitStatus::from_raw(status.as_raw()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_are_told_to_whoever_started_the_process() {
        let reaper = Reaper::begin().unwrap();
        let slow = reaper.spawn(Command::new("sh").args(["-c", "sleep 0.2; exit 3"])).unwrap();
        let quick = reaper.spawn(&mut Command::new("true")).unwrap();
        assert!(reaper.spawn(&mut Command::new("/does/not/exist")).is_err());
        assert!(quick.wait().await.success());
        assert_eq!(slow.wait().await.code(), Some(3));
    }
}
