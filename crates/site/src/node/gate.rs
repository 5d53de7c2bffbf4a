//! A door between the kubelet and the API server that is closed until the API server is ready.
//!
//! The kubelet backs off up to seven seconds between attempts to register. Behind the gate its first connection simply
//! waits, and the Node registers in the moment in which the API server can take it.
//!
//! A kubelet that finds Pods of before asks for its Node first, to know their volumes again, and starts no Pod until it
//! has an answer or ten seconds are over: then there is no door until the API server's process runs.

use std::io;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Duration, sleep},
};

/// Where the kubelet finds the API server.
pub const ADDRESS: &str = "127.0.0.1:6440";

/// Accepts for ever, or with `pods_of_before` from when `upstream` listens; forwards to it from when `open` says so.
pub async fn run(open: watch::Receiver<bool>, upstream: String, pods_of_before: bool) -> io::Result<()> {
    while pods_of_before && TcpStream::connect(&upstream).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    let listener = TcpListener::bind(ADDRESS).await?;
    loop {
        let (down, _) = listener.accept().await?;
        tokio::spawn(forward(down, open.clone(), upstream.clone()));
    }
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
