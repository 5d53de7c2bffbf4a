//! News of the kernel's interfaces, addresses and routes: somebody changed something, look again.

use crate::{NetlinkError, socket};
use rustix::net::{RecvFlags, SocketFlags, recv};
use std::os::fd::OwnedFd;
use tokio::io::{Interest, unix::AsyncFd};

// RTMGRP_* of linux/rtnetlink.h: link, and address and route of both families.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// A subscription in the network namespace in which it was opened.
pub struct Monitor {
    socket: AsyncFd<OwnedFd>,
}

impl Monitor {
    /// Subscribes. Changes from now on are not missed. Needs a tokio runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        Self::of(Self::subscribe()?)
    }

    /// The socket of a subscription: for a thread in another network namespace, which has no runtime.
    pub fn subscribe() -> Result<OwnedFd, NetlinkError> {
        socket::open(None, GROUPS, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }

    /// Listens on such a socket.
    pub fn of(socket: OwnedFd) -> Result<Self, NetlinkError> {
        // SAFETY: `as_raw_fd` of an OwnedFd is always the same descriptor, open until the OwnedFd is dropped; it is owned by
        // the AsyncFd, which deregisters it first, and never replaced.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self { socket: socket.map_err(|error| NetlinkError::Socket("registering", error.into()))? })
    }

    /// Waits until something changed, and takes all that is known by then. What it was is not told: an overflow of the
    /// socket's buffer loses messages anyway.
    pub async fn changed(&self) -> Result<(), NetlinkError> {
        let mut ready =
            self.socket.readable().await.map_err(|error| NetlinkError::Socket("waiting", error))?;
        let mut scratch = [0; 8192];
        loop {
            match recv(self.socket.get_ref(), scratch.as_mut_slice(), RecvFlags::TRUNC) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(error) => return Err(NetlinkError::Socket("receiving", error.into())),
            }
        }
    }
}
