//! A door between the kubelet and the API server that is closed until the API server is ready.
//!
//! The kubelet backs off up to seven seconds between attempts to register. Behind the gate its first connection simply
//! waits, and the Node registers in the moment in which the API server can take it.

use std::io;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Duration, sleep},
};

/// Where the kubelet finds the API server.
pub const ADDRESS: &str = "127.0.0.1:6440";

/// Accepts for ever; forwards to `upstream` from when `open` says so.
pub async fn run(open: watch::Receiver<bool>, upstream: String) -> io::Result<()> {
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
