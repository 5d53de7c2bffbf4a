//! The guest's serial console on its way to the Pod's log: whole lines of bounded length.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longer lines are broken: the log's readers hold a line in memory.
const LINE_LIMIT: usize = 4096;

/// Copies until the guest's end is closed. Carriage returns are dropped: logs have lines, not cursors.
///
/// What is there of a line is written without waiting for its end, so that a prompt can be seen by those who follow.
pub async fn forward(
    mut guest: impl AsyncRead + Unpin,
    mut log: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut chunk = [0; 4096];
    let mut out = Vec::with_capacity(chunk.len() + 16);
    let mut column = 0;
    loop {
        let read = guest.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        out.clear();
        for byte in &chunk[..read] {
            match byte {
                b'\r' | 0 => continue,
                b'\n' => column = 0,
                _ => column += 1,
            }
            out.push(*byte);
            if column == LINE_LIMIT {
                out.push(b'\n');
                column = 0;
            }
        }
        log.write_all(&out).await?;
        log.flush().await?;
    }
    if column > 0 {
        log.write_all(b"\n").await?;
        log.flush().await?;
    }
    Ok(())
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
    async fn an_endless_line_is_broken() {
        let log = log_of(&[b'x'; 3 * LINE_LIMIT + 1]).await;
        assert!(log.lines().all(|line| line.len() <= LINE_LIMIT));
        assert_eq!(log.matches('x').count(), 3 * LINE_LIMIT + 1);
    }
}
