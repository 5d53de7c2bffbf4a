//! Children that cannot outlive this process, however it ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};

use rustix::process::{Pid, Signal};

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a command whose process the kernel kills when this one ends. It is started from a thread that lives as long as
/// this process: the death signal comes when the starting *thread* ends. The parent is the same process all the same,
/// so `pre_exec`, descriptors and waiting work as always.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (send, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // Whoever asked may have given up waiting.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(send)
    });
    let parent = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec; it only makes system calls on a value that it owns.
    unsafe { command.pre_exec(move || tie(parent)) };
    let gone = || io::Error::other("the spawning thread has ended");
    let (send, answer) = mpsc::channel();
    SPAWNER.lock().unwrap_or_else(PoisonError::into_inner).send((command, send)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// In the child.
fn tie(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above: then nobody would kill us.
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::other("the parent is gone"));
    }
    Ok(())
}
