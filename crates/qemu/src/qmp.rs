//! QMP as bytes: line framing, messages, requests. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

/// A line of QMP is never this long for the commands we use; more means that we talk to something else.
const LINE_LIMIT: usize = 256 * 1024;

/// What comes in.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Message {
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
pub struct Refusal {
    pub desc: String,
}

/// It is not QMP.
#[derive(Debug, PartialEq, Eq)]
pub struct Noise;

/// What has come in, up to the last whole line.
#[derive(Debug, Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next message, if it is whole.
    pub fn next(&mut self) -> Result<Option<Message>, Noise> {
        let Some(end) = self.0.iter().position(|byte| *byte == b'\n') else {
            return if self.0.len() > LINE_LIMIT { Err(Noise) } else { Ok(None) };
        };
        let line: Vec<u8> = self.0.drain(..=end).collect();
        serde_json::from_slice(&line).map(Some).map_err(|_| Noise)
    }
}

/// A request as it goes out.
pub fn request(id: u64, command: &str, arguments: &Value) -> Vec<u8> {
    let mut request = json!({"execute": command, "id": id});
    if !arguments.is_null() {
        request["arguments"] = arguments.clone();
    }
    format!("{request}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_waits_for_its_rest() {
        let mut lines = Lines::default();
        lines.push(b"{\"event\":");
        assert!(lines.next().unwrap().is_none());
        lines.push(b"\"STOP\"}\n{\"return\": {}, \"id\": 1}\n");
        assert!(matches!(lines.next(), Ok(Some(Message::Event { event, .. })) if event == "STOP"));
        assert!(matches!(lines.next(), Ok(Some(Message::Return { id, .. })) if id == 1));
        assert!(lines.next().unwrap().is_none());
    }

    #[test]
    fn noise_and_endless_lines_are_no_qmp() {
        let mut lines = Lines::default();
        lines.push(b"hello\n");
        assert_eq!(lines.next().unwrap_err(), Noise);
        lines.push(&[b'x'; LINE_LIMIT + 1]);
        assert_eq!(lines.next().unwrap_err(), Noise);
    }
}
