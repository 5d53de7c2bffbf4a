//! Who is answered what ([`decide`], pure), and the socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::Lease;
use super::packet::{self, Kind, Request};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
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
        let Some((kind, to)) = decide(&request, self.address, &self.lease) else { return Ok(()) };
        // The guest decides how often it asks, and must not write our log.
        tracing::debug!(asked = ?request.kind, answered = ?kind, address = %self.lease.address, "DHCP");
        let answer = packet::answer(&request, kind, self.address, &self.lease);
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

/// The answer's type and where it goes; none for those who are not our guest, or have chosen another server.
fn decide(request: &Request, server: Ipv4Addr, lease: &Lease) -> Option<(Kind, Ipv4Addr)> {
    if request.mac != lease.mac || request.relay != Ipv4Addr::UNSPECIFIED {
        return None;
    }
    let kind = match request.kind {
        Kind::Discover => Kind::Offer,
        Kind::Inform => Kind::Ack,
        Kind::Request if request.server.is_some_and(|chosen| chosen != server) => return None,
        Kind::Request => {
            let wanted = request.requested.unwrap_or(request.client);
            if wanted == lease.address { Kind::Ack } else { Kind::Nak }
        }
        Kind::Offer | Kind::Decline | Kind::Ack | Kind::Nak | Kind::Release => return None,
    };
    let to = match kind {
        Kind::Nak => Ipv4Addr::BROADCAST,
        _ if request.broadcast => Ipv4Addr::BROADCAST,
        _ => lease.address,
    };
    Some((kind, to))
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{lease, request};
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 75, 10);
    const OURS: [u8; 4] = [10, 85, 0, 9];

    fn decided(
        kind: Kind,
        options: &[(u8, &[u8])],
        change: impl FnOnce(&mut Request),
    ) -> Option<(Kind, Ipv4Addr)> {
        let mut request = Request::parse(&request(kind, options)).unwrap();
        change(&mut request);
        decide(&request, SERVER, &lease())
    }

    #[test]
    fn the_guest_gets_its_address_in_every_state() {
        let to = Ipv4Addr::from(OURS);
        assert_eq!(decided(Kind::Discover, &[], |_| ()), Some((Kind::Offer, to)));
        let selecting: [(u8, &[u8]); 2] = [(54, &SERVER.octets()), (50, &OURS)];
        assert_eq!(decided(Kind::Request, &selecting, |_| ()), Some((Kind::Ack, to)));
        assert_eq!(decided(Kind::Request, &[(50, &OURS)], |_| ()), Some((Kind::Ack, to)), "after a reboot");
        assert_eq!(
            decided(Kind::Request, &[], |request| request.client = to),
            Some((Kind::Ack, to)),
            "renewing"
        );
        assert_eq!(decided(Kind::Inform, &[], |request| request.client = to), Some((Kind::Ack, to)));
    }

    #[test]
    fn a_guest_with_an_old_address_is_told_so_by_broadcast() {
        let refused = Some((Kind::Nak, Ipv4Addr::BROADCAST));
        assert_eq!(decided(Kind::Request, &[(50, &[10, 85, 0, 7])], |_| ()), refused);
    }

    #[test]
    fn clients_that_only_hear_broadcasts_get_one() {
        let decided = decided(Kind::Discover, &[], |request| request.broadcast = true);
        assert_eq!(decided, Some((Kind::Offer, Ipv4Addr::BROADCAST)));
    }

    #[test]
    fn others_are_not_answered() {
        assert_eq!(
            decided(Kind::Discover, &[], |request| request.mac.0[5] = 1),
            None,
            "another guest's question"
        );
        assert_eq!(
            decided(Kind::Request, &[(54, &[10, 0, 0, 1]), (50, &OURS)], |_| ()),
            None,
            "another server"
        );
        assert_eq!(decided(Kind::Release, &[], |_| ()), None);
        assert_eq!(decided(Kind::Discover, &[], |request| request.relay = SERVER), None);
    }
}
