//! DHCP for one guest, which gets the Pod's own address: the socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::net::SendFlags;
use scute_dhcp::server::{self, Lease, Request};
use scute_dhcp::{CLIENT_PORT, SERVER_PORT};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Longer than any MTU that a Pod has.
const LARGEST: usize = 9216;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port is not open to this user.
    #[error(
        "cannot listen on port {SERVER_PORT} as this user: the Pod needs sysctl net.ipv4.ip_unprivileged_port_start <= {SERVER_PORT}"
    )]
    Port(#[source] io::Error),
    /// Something else.
    #[error("cannot serve DHCP on {device}")]
    Device {
        /// The bridge.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Answers one guest.
#[derive(Debug)]
pub struct Server {
    socket: UdpSocket,
    address: Ipv4Addr,
    lease: Lease,
}

impl Server {
    /// Listens on `device`, where `address` is ours. Needs a tokio runtime.
    pub fn bind(device: &str, address: Ipv4Addr, lease: Lease) -> Result<Server, ServerError> {
        let failed = |source| ServerError::Device { device: device.to_owned(), source };
        // Not bound to our address: clients that have none ask by broadcast.
        let socket = match std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SERVER_PORT)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ServerError::Port(error));
            }
            other => other.map_err(failed)?,
        };
        socket.set_broadcast(true).and_then(|()| socket.set_nonblocking(true)).map_err(failed)?;
        let socket = UdpSocket::from_std(socket).map_err(failed)?;
        // Since Linux 5.7 this needs no privilege. It also sends answers past the stand-in that holds the guest's
        // address: a local address counts only for the interface that has it.
        socket.bind_device(Some(device.as_bytes())).map_err(failed)?;
        Ok(Server { socket, address, lease })
    }

    /// Serves for ever. An answer that cannot be sent is lost like any datagram: the client asks again.
    pub async fn run(self) {
        let mut buffer = vec![0; LARGEST];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((read, _)) => {
                    if let Err(error) = self.answer(&buffer[..read]).await {
                        tracing::warn!(%error, "no DHCP answer");
                    }
                }
                Err(error) => tracing::warn!(%error, "DHCP"),
            }
        }
    }

    async fn answer(&self, datagram: &[u8]) -> io::Result<()> {
        let Some(request) = Request::parse(datagram) else { return Ok(()) };
        let Some((kind, to)) = server::respond(&request, self.address, &self.lease) else { return Ok(()) };
        // The guest decides how often it asks, and must not write our log.
        tracing::debug!(asked = ?request.kind, answered = ?kind, address = %self.lease.address, "DHCP");
        let answer = server::answer(&request, kind, self.address, &self.lease);
        let to = SocketAddrV4::new(to, CLIENT_PORT);
        self.socket.writable().await?;
        self.socket.try_io(Interest::WRITABLE, || {
            // In two parts, so that the kernel computes the checksum now. It would leave that to the tap's reader
            // otherwise, and many DHCP clients read raw packets and drop such a one.
            rustix::net::sendto(&self.socket, &answer, SendFlags::MORE, &to)?;
            rustix::net::sendto(&self.socket, &[], SendFlags::empty(), &to)?;
            Ok(())
        })
    }
}
