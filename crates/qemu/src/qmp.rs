//! QMP over one stream: line framing, command ids, and a queue for the events that arrive between.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::events;
use crate::vmm::{ControlError, Event};

/// How long a command may take: QEMU's main loop answers in milliseconds unless the host is starved.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A line of QMP is never this long for the commands we use; more means that we talk to something else.
const LINE_LIMIT: usize = 256 * 1024;

/// One QMP session.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    buffer: Vec<u8>,
    events: VecDeque<Event>,
    next_id: u64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Event {
        event: String,
        #[serde(default)]
        data: Value,
    },
    Return {
        #[serde(rename = "return")]
        value: Value,
        #[serde(default)]
        id: Value,
    },
    Error {
        error: Refusal,
        #[serde(default)]
        id: Value,
    },
    Greeting {
        #[serde(rename = "QMP")]
        _qmp: Value,
    },
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Waits for the greeting and leaves negotiation mode.
    pub async fn open(stream: UnixStream) -> Result<Qmp, ControlError> {
        let mut qmp = Qmp { stream, buffer: Vec::new(), events: VecDeque::new(), next_id: 0 };
        let greeting = async {
            while !matches!(qmp.message().await?, Message::Greeting { .. }) {}
            Ok(())
        };
        within("greeting", greeting).await?;
        qmp.execute("qmp_capabilities", Value::Null).await?;
        Ok(qmp)
    }

    /// Runs a command and returns its value; events that arrive meanwhile are kept.
    pub async fn execute(&mut self, command: &'static str, arguments: Value) -> Result<Value, ControlError> {
        within(command, self.exchange(command, arguments)).await
    }

    /// The next event, or the error that ends the session. Cancelling loses nothing.
    pub async fn event(&mut self) -> Result<Event, ControlError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let message = self.message().await?;
            self.keep(message);
        }
    }

    /// An event that has arrived already, even if the peer is gone by now.
    pub fn pending(&mut self) -> Option<Event> {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = self.stream.try_read(&mut chunk) {
            self.buffer.extend_from_slice(&chunk[..n]);
        }
        while let Ok(Some(message)) = self.buffered() {
            self.keep(message);
        }
        self.events.pop_front()
    }

    async fn exchange(&mut self, command: &'static str, arguments: Value) -> Result<Value, ControlError> {
        self.next_id += 1;
        let ours = json!(self.next_id);
        let mut request = json!({"execute": command, "id": ours});
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let line = format!("{request}\n");
        self.stream.write_all(line.as_bytes()).await.map_err(|_| ControlError::Gone)?;
        loop {
            match self.message().await? {
                Message::Return { value, id } if id == ours => return Ok(value),
                Message::Error { error, id } if id == ours => {
                    return Err(ControlError::Refused { command, reason: error.desc });
                }
                other => self.keep(other),
            }
        }
    }

    /// Keeps an event that we know; an answer to a command that was given up is dropped.
    fn keep(&mut self, message: Message) {
        if let Message::Event { event, data } = message {
            self.events.extend(events::translate(&event, &data));
        }
    }

    async fn message(&mut self) -> Result<Message, ControlError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            if self.buffer.len() > LINE_LIMIT {
                return Err(ControlError::Gone);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(ControlError::Gone),
                Ok(_) => {}
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<Message>, ControlError> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        serde_json::from_slice(&line).map(Some).map_err(ControlError::Protocol)
    }
}

async fn within<T>(
    command: &'static str,
    work: impl Future<Output = Result<T, ControlError>>,
) -> Result<T, ControlError> {
    let silent = |_| ControlError::Silent { command, within: ANSWER_WITHIN };
    tokio::time::timeout(ANSWER_WITHIN, work).await.map_err(silent)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader};

    async fn pair() -> (Qmp, BufReader<UnixStream>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut theirs = BufReader::new(theirs);
        let server = async {
            theirs
                .get_mut()
                .write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n")
                .await
                .unwrap();
            let line = line(&mut theirs).await;
            theirs
                .get_mut()
                .write_all(format!("{{\"return\": {{}}, \"id\": {}}}\n", line["id"]).as_bytes())
                .await
                .unwrap();
            theirs
        };
        let (qmp, theirs) = tokio::join!(Qmp::open(ours), server);
        (qmp.unwrap(), theirs)
    }

    async fn line(peer: &mut BufReader<UnixStream>) -> Value {
        let mut line = String::new();
        peer.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    #[tokio::test]
    async fn events_between_command_and_answer_are_kept_in_order() {
        let (mut qmp, mut peer) = pair().await;
        let server = async {
            let id = line(&mut peer).await["id"].clone();
            let text = format!(
                "{{\"event\":\"STOP\"}}\n{{\"event\":\"RESET\",\"data\":{{\"guest\":true}}}}\n{{\"return\":{{\"status\":\"running\"}},\"id\":{id}}}\n"
            );
            peer.get_mut().write_all(text.as_bytes()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(qmp.execute("query-status", Value::Null), server);
        assert_eq!(answer.unwrap()["status"], "running");
        assert_eq!(qmp.event().await.unwrap(), Event::Paused);
        assert_eq!(qmp.event().await.unwrap(), Event::Reset { guest: true });
    }

    #[tokio::test]
    async fn refusals_and_hang_ups_are_told_apart() {
        let (mut qmp, mut peer) = pair().await;
        let server = async {
            let id = line(&mut peer).await["id"].clone();
            let text = format!(
                "{{\"error\":{{\"class\":\"GenericError\",\"desc\":\"no such thing\"}},\"id\":{id}}}\n"
            );
            peer.get_mut().write_all(text.as_bytes()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(qmp.execute("cont", Value::Null), server);
        assert!(matches!(answer, Err(ControlError::Refused { reason, .. }) if reason == "no such thing"));
        drop(peer);
        assert!(matches!(qmp.execute("cont", Value::Null).await, Err(ControlError::Gone)));
    }

    #[tokio::test]
    async fn a_cancelled_wait_loses_no_half_line() {
        let (mut qmp, mut peer) = pair().await;
        peer.get_mut().write_all(b"{\"event\":").await.unwrap();
        tokio::select! { biased; _ = qmp.event() => panic!("half a line is no event"), () = tokio::task::yield_now() => {} }
        peer.get_mut().write_all(b"\"RESUME\"}\n").await.unwrap();
        assert_eq!(qmp.event().await.unwrap(), Event::Resumed);
    }

    #[tokio::test]
    async fn noise_is_a_protocol_error() {
        let (mut qmp, mut peer) = pair().await;
        peer.get_mut().write_all(b"hello\n").await.unwrap();
        assert!(matches!(qmp.event().await, Err(ControlError::Protocol(_))));
    }
}
