//! Listening on all addresses of both families.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// Listens on a port of all addresses: IPv6 and IPv4, or IPv4 alone where there is no IPv6.
///
/// # Errors
/// When the port is taken, or may not be listened on.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    match both(port) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => ipv4(port),
        listening => listening,
    }
}

fn both(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    // The default is the machine's to choose.
    set_ipv6_v6only(&socket, false)?;
    bound(socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
}

fn ipv4(port: u16) -> io::Result<TcpListener> {
    bound(TcpSocket::new_v4()?, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
}

fn bound(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn both_families_reach_the_same_port() {
        let listener = listen(0).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("over IPv4");
        if listener.local_addr().expect("an address").is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.expect("over IPv6");
        }
        assert_eq!(listen(port).expect_err("it is taken").kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn without_ipv6_it_is_ipv4() {
        let port = ipv4(0).expect("a port").local_addr().expect("an address").port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect_err("closed again");
        let listener = ipv4(port).expect("the port again");
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("over IPv4");
        drop(listener);
    }
}
