//! PID 1 inherits the orphans of its namespace and must bury them.

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears of every child that ends.
pub fn listen() -> std::io::Result<Signal> {
    signal(SignalKind::child())
}

/// Reaps children for ever, but for `except`: whoever started that one waits for it.
pub async fn reap_orphans(mut ended: Signal, except: u32) {
    while ended.recv().await.is_some() {
        for child in children().into_iter().filter(|child| *child != except) {
            if let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) {
                // It fails only when there is nothing left to reap.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }
}

/// Children of every thread: an orphan goes to whichever thread the kernel picks.
fn children() -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}
