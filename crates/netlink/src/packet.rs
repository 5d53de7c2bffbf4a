//! Frames of one interface, past the kernel's own network.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `ETH_P_ALL`: what a bridge takes away is seen by no narrower protocol.
const EVERYTHING: u16 = 0x0003;

// Classic BPF: <https://www.kernel.org/doc/html/latest/networking/filter.html>.
const LOAD_WORD: u16 = 0x20;
const LOAD_SHORT: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// A short at the end of the IP header, whose length is in X.
const LOAD_SHORT_BEHIND: u16 = 0x48;
/// X is the length of the IP header at this place.
const HEADER_LENGTH: u16 = 0xb1;
const IF_EQUAL: u16 = 0x15;
const IF_SET: u16 = 0x45;
const RETURN: u16 = 0x06;
/// Not of the frame, but of the packet in the kernel: whether it came or goes.
const DIRECTION: u32 = 0xffff_f004;
const OUTGOING: u32 = 4;

/// `struct sockaddr_ll`.
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    interface: i32,
    rest: [u8; 12],
}

/// The datagrams to one UDP port over IPv4 that come in at an interface, as frames; and a way to send frames there.
#[derive(Debug)]
pub struct UdpFrames {
    socket: AsyncFd<OwnedFd>,
}

impl UdpFrames {
    /// Listens at the interface with this number from now on. Needs CAP_NET_RAW and a tokio runtime.
    pub fn open(interface: u32, port: u16) -> io::Result<Self> {
        // Without a protocol nothing arrives before the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&filter(port))?;
        socket.bind(&address(interface, EVERYTHING)?)?;
        // SAFETY: `as_raw_fd` of an OwnedFd is always the same descriptor, open until the OwnedFd is dropped; it is owned by
        // the AsyncFd, which deregisters it first, and never replaced.
        let socket = unsafe { AsyncFd::register(socket.into())? };
        Ok(Self { socket })
    }

    /// The next frame; what does not fit is cut off.
    ///
    /// # Errors
    /// The interface is gone or down.
    pub async fn next<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        loop {
            // That the interface is gone is told by an error, and no frame comes with it.
            let mut ready = self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            let read = ready.try_io(|socket| Ok(recv(socket, &mut *buffer, RecvFlags::empty())?.0));
            if let Ok(read) = read {
                return Ok(&buffer[..read?]);
            }
        }
    }

    /// Sends a frame out of the interface. One that cannot be sent now is lost like any.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        Ok(send(&self.socket, frame, SendFlags::empty()).map(drop)?)
    }
}

/// A way to send frames out of an interface of the network namespace in which it was opened.
#[derive(Debug)]
pub struct FrameSender(Socket);

impl FrameSender {
    /// Opens it for the interface with this number. Needs CAP_NET_RAW.
    pub fn open(interface: u32) -> io::Result<Self> {
        // Without a protocol nothing arrives.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.bind(&address(interface, 0)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Sends one frame. One that cannot be sent now is lost like any.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).map(drop)
    }
}

fn address(interface: u32, protocol: u16) -> io::Result<SockAddr> {
    let interface = i32::try_from(interface).map_err(io::Error::other)?;
    let family = Domain::PACKET;
    let wanted = LinkAddress {
        family: i32::from(family) as u16,
        protocol: protocol.to_be(),
        interface,
        rest: [0; 12],
    };
    // SAFETY: the storage is larger than and aligned for any socket address; the length is that of what was written.
    let made = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<LinkAddress>().write(wanted);
            *length = size_of::<LinkAddress>() as u32;
            Ok(())
        })
    };
    Ok(made?.1)
}

/// Whole datagrams of UDP to `port` that come in.
fn filter(port: u16) -> [SockFilter; 13] {
    const REFUSE: u8 = 12;
    // Jumps are counted from the next step.
    let unless = |at: u8, what: u32| SockFilter::new(IF_EQUAL, 0, REFUSE - at - 1, what);
    let load = |code, from| SockFilter::new(code, 0, 0, from);
    [
        load(LOAD_WORD, DIRECTION),
        SockFilter::new(IF_EQUAL, REFUSE - 2, 0, OUTGOING),
        load(LOAD_SHORT, 12),
        unless(3, 0x0800),
        load(LOAD_BYTE, 23),
        unless(5, 17),
        load(LOAD_SHORT, 20),
        SockFilter::new(IF_SET, REFUSE - 8, 0, 0x1fff),
        load(HEADER_LENGTH, 14),
        load(LOAD_SHORT_BEHIND, 16),
        unless(10, port.into()),
        load(RETURN, 0xffff),
        load(RETURN, 0),
    ]
}
