//! The one place that starts processes and waits for them, also where a process inherits every orphan as process 1.

use rustix::process::{Pid, WaitOptions, getpid, wait, waitpid};
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

/// Starts processes and tells their end. In process 1 it reaps every other child as well: orphans become its own. There
/// exactly one may be.
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
        let mut ended = Vec::new();
        if getpid().is_init() {
            while let Ok(Some(end)) = wait(WaitOptions::NOHANG) {
                ended.push(end);
            }
        } else {
            // Other children are those of others.
            let own = waiting.keys().copied().filter_map(Pid::from_raw);
            ended.extend(own.filter_map(|pid| waitpid(Some(pid), WaitOptions::NOHANG).ok()?));
        }
        for (pid, status) in ended {
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

    #[tokio::test]
    async fn two_reapers_beside_process_1_leave_each_others_children_alone() {
        let (one, other) = (Reaper::begin().unwrap(), Reaper::begin().unwrap());
        let first = one.spawn(Command::new("sh").args(["-c", "exit 4"])).unwrap();
        let second = other.spawn(Command::new("sh").args(["-c", "exit 5"])).unwrap();
        assert_eq!(first.wait().await.code(), Some(4));
        assert_eq!(second.wait().await.code(), Some(5));
    }
}
