//! Clients that do not storm an API server, and do not wait for one that is gone.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower::limit::ConcurrencyLimitLayer;
use tower::{BoxError, Layer, Service};

use crate::limits::{Limits, SILENT_WATCH, WATCH_WITHOUT_BOOKMARKS};

/// A client that keeps to the limits.
///
/// Each request under way has a connection of its own, with a handshake on both sides and buffers for as long as it is
/// kept: what a controller has to say to a hundred objects must not open a hundred of them. And a peer that is gone
/// must not keep any of them: what it does not answer in time is an error.
///
/// # Errors
/// When certificates or keys of the configuration cannot be used.
pub fn client(mut config: Config, limits: Limits) -> kube::Result<Client> {
    // A refused eviction is an answer (429), not something to try again for a quarter of an hour; and every controller
    // tries again by itself, later each time.
    config.default_retry = false;
    // API servers are in reach of a manager, and what it says to them is not for a proxy that the environment names.
    config.proxy_url = None;
    // Our own limit speaks first, in words; this one ends what is left of a connection that nobody waits for any more.
    config.connect_timeout = Some(limits.answer * 2);
    // The wait for a turn is outside of the limit in time: whoever holds one gives it back within that.
    let at_once = ConcurrencyLimitLayer::new(limits.at_once);
    Ok(ClientBuilder::try_from(config)?.with_layer(&limits).with_layer(&at_once).build())
}

/// Why a request was given up.
#[derive(Debug)]
pub(crate) enum GivenUp {
    /// No answer came, or not the whole of it.
    Silent(Duration),
    /// The answer is longer than can be meant well.
    TooLong(usize),
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(after) => write!(f, "the API server did not answer within {} s", after.as_secs()),
            Self::TooLong(bytes) => {
                write!(f, "the API server's answer is longer than {} MiB", bytes >> 20)
            }
        }
    }
}

impl std::error::Error for GivenUp {}

impl<S> Layer<S> for Limits {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, limits: *self }
    }
}

/// Gives up what is not answered in time.
pub struct Limited<S> {
    inner: S,
    limits: Limits,
}

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<LimitedBody<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Limits { answer, bytes, .. } = self.limits;
        let query = request.uri().query().unwrap_or_default();
        let pace = match (has(query, "watch"), has(query, "allowWatchBookmarks")) {
            (true, true) => Pace::Watch(SILENT_WATCH),
            (true, false) => Pace::Watch(WATCH_WITHOUT_BOOKMARKS),
            (false, _) => Pace::Answer(answer),
        };
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = timeout(answer, response).await.map_err(|_| GivenUp::Silent(answer))?;
            Ok(response.map_err(Into::into)?.map(|inner| LimitedBody::new(inner, pace, bytes)))
        })
    }
}

fn has(query: &str, flag: &str) -> bool {
    query.split('&').any(|pair| pair.split_once('=') == Some((flag, "true")))
}

/// How long a body may take.
#[derive(Clone, Copy)]
enum Pace {
    /// From its begin to its end.
    Answer(Duration),
    /// From one piece to the next.
    Watch(Duration),
}

/// A body that ends with an error when its sender falls silent, or does not stop.
pub struct LimitedBody<B> {
    inner: B,
    pace: Pace,
    /// How many bytes one answer, or one line of a watch, may have.
    longest: usize,
    seen: usize,
    silent: Pin<Box<Sleep>>,
}

impl<B> LimitedBody<B> {
    fn new(inner: B, pace: Pace, longest: usize) -> Self {
        let (Pace::Answer(limit) | Pace::Watch(limit)) = pace;
        Self { inner, pace, longest, seen: 0, silent: Box::pin(sleep(limit)) }
    }

    fn received(&mut self, data: &[u8]) -> Result<(), GivenUp> {
        self.seen += data.len();
        if let Pace::Watch(limit) = self.pace {
            self.silent.as_mut().reset(Instant::now() + limit);
            if let Some(end) = data.iter().rposition(|byte| *byte == b'\n') {
                self.seen = data.len() - end - 1;
            }
        }
        if self.seen > self.longest { Err(GivenUp::TooLong(self.longest)) } else { Ok(()) }
    }
}

impl<B> HttpBody for LimitedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(match frame {
                Some(Ok(frame)) => Some(match frame.data_ref().map(|data| self.received(data)) {
                    Some(Err(error)) => Err(error.into()),
                    _ => Ok(frame),
                }),
                Some(Err(error)) => Some(Err(error.into())),
                None => None,
            });
        }
        ready!(self.silent.as_mut().poll(cx));
        let (Pace::Answer(limit) | Pace::Watch(limit)) = self.pace;
        Poll::Ready(Some(Err(GivenUp::Silent(limit).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;

    struct Pieces(Receiver<&'static [u8]>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
        }
    }

    /// What is received of a peer that sends this piece again and again, so long apart, and after how many.
    async fn ends(pace: Pace, piece: &'static [u8], apart: Duration, pieces: usize) -> (usize, String) {
        let (send, receive) = channel(1);
        let sender = tokio::spawn(async move {
            for _ in 0..pieces {
                sleep(apart).await;
                if send.send(piece).await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        let mut body = LimitedBody::new(Pieces(receive), pace, 100);
        let mut received = 0;
        let error = loop {
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(_)) => received += 1,
                Some(Err(error)) => break error.to_string(),
                None => break "the end".to_owned(),
            }
        };
        sender.abort();
        (received, error)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_watch_may_last_as_long_as_bookmarks_come() {
        let (received, error) = ends(Pace::Watch(SILENT_WATCH), b"{}\n", MINUTE, 600).await;
        assert_eq!((received, error.as_str()), (600, "the API server did not answer within 120 s"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_drops_is_not_waited_for() {
        let (received, error) =
            ends(Pace::Answer(Duration::from_secs(10)), b"x", Duration::from_secs(3), 600).await;
        assert_eq!((received, error.as_str()), (3, "the API server did not answer within 10 s"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_of_a_watch_has_a_limit_and_its_sum_has_none() {
        let (received, _) = ends(Pace::Watch(MINUTE), b"0123456789\n", Duration::ZERO, 500).await;
        assert_eq!(received, 500);
        let (received, error) = ends(Pace::Watch(MINUTE), b"0123456789", Duration::ZERO, 500).await;
        assert_eq!(received, 10);
        assert!(error.starts_with("the API server's answer is longer than"), "{error}");
    }
}
