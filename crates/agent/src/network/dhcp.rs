//! Gets a lease on a port and keeps it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_broadcast, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use scute_dhcp::client::{self, Answer, Lease, Question};
use scute_dhcp::{CLIENT_PORT, SERVER_PORT};
use scute_netlink::Mac;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
const SERVERS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);

/// Tells every lease of the port, as long as somebody listens.
pub async fn keep(port: String, mac: Mac, index: u32, leases: UnboundedSender<(u32, Lease)>) {
    let client = match Client::open(&port, mac) {
        Ok(client) => client,
        Err(error) => return tracing::warn!(port, %error, "no DHCP on this port"),
    };
    let mut held: Option<Lease> = None;
    loop {
        let got = match &held {
            None => client.obtain().await,
            Some(lease) => client.rebind(lease.address.addr()).await,
        };
        let lease = match got {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                held = None;
                continue;
            }
            Err(error) => return tracing::warn!(port, %error, "DHCP on this port ends"),
        };
        // The lease's own time: nothing tells of its end.
        let again = lease.renew_after;
        held = Some(lease.clone());
        if leases.send((index, lease)).is_err() {
            return;
        }
        sleep(again).await;
    }
}

struct Client {
    socket: UdpSocket,
    mac: Mac,
    /// Ours, so that answers to others are known: taken from the MAC, which no other has.
    transaction: u32,
}

impl Client {
    fn open(port: &str, mac: Mac) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        // One socket for every port of the host.
        set_socket_reuseaddr(&socket, true)?;
        set_socket_broadcast(&socket, true)?;
        bind(&socket, &CLIENT)?;
        let socket = UdpSocket::from_std(socket.into())?;
        socket.bind_device(Some(port.as_bytes()))?;
        let [_, _, a, b, c, d] = mac.0;
        Ok(Client { socket, mac, transaction: u32::from_be_bytes([a, b, c, d]) })
    }

    /// Asks until there is a lease; nothing when the server took its offer back.
    async fn obtain(&self) -> io::Result<Option<Lease>> {
        loop {
            let offer = self.ask(Question::Discover).await?;
            let Answer::Offer { address, server } = offer else { continue };
            match self.ask(Question::Select { address, server }).await? {
                Answer::Lease(lease) => return Ok(Some(lease)),
                Answer::Refused => return Ok(None),
                Answer::Offer { .. } => {}
            }
        }
    }

    async fn rebind(&self, address: Ipv4Addr) -> io::Result<Option<Lease>> {
        match self.ask(Question::Rebind(address)).await? {
            Answer::Lease(lease) => Ok(Some(lease)),
            Answer::Offer { .. } | Answer::Refused => Ok(None),
        }
    }

    /// Asks again and again, ever more slowly, until an answer comes.
    async fn ask(&self, question: Question) -> io::Result<Answer> {
        let mut wait = FIRST_WAIT;
        loop {
            // A port without a link refuses for now.
            let sent =
                self.socket.send_to(&client::write(question, self.transaction, self.mac.0), SERVERS).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "a question was not sent");
            }
            match timeout(wait, self.answer(question)).await {
                Ok(answer) => return answer,
                // The server that made the offer is gone: others may be there.
                Err(_) if wait == LONGEST_WAIT && matches!(question, Question::Select { .. }) => {
                    return Ok(Answer::Refused);
                }
                Err(_) => wait = (wait * 2).min(LONGEST_WAIT),
            }
        }
    }

    async fn answer(&self, question: Question) -> io::Result<Answer> {
        let mut buffer = [0; 1500];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).await?;
            let answer = client::read(&buffer[..length], self.transaction, self.mac.0);
            match (answer, question) {
                (Some(answer @ Answer::Offer { .. }), Question::Discover) => return Ok(answer),
                (Some(Answer::Offer { .. }), _) | (None, _) => tracing::trace!(?from, "not for us"),
                (Some(answer), Question::Select { .. } | Question::Rebind(_)) => return Ok(answer),
                (Some(_), Question::Discover) => {}
            }
        }
    }
}
