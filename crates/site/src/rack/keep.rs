//! Keeps the process of a rack, for the supervisor: in the site's network and in the machine's mounts, where QEMU, its firmware
//! and the hosts' disks are. It lives as long as its folder is there and the site's init lives.

use super::folder;
use crate::Layout;
use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use scute_processes::namespaces;
use std::{
    convert::Infallible,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    process::Stdio,
};
use tokio::{
    io::unix::AsyncFd,
    process::{Child, Command},
    time::{Duration, Instant, sleep},
};

/// First and longest pause before a process that ended is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A process that lived this long starts with the first pause again.
const SETTLED: Duration = Duration::from_secs(30);

/// Keeps the rack; `net` is the site's network, where that is not the machine's. Ends for errors only, and kills the rack when
/// it is dropped.
pub async fn keep(layout: &Layout, net: Option<File>) -> io::Result<Infallible> {
    let entries = Entries::watch(layout)?;
    let parent = namespaces::this_process()?;
    let mut pause = BACKOFF.0;
    loop {
        entries.until(|| folder(layout).exists()).await?;
        let began = Instant::now();
        let mut rack = start(layout, &parent, net.as_ref())?;
        tokio::select! {
            status = rack.wait() => {
                tracing::warn!(status = %status?, "the rack ended");
                pause = if began.elapsed() > SETTLED { BACKOFF.0 } else { (pause * 2).min(BACKOFF.1) };
                sleep(pause).await;
            }
            gone = entries.until(|| !folder(layout).exists()) => {
                gone?;
                rack.kill().await?;
            }
        }
    }
}

fn start(layout: &Layout, parent: &OwnedFd, net: Option<&File>) -> io::Result<Child> {
    let mut command = Command::new(layout.bin("scute"));
    command.args(["rack", "serve", "--site", layout.name.as_str()]);
    // What it has to say goes to the rack's log.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    let (parent, net) = (parent.try_clone()?, net.map(File::try_clone).transpose()?);
    let enter = move || {
        namespaces::die_with(&parent)?;
        match &net {
            Some(net) => Ok(move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))?),
            None => Ok(()),
        }
    };
    // SAFETY: between fork and exec only system calls are made, no allocation and no lock.
    unsafe { command.pre_exec(enter) };
    let rack = command.kill_on_drop(true).spawn()?;
    tracing::info!(pid = rack.id(), "rack started");
    Ok(rack)
}

/// What comes and goes in a site's folder.
struct Entries(AsyncFd<OwnedFd>);

impl Entries {
    fn watch(layout: &Layout) -> io::Result<Self> {
        let news = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        inotify::add_watch(&news, &layout.dir, flags | WatchFlags::ONLYDIR)?;
        // SAFETY: `as_raw_fd` of an OwnedFd is always the same descriptor, open until the OwnedFd is dropped; it is owned by
        // the AsyncFd, which deregisters it first, and never replaced.
        Ok(Self(unsafe { AsyncFd::register(news)? }))
    }

    async fn until(&self, so: impl Fn() -> bool) -> io::Result<()> {
        while !so() {
            let mut ready = self.0.readable().await?;
            loop {
                match rustix::io::read(self.0.get_ref(), &mut [0; 4096]) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break ready.clear_ready(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}
