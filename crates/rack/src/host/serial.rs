//! A host's serial port: its log, and those who look on.

use std::path::Path;
use std::sync::Arc;

use scute_processes::logs::Log;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{Mutex, broadcast};
use tokio::task::JoinHandle;

/// Pieces that wait for somebody who looks on; who is slower misses some.
const WAITING: usize = 256;

type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// A serial port, whichever machine is at its other end.
#[derive(Clone)]
pub struct Serial {
    log: Log,
    seen: broadcast::Sender<Vec<u8>>,
    input: Arc<Mutex<Option<Input>>>,
}

impl Serial {
    /// A port that nothing is plugged into, with its log.
    pub fn new(log: &Path) -> Self {
        Self { log: Log::new(log), seen: broadcast::Sender::new(WAITING), input: Arc::default() }
    }

    /// What is written from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Vec<u8>> {
        self.seen.subscribe()
    }

    /// Types this. Nobody reads it while the host is off.
    pub async fn write(&self, bytes: &[u8]) {
        if let Some(input) = self.input.lock().await.as_mut() {
            // A machine that is just ending.
            let _ = input.write_all(bytes).await;
        }
    }

    /// Plugs in a machine; until its end of the line is closed.
    pub fn plug<S>(&self, port: S) -> JoinHandle<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (output, input) = split(port);
        tokio::spawn(self.clone().pump(output, input))
    }

    async fn pump<S>(self, mut output: ReadHalf<S>, input: WriteHalf<S>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        *self.input.lock().await = Some(Box::new(input));
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = output.read(&mut chunk).await {
            self.log.put(&chunk[..read]);
            // Nobody may look on.
            let _ = self.seen.send(chunk[..read].to_vec());
        }
        *self.input.lock().await = None;
    }
}

impl std::fmt::Debug for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serial").finish_non_exhaustive()
    }
}
