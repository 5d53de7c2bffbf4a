//! Process namespaces, and children that die with their parent. Everything here is for a parent of one thread.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{PidfdFlags, Signal, getpid, pidfd_open, set_parent_process_death_signal},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

/// A handle on this process, for its children: their parent's number says nothing in another process namespace.
pub fn this_process() -> io::Result<OwnedFd> {
    Ok(pidfd_open(getpid(), PidfdFlags::empty())?)
}

/// To be called in a child between fork and exec, with its parent's [`this_process`]. Only makes system calls.
pub fn die_with(parent: &OwnedFd) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // One that died before gave no signal.
    let mut dead = [PollFd::new(parent, PollFlags::IN)];
    if poll(&mut dead, Some(&Timespec::default()))? > 0 {
        return Err(Errno::OWNERDEAD.into());
    }
    Ok(())
}

/// Starts a child as process 1 of a new process namespace; further children are in the caller's again, whatever
/// happens: in a namespace whose process 1 is dead, or never came, no process can be started.
pub fn in_new_pid_namespace<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = File::open("/proc/self/ns/pid")?;
    // SAFETY: the caller has one thread; only the namespace of future children changes.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }?;
    let started = start();
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
    started
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::CommandExt, process::Command};

    #[test]
    fn a_child_whose_parent_is_dead_does_not_start() {
        let mut dead = Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&dead);
        let parent = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        dead.wait().unwrap();
        let mut child = Command::new("true");
        // SAFETY: makes system calls only.
        unsafe { child.pre_exec(move || die_with(&parent)) };
        let error = child.spawn().unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::OWNERDEAD), "{error}");
        let alive = this_process().unwrap();
        let mut child = Command::new("true");
        // SAFETY: makes system calls only.
        unsafe { child.pre_exec(move || die_with(&alive)) };
        assert!(child.status().unwrap().success());
    }
}
