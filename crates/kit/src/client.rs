//! Clients that do not storm an API server, and do not wait for one that is gone.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower::layer::util::Identity;
use tower::limit::ConcurrencyLimitLayer;
use tower::{BoxError, Layer, Service, ServiceBuilder};

use crate::limits::{Limits, SILENT_WATCH, WATCH_WITHOUT_BOOKMARKS};

/// A client that keeps to the limits.
///
/// Each request under way has a connection of its own, with a handshake on both sides and buffers for as long as it is
/// kept: what a controller has to say to a hundred objects must not open a hundred of them. And a peer that is gone
/// must not keep any of them: what it does not answer in time is an error.
///
/// # Errors
/// When certificates or keys of the configuration cannot be used.
pub fn client(config: Config, limits: Limits) -> kube::Result<Client> {
    client_with(config, limits, Identity::new())
}

/// As [`client`], with a layer around all else.
pub(crate) fn client_with<L, B>(config: Config, limits: Limits, layer: L) -> kube::Result<Client>
where
    L: Layer<Limited<tower::limit::ConcurrencyLimit<Answers>>>,
    L::Service: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send + 'static,
    <L::Service as Service<Request<Body>>>::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let namespace = config.default_namespace.clone();
    let http = HttpClient::builder(TokioExecutor::new())
        // Without a timer nothing ends a connection that nobody uses but its peer.
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(limits.idle)
        .build::<_, Body>(connector(&config, limits)?);
    // No retries: a refused eviction is an answer (429), not something to try again for a quarter of an hour; and every
    // controller tries again by itself, later each time.
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    // The wait for a turn is outside of the limit in time: whoever holds one gives it back within that.
    let at_once = ConcurrencyLimitLayer::new(limits.at_once);
    let service = limits.layer(at_once.layer(Answers::new(service)));
    Ok(ClientBuilder::new(layer.layer(service), namespace).build())
}

/// The HTTP client with what belongs to one API server.
type Answers = tower::util::BoxService<Request<Body>, Response<hyper::body::Incoming>, BoxError>;

/// API servers are in reach of a manager, and what it says to them is not for a proxy that the environment names.
fn connector(
    config: &Config,
    limits: Limits,
) -> kube::Result<TimeoutConnector<HttpsConnector<HttpConnector>>> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error says that somebody else has just done it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let mut tls = config.rustls_client_config()?;
    // Room for the sessions of one server, not of hundreds: there is but one.
    tls.resumption = Resumption::in_memory_sessions(1);
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let builder = match &config.tls_server_name {
        Some(name) => {
            let parsed = ServerName::try_from(name.clone())
                .map_err(|error| kube::Error::Service(format!("tls-server-name {name:?}: {error}").into()))?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(parsed))
        }
        None => builder,
    };
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    let mut connector = TimeoutConnector::new(builder.enable_http1().wrap_connector(plain));
    // Our own limit speaks first, in words; this one ends what is left of a connection that nobody waits for any more.
    connector.set_connect_timeout(Some(limits.answer * 2));
    Ok(connector)
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
