//! The guest's serial console on its way to the Pod's log: whole lines of bounded length.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longer lines are broken: the log's readers hold a line in memory.
const LINE_LIMIT: usize = 4096;

/// Copies until the guest's end is closed.
///
/// Control characters and escape sequences are dropped: a log has lines, no cursor, and must not clear the screen of the
/// person who reads it. What is no UTF-8 is replaced. A line is written without waiting for its end, so that a prompt
/// can be seen.
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

/// Where in a line, in an escape sequence (ECMA-48) and in a character the console is.
#[derive(Debug, Default)]
struct Cleaner {
    column: usize,
    escape: Escape,
    /// The bytes of a character of UTF-8 that has begun.
    begun: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Start,
    /// After a control sequence introducer, until a final byte.
    Control,
    /// After the start of a string (a title, a device's own), until BEL or a terminator.
    String,
}

impl Cleaner {
    fn clean(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes.iter().copied() {
            // A character that is broken off, or a byte that starts none.
            if !self.begun.is_empty() && byte & 0xc0 != 0x80 {
                self.begun.clear();
                self.character(char::REPLACEMENT_CHARACTER, out);
            }
            match byte {
                0..0x80 => self.character(byte.into(), out),
                _ => self.part(byte, out),
            }
        }
    }

    /// A byte of a longer character.
    fn part(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.begun.push(byte);
        match str::from_utf8(&self.begun) {
            Ok(text) => {
                let whole = text.chars().next();
                self.begun.clear();
                whole.into_iter().for_each(|character| self.character(character, out));
            }
            // More is to come.
            Err(error) if error.error_len().is_none() => {}
            Err(_) => {
                self.begun.clear();
                self.character(char::REPLACEMENT_CHARACTER, out);
            }
        }
    }

    fn character(&mut self, character: char, out: &mut Vec<u8>) {
        if character == '\n' {
            // Also the way out of a sequence that never ends.
            *self = Cleaner::default();
            out.push(b'\n');
        } else if self.is_text(character) {
            out.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
            self.column += 1;
            if self.column == LINE_LIMIT {
                out.push(b'\n');
                self.column = 0;
            }
        }
    }

    fn is_text(&mut self, character: char) -> bool {
        let before = self.escape;
        self.escape = match (before, character) {
            (_, '\x1b') => Escape::Start,
            // The same as ESC and a letter, in one character.
            (_, '\u{9b}') => Escape::Control,
            (_, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => Escape::String,
            (Escape::None, _) => Escape::None,
            (Escape::Start, '[') => Escape::Control,
            (Escape::Start, ']' | 'P' | 'X' | '^' | '_') => Escape::String,
            // Intermediate bytes, then one final byte.
            (Escape::Start, ' '..='/') => Escape::Start,
            (Escape::Start, _) => Escape::None,
            (Escape::Control, '@'..='~') => Escape::None,
            (Escape::String, '\x07' | '\u{9c}') => Escape::None,
            (Escape::Control | Escape::String, _) => before,
        };
        let plain = before == Escape::None && self.escape == Escape::None;
        // Bells, backspaces and their like, of seven and of eight bits.
        plain && (character == '\t' || !character.is_control())
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
        assert_eq!(log_of(b"\x1bPdevice's own\x1b\\a\n").await, "a\n");
    }

    #[tokio::test]
    async fn control_characters_of_seven_and_of_eight_bits_do_not_either() {
        assert_eq!(log_of(b"bell\x07 back\x08\x7f tab\tend\n").await, "bell back tab\tend\n");
        assert_eq!(log_of("\u{9b}2Jclear \u{9d}title\u{9c}\u{85}next\n".as_bytes()).await, "clear next\n");
        // A byte that terminals of eight bits take for a control sequence is no UTF-8.
        assert_eq!(log_of(b"\x9b2J\n").await, "\u{fffd}2J\n");
    }

    #[tokio::test]
    async fn characters_stay_whole_and_broken_ones_are_replaced() {
        assert_eq!(log_of("K\u{f6}ln \u{1f422}\n".as_bytes()).await, "K\u{f6}ln \u{1f422}\n");
        assert_eq!(log_of(b"\xc3x\xff\xe2\x82\n").await, "\u{fffd}x\u{fffd}\u{fffd}\n");
    }

    #[tokio::test]
    async fn an_endless_line_is_broken() {
        let log = log_of(&[b'x'; 3 * LINE_LIMIT + 1]).await;
        assert!(log.lines().all(|line| line.chars().count() <= LINE_LIMIT));
        assert_eq!(log.matches('x').count(), 3 * LINE_LIMIT + 1);
    }
}
