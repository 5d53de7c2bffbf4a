//! When a tenant last said something of its Nodes. In: the answers to all requests of its client. Out: the time, to be
//! read and waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{Layer, Service};

/// For how long what a tenant last said of its Nodes counts (`remoteConditionsGracePeriod` of Cluster API).
pub const GRACE: Duration = Duration::from_secs(300);

/// Where an API server lists and watches its Nodes.
const NODES: &str = "/api/v1/nodes";

/// The time of the last answer that was about Nodes, of a client that it is a layer of. Begins with the time when the asking
/// began.
#[derive(Clone)]
pub(super) struct Heard(Arc<watch::Sender<Instant>>);

impl Heard {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(watch::Sender::new(now)))
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.borrow()
    }

    /// Returns when something is heard.
    pub(super) async fn next(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().changed().await;
    }

    /// Returns when nothing has been heard for so long.
    pub(super) async fn silence(&self, silence: Duration) {
        loop {
            let until = self.last() + silence;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    pub(super) fn note(&self) {
        self.0.send_replace(Instant::now());
    }
}

impl<S> Layer<S> for Heard {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted { inner, heard: self.clone() }
    }
}

/// Notes answers about Nodes. Bookmarks count: an API server sends one each minute.
#[derive(Clone)]
pub(super) struct Noted<S> {
    inner: S,
    heard: Heard,
}

impl<S, B> Service<Request<Body>> for Noted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = Response<NotedBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let heard = (request.uri().path() == NODES).then(|| self.heard.clone());
        let answer = self.inner.call(request);
        async move {
            let response = answer.await?;
            // A refusal says nothing of Nodes.
            let heard = heard.filter(|_| response.status().is_success());
            if let Some(heard) = &heard {
                heard.note();
            }
            Ok(response.map(|inner| NotedBody { inner, heard }))
        }
        .boxed()
    }
}

/// A body whose pieces are noted.
pub(super) struct NotedBody<B> {
    inner: B,
    heard: Option<Heard>,
}

impl<B> HttpBody for NotedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let (Some(Ok(_)), Some(heard)) = (&frame, &self.heard) {
            heard.note();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
