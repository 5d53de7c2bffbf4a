//! How a running site tells what it does: a socket on which its init answers questions, one JSON line each.

use super::accept::accept;
use scute_processes::keep::{ProcessState, Table};
use serde::{Deserialize, Serialize};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};

/// Bytes of the longest question.
const LONGEST: u64 = 1 << 10;

/// What a client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// All events so far and every one to come, until [`Event::Up`] or [`Event::Failed`].
    Watch,
    /// One [`State`].
    Status,
    /// Read the configuration again, bring in what changed in the bundle, then events as for `Watch`.
    Converge,
}

/// Something that happened while the site came up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum Event {
    /// A step began.
    Started {
        /// Its name.
        step: String,
    },
    /// A step is done.
    Finished {
        /// Its name.
        step: String,
        /// How long it took.
        millis: u64,
        /// A word on its result, or empty.
        detail: String,
    },
    /// A step failed; the site tries again by itself.
    Failed {
        /// Its name.
        step: String,
        /// Why.
        why: String,
    },
    /// Everything is up.
    Up {
        /// Milliseconds from the start of the site's init.
        millis: u64,
    },
}

/// What the init knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the running init.
    pub version: String,
    /// Seconds since it started.
    pub uptime: u64,
    /// The processes that it keeps.
    pub processes: Vec<ProcessState>,
    /// The last event.
    pub last: Option<Event>,
}

/// Collects events and hands them to whoever listens.
pub struct Board {
    began: Instant,
    events: Mutex<Vec<Event>>,
    count: watch::Sender<usize>,
}

impl Default for Board {
    fn default() -> Self {
        Self { began: Instant::now(), events: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Board {
    /// Adds an event.
    pub fn tell(&self, event: Event) {
        tracing::info!(?event, "site");
        let count = {
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push(event);
            events.len()
        };
        self.count.send_replace(count);
    }

    /// Forgets all events: a new attempt begins.
    pub fn clear(&self) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.count.send_replace(0);
    }

    /// Runs a step between its events. The result's text becomes the detail.
    pub async fn step<T, E: std::error::Error>(
        &self,
        step: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.tell(Event::Started { step: step.to_owned() });
        let began = Instant::now();
        let result = work.await;
        match &result {
            Ok(_) => self.tell(Event::Finished {
                step: step.to_owned(),
                millis: millis(began),
                detail: String::new(),
            }),
            Err(e) => self.tell(Event::Failed { step: step.to_owned(), why: scute_processes::chain(e) }),
        }
        result
    }

    /// An attempt failed; whatever step has not told so itself.
    pub fn failed(&self, why: &str) {
        let told = matches!(self.since(0).last(), Some(Event::Failed { .. }));
        if !told {
            self.tell(Event::Failed { step: "coming up".to_owned(), why: why.to_owned() });
        }
    }

    /// The site is up.
    pub fn up(&self) {
        self.tell(Event::Up { millis: millis(self.began) });
    }

    fn since(&self, from: usize) -> Vec<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.get(from.min(events.len())..).unwrap_or_default().to_vec()
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The answering side.
pub struct Control {
    /// Events.
    pub board: Arc<Board>,
    /// Kept processes.
    pub table: Table,
    /// Where a request to converge goes.
    pub converge: mpsc::Sender<()>,
}

impl Control {
    /// Answers. Who may open the socket (root) may ask.
    ///
    /// # Errors
    /// The socket cannot be made. Afterwards it does not return.
    pub async fn serve(self: Arc<Self>, socket: &Path) -> std::io::Result<()> {
        // Of an earlier life of this site; binding would fail on it.
        _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket)?;
        loop {
            let (stream, _) = accept("the control socket", || listener.accept()).await;
            let control = self.clone();
            tokio::spawn(async move {
                if let Err(error) = control.answer(stream).await {
                    tracing::debug!(%error, "a client of the control socket went away");
                }
            });
        }
    }

    async fn answer(&self, stream: UnixStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut question = String::new();
        BufReader::new(read.take(LONGEST)).read_line(&mut question).await?;
        match serde_json::from_str(&question)? {
            Ask::Status => send(&mut write, &self.state()).await,
            Ask::Watch => self.stream(&mut write).await,
            Ask::Converge => {
                self.board.clear();
                // A full channel holds a request already.
                _ = self.converge.try_send(());
                self.stream(&mut write).await
            }
        }
    }

    async fn stream(&self, write: &mut (impl AsyncWriteExt + Unpin)) -> std::io::Result<()> {
        let mut count = self.board.count.subscribe();
        let mut sent = 0;
        loop {
            for event in self.board.since(sent) {
                sent += 1;
                send(write, &event).await?;
                if matches!(event, Event::Up { .. } | Event::Failed { .. }) {
                    return Ok(());
                }
            }
            if count.wait_for(|n| *n != sent).await.is_err() {
                return Ok(());
            }
            // Cleared meanwhile: a new attempt, told from its start.
            sent = sent.min(*count.borrow());
        }
    }

    fn state(&self) -> State {
        State {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.board.began.elapsed().as_secs(),
            processes: self.table.all(),
            last: self.board.since(0).pop(),
        }
    }
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), what: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// The asking side: lines of answers to one question.
pub struct Answers {
    lines: tokio::io::Lines<BufReader<tokio::net::unix::OwnedReadHalf>>,
    _write: tokio::net::unix::OwnedWriteHalf,
}

/// Asks the init of a site.
pub async fn ask(socket: &Path, question: Ask) -> std::io::Result<Answers> {
    let (read, mut write) = UnixStream::connect(socket).await?.into_split();
    send(&mut write, &question).await?;
    Ok(Answers { lines: BufReader::new(read).lines(), _write: write })
}

impl Answers {
    /// The next answer; `None` at the end.
    pub async fn next<T: serde::de::DeserializeOwned>(&mut self) -> std::io::Result<Option<T>> {
        match self.lines.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_is_told_once_by_its_step_or_by_the_attempt() {
        let board = Board::default();
        let bad = async { Err::<(), _>(std::io::Error::other("no disk")) };
        board.step("containerd", bad).await.unwrap_err();
        board.failed("no disk");
        assert_eq!(board.since(1), [Event::Failed { step: "containerd".into(), why: "no disk".into() }]);
        board.clear();
        board.failed("no bundle");
        assert_eq!(board.since(0), [Event::Failed { step: "coming up".into(), why: "no bundle".into() }]);
    }

    #[tokio::test]
    async fn a_late_listener_hears_everything_up_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let board = Arc::new(Board::default());
        let (converge, mut asked) = mpsc::channel(1);
        let control = Arc::new(Control { board: board.clone(), table: Table::default(), converge });
        board.tell(Event::Started { step: "a".into() });
        let server = tokio::spawn({
            let (control, socket) = (control.clone(), socket.clone());
            async move { control.serve(&socket).await }
        });
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        let mut answers = ask(&socket, Ask::Watch).await.unwrap();
        assert_eq!(answers.next().await.unwrap(), Some(Event::Started { step: "a".into() }));
        board.up();
        assert!(matches!(answers.next().await.unwrap(), Some(Event::Up { .. })));
        assert_eq!(answers.next::<Event>().await.unwrap(), None);
        let mut state = ask(&socket, Ask::Status).await.unwrap();
        assert!(matches!(state.next::<State>().await.unwrap().unwrap().last, Some(Event::Up { .. })));
        _ = ask(&socket, Ask::Converge).await.unwrap();
        asked.recv().await.unwrap();
        server.abort();
    }
}
