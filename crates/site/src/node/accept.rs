//! Accepting connections whatever happens: the kernel refuses now and then (no descriptor, no memory), and a listener of
//! the site's init must not end over that, because the site ends with it.

use std::io;
use tokio::time::{Duration, sleep};

/// Pause after a refusal: what was short has to come back first.
const PAUSE: Duration = Duration::from_millis(200);

/// The next connection of a listener. Tries until there is one.
pub async fn accept<T, F>(who: &str, mut next: impl FnMut() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match next().await {
            Ok(connection) => return connection,
            Err(error) => {
                tracing::warn!(%error, listener = who, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_of_the_kernel_is_waited_out() {
        let mut refusals = vec![24, 23, 12, 105].into_iter();
        let next = || {
            let answer = match refusals.next() {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => Ok("a connection"),
            };
            std::future::ready(answer)
        };
        assert_eq!(accept("a test", next).await, "a connection");
    }
}
