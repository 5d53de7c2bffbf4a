//! When a tenant last said something of its Nodes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::service_fn;

/// For how long what a tenant last said of its Nodes counts (`remoteConditionsGracePeriod` of Cluster API).
pub const GRACE: Duration = Duration::from_secs(300);

/// The time of the last answer, of whatever goes through [`Heard::client`]. Begins with the time when the asking began.
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

    /// The same client, with its answers noted. Bookmarks count: an API server sends one each minute.
    pub(super) fn client(&self, client: Client) -> Client {
        let (namespace, heard) = (client.default_namespace().to_owned(), self.clone());
        let noted = move |request: Request<Body>| {
            let (client, heard) = (client.clone(), heard.clone());
            async move {
                let response = client.send(request).await?;
                // A refusal says nothing of Nodes.
                let heard = response.status().is_success().then_some(heard);
                if let Some(heard) = &heard {
                    heard.note();
                }
                Ok::<_, kube::Error>(response.map(|inner| NotedBody { inner, heard }))
            }
        };
        Client::new(service_fn(noted), namespace)
    }

    pub(super) fn note(&self) {
        self.0.send_replace(Instant::now());
    }
}

/// A body whose pieces are noted.
pub(super) struct NotedBody {
    inner: Body,
    heard: Option<Heard>,
}

impl HttpBody for NotedBody {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

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
