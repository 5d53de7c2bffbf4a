//! The guest's serial console on its way to the Pod's log: whole lines of bounded length.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longer lines are broken: the log's readers hold a line in memory.
const LINE_LIMIT: usize = 4096;

/// Copies until the guest's end is closed.
///
/// Carriage returns and escape sequences are dropped: a log has lines, no cursor, and must not clear the screen of the
/// person who reads it. What is there of a line is written without waiting for its end, so that a prompt can be seen.
pub async fn forward(
    mut guest: impl AsyncRead + Unpin,
    mut log: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut chunk = [0; 4096];
    let mut out = Vec::with_capacity(chunk.len() + 16);
    let mut cleaner = Cleaner::default();
    loop {
        let read = guest.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        out.clear();
        cleaner.clean(&chunk[..read], &mut out);
        log.write_all(&out).await?;
        log.flush().await?;
    }
    if cleaner.column > 0 {
        log.write_all(b"\n").await?;
        log.flush().await?;
    }
    Ok(())
}

/// Where in a line, and in an escape sequence (ECMA-48), the console is.
#[derive(Debug, Default)]
struct Cleaner {
    column: usize,
    escape: Escape,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Start,
    /// After ESC [, until a final byte.
    Control,
    /// After ESC ], until BEL or the ESC of a terminator.
    Title,
}

impl Cleaner {
    fn clean(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes.iter().copied().filter(|byte| *byte != b'\r' && *byte != 0) {
            if byte == b'\n' {
                // Also the way out of a sequence that never ends.
                *self = Cleaner::default();
                out.push(byte);
            } else if self.is_text(byte) {
                out.push(byte);
                self.column += 1;
                if self.column == LINE_LIMIT {
                    out.push(b'\n');
                    self.column = 0;
                }
            }
        }
    }

    fn is_text(&mut self, byte: u8) -> bool {
        let before = self.escape;
        self.escape = match (before, byte) {
            (_, 0x1b) => Escape::Start,
            (Escape::None, _) => Escape::None,
            (Escape::Start, b'[') => Escape::Control,
            (Escape::Start, b']') => Escape::Title,
            // Intermediate bytes, then one final byte.
            (Escape::Start, 0x20..=0x2f) => Escape::Start,
            (Escape::Start, _) => Escape::None,
            (Escape::Control, 0x40..=0x7e) => Escape::None,
            (Escape::Title, 0x07) => Escape::None,
            (Escape::Control | Escape::Title, _) => before,
        };
        before == Escape::None && self.escape == Escape::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn log_of(guest: &[u8]) -> String {
        let mut log = Vec::new();
        forward(guest, &mut log).await.unwrap();
        String::from_utf8(log).unwrap()
    }

    #[tokio::test]
    async fn lines_are_clean_and_ended() {
        assert_eq!(log_of(b"one\r\n\0two\r\nlogin: ").await, "one\ntwo\nlogin: \n");
        assert_eq!(log_of(b"").await, "");
    }

    #[tokio::test]
    async fn escape_sequences_do_not_reach_the_reader_s_terminal() {
        // SeaBIOS resets the terminal; systemd draws colours and a spinner.
        assert_eq!(log_of(b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r\n").await, "SeaBIOS\n");
        assert_eq!(log_of(b"[\x1b[0;32m  OK  \x1b[0m] up\x1bM\x1b[K\n").await, "[  OK  ] up\n");
        assert_eq!(log_of(b"\x1b]0;title\x07a\x1b(Bb\n").await, "ab\n");
        assert_eq!(log_of(b"\x1b]never ends\nnext\n").await, "\nnext\n");
    }

    #[tokio::test]
    async fn an_endless_line_is_broken() {
        let log = log_of(&[b'x'; 3 * LINE_LIMIT + 1]).await;
        assert!(log.lines().all(|line| line.len() <= LINE_LIMIT));
        assert_eq!(log.matches('x').count(), 3 * LINE_LIMIT + 1);
    }
}
