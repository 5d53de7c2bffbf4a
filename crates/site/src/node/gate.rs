//! A door between the kubelet and the API server that is closed until the API server is ready.
//!
//! The kubelet backs off up to seven seconds between attempts to register. Behind the gate its first connection simply
//! waits, and the Node registers in the moment in which the API server can take it.
//!
//! A kubelet that finds Pods of before asks for its Node first, to know their volumes again, and starts no Pod until it
//! has an answer or ten seconds are over: then there is no door until the API server's process runs.
//!
//! In the host's network every local user can knock. Only root's connections are kept, and only so many.

use super::accept::accept;
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{Duration, sleep},
};

/// Where the kubelet finds the API server.
pub const ADDRESS: &str = "127.0.0.1:6440";
/// Connections at once; a kubelet has a handful.
const AT_ONCE: usize = 64;

/// Accepts, or with `pods_of_before` from when `upstream` listens; forwards to it from when `open` says so.
///
/// # Errors
/// The address cannot be listened on. Afterwards it does not return.
pub async fn run(open: watch::Receiver<bool>, upstream: String, pods_of_before: bool) -> io::Result<()> {
    while pods_of_before && TcpStream::connect(&upstream).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    let listener = TcpListener::bind(ADDRESS).await?;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let (down, peer) = accept("the gate of the API server", || listener.accept()).await;
        if !is_roots(peer) {
            continue;
        }
        // One too many is closed, and its client dials again.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (open, upstream) = (open.clone(), upstream.clone());
        tokio::spawn(async move {
            forward(down, open, upstream).await;
            drop(place);
        });
    }
}

/// Whether root's process is at the other end of a connection over the loopback interface.
fn is_roots(peer: SocketAddr) -> bool {
    let SocketAddr::V4(peer) = peer else { return false };
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    owner(&table, *peer.ip(), peer.port()) == Some(0)
}

/// The user of the socket with this local address, in the kernel's table: `sl local remote st queues tr retrnsmt uid`,
/// addresses in the order of the machine's bytes (linux/net/ipv4/tcp_ipv4.c).
fn owner(table: &str, ip: Ipv4Addr, port: u16) -> Option<u32> {
    let local = format!("{:08X}:{port:04X}", u32::from_ne_bytes(ip.octets()));
    let mut lines = table.lines().map(|line| line.split_whitespace());
    lines.find_map(|mut words| (words.nth(1)? == local).then(|| words.nth(5)?.parse().ok())?)
}

/// Both directions until one side ends; an error is the end too, and the kubelet dials again.
async fn forward(mut down: TcpStream, mut open: watch::Receiver<bool>, upstream: String) {
    if open.wait_for(|open| *open).await.is_err() {
        return;
    }
    let Some(mut up) = dial(&upstream).await else { return };
    _ = down.set_nodelay(true);
    _ = up.set_nodelay(true);
    _ = tokio::io::copy_bidirectional(&mut down, &mut up).await;
}

/// Tries for five seconds: a restart of the API server shows as a slow connection, not as a refused one.
async fn dial(upstream: &str) -> Option<TcpStream> {
    for _ in 0..100 {
        if let Ok(stream) = TcpStream::connect(upstream).await {
            return Some(stream);
        }
        sleep(Duration::from_millis(50)).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_behind_a_connection_is_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer, ours.local_addr().unwrap());
        assert_eq!(is_roots(peer), rustix::process::geteuid().is_root());
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:C35A 0100007F:1928 01 00000000:00000000 00:00000000 00000000  1000        0 1 1\n";
        assert_eq!(owner(table, Ipv4Addr::LOCALHOST, 50010), Some(1000));
        assert_eq!(owner(table, Ipv4Addr::LOCALHOST, 50011), None);
    }
}
