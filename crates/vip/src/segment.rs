//! The segment that the machines share: what is said and heard there, and whose the address is.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::{IpNet, Ipv4Net};
use scute_netlink::{FrameSender, LocalAddress, Mac, Netlink};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::advertisement::{Advertisement, GROUP, PROTOCOL, TIME_TO_LIVE};
use crate::{Config, VipError, find};

/// Longer packets are none of ours.
const LONGEST: usize = 256;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Sockets on one interface of the network namespace in which they were opened.
#[derive(Debug)]
pub struct Segment {
    interface: String,
    own: Ipv4Addr,
    address: LocalAddress,
    mac: Mac,
    frames: FrameSender,
    netlink: Netlink,
    socket: AsyncFd<Socket>,
}

impl Segment {
    /// Opens them for the calling thread's network namespace. Needs a tokio runtime.
    ///
    /// # Errors
    /// No interface has the network of the address, or the kernel refuses.
    pub fn open(config: &Config) -> Result<Self, VipError> {
        let mut netlink = Netlink::open()?;
        let (own, interface) = find(&mut netlink, config)?;
        let link = netlink.links()?.into_iter().find(|link| link.index == own.link);
        let mac = link.and_then(|link| link.mac).ok_or_else(|| {
            VipError::Interface(format!(
                "interface {interface} has no MAC address: no neighbour could be told"
            ))
        })?;
        let IpNet::V4(net) = own.net else {
            return Err(VipError::Interface(format!("{} is no IPv4 network", own.net)));
        };
        let failed = |source| VipError::Socket { interface: interface.clone(), source };
        let socket = listen(&interface, own.link, net.addr()).map_err(failed)?;
        let frames = FrameSender::open(own.link).map_err(failed)?;
        let address = IpNet::V4(Ipv4Net::from(config.address));
        Ok(Self {
            own: net.addr(),
            address: LocalAddress { net: address, link: own.link },
            mac,
            frames,
            netlink,
            socket,
            interface,
        })
    }

    /// This machine's own address there.
    #[must_use]
    pub fn own(&self) -> Ipv4Addr {
        self.own
    }

    /// The next advertisement, and who has sent it.
    ///
    /// # Errors
    /// The interface is gone.
    pub async fn hear(&self) -> Result<(Advertisement, Ipv4Addr), VipError> {
        loop {
            let failed = |source| VipError::Socket { interface: self.interface.clone(), source };
            let mut ready = self.socket.readable().await.map_err(failed)?;
            let mut buffer = [MaybeUninit::uninit(); LONGEST];
            let Ok(received) = ready.try_io(|socket| socket.get_ref().recv(&mut buffer)) else { continue };
            let length = match received {
                Ok(length) => length,
                // A cable that is pulled is no end: the next packet comes when it is back.
                Err(error) if error.raw_os_error() == Some(NETWORK_DOWN) => continue,
                Err(error) => return Err(failed(error)),
            };
            let packet: Vec<u8> = buffer[..length]
                .iter()
                // SAFETY: the kernel has written this many bytes.
                .map(|byte| unsafe { byte.assume_init() })
                .collect();
            // What we say ourselves comes back from bridges that reflect it.
            if let Some(heard) = Advertisement::read(&packet).filter(|(_, from)| *from != self.own) {
                return Ok(heard);
            }
        }
    }

    /// Says something to all; what cannot be sent now is lost like any packet.
    pub fn say(&self, said: &Advertisement) {
        let group = SockAddr::from(SocketAddrV4::new(GROUP, 0));
        if let Err(error) = self.socket.get_ref().send_to(&said.to_bytes(self.own), &group) {
            tracing::warn!(%error, interface = self.interface, "an advertisement was not sent");
        }
    }

    /// Takes the address.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn take_address(&mut self) -> Result<(), VipError> {
        Ok(self.netlink.add_address(&self.address)?)
    }

    /// Tells the neighbours whose the address is.
    pub fn announce(&self) {
        let IpNet::V4(net) = self.address.net else { return };
        for frame in announcements(self.mac, net.addr()) {
            if let Err(error) = self.frames.send(&frame) {
                tracing::warn!(%error, interface = self.interface, "the neighbours were not told");
            }
        }
    }

    /// Gives the address up; fine if it is not there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn drop_address(&mut self) -> Result<(), VipError> {
        if self.netlink.addresses()?.contains(&self.address) {
            self.netlink.delete_address(&self.address)?;
        }
        Ok(())
    }
}

/// `ENETDOWN`.
const NETWORK_DOWN: i32 = 100;

fn listen(interface: &str, index: u32, own: Ipv4Addr) -> io::Result<AsyncFd<Socket>> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_multicast_if_v4(&own)?;
    socket.set_multicast_ttl_v4(TIME_TO_LIVE.into())?;
    socket.set_multicast_loop_v4(false)?;
    socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(index))?;
    // SAFETY: a socket's descriptor is always the same one, open until it is dropped, and never replaced.
    let registered = unsafe { AsyncFd::register(socket)? };
    Ok(registered)
}

/// Two frames of ARP, a question and an answer about one's own address: some neighbours believe one, some the other.
/// <https://www.rfc-editor.org/rfc/rfc5227#section-3>
fn announcements(mac: Mac, address: Ipv4Addr) -> [[u8; 42]; 2] {
    [(1, [0; 6]), (2, BROADCAST)].map(|(operation, target)| {
        let mut frame = [0; 42];
        frame[..6].copy_from_slice(&BROADCAST);
        frame[6..12].copy_from_slice(&mac.0);
        frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
        frame[22..28].copy_from_slice(&mac.0);
        frame[28..32].copy_from_slice(&address.octets());
        frame[32..38].copy_from_slice(&target);
        frame[38..].copy_from_slice(&address.octets());
        frame
    })
}
