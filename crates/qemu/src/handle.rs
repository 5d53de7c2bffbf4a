//! The two ends of a running machine: who commands it, and who listens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::vmm::{Command, ControlError, Event, Exit, RunState};

/// Events that wait for a listener. A guest makes some as often as it likes: more are dropped, but never the end.
const WAITING: usize = 256;

/// What commands a machine: of QEMU, or of the fake.
pub trait Control: Send + Sync {
    fn pid(&self) -> u32;
    fn command(&self, command: Command) -> Answer<'_, ()>;
    fn state(&self) -> Answer<'_, RunState>;
    fn kill(&self);
}

/// What a command comes to.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send + 'a>>;

/// Commands a machine. Copies command the same one, at the same time too.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<dyn Control>);

impl Handle {
    /// Process id of the VMM.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Asks the VMM to do something; `Ok` means that it was accepted, not that it is done.
    pub async fn command(&self, command: Command) -> Result<(), ControlError> {
        self.0.command(command).await
    }

    /// What the machine is doing right now.
    pub async fn state(&self) -> Result<RunState, ControlError> {
        self.0.state().await
    }

    /// Ends the VMM without asking; [`Event::Exited`] follows.
    pub fn kill(&self) {
        self.0.kill();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("pid", &self.pid()).finish()
    }
}

/// What a machine tells, in order.
pub struct Events {
    waiting: mpsc::Receiver<Event>,
    exit: watch::Receiver<Option<Exit>>,
    /// The machine lives as long as somebody listens.
    _machine: Arc<dyn Send + Sync>,
}

impl Events {
    /// The next event; [`Event::Exited`] is the last one and is then repeated. Cancelling loses nothing.
    pub async fn next(&mut self) -> Event {
        match self.waiting.recv().await {
            Some(event) => event,
            None => Event::Exited(self.exited().await),
        }
    }

    async fn exited(&mut self) -> Exit {
        let known = self.exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        // Whoever tells of the machine is gone with the runtime: nothing will be told any more.
        match known {
            Some(exit) => exit,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Where a machine's events come from.
#[derive(Debug)]
pub struct Teller {
    waiting: Option<mpsc::Sender<Event>>,
    exit: watch::Sender<Option<Exit>>,
}

impl Teller {
    /// A teller, and the events of `machine`, which they keep alive.
    pub fn of(machine: Arc<dyn Send + Sync>) -> (Teller, Events) {
        let (sender, waiting) = mpsc::channel(WAITING);
        let (exit, exited) = watch::channel(None);
        (Teller { waiting: Some(sender), exit }, Events { waiting, exit: exited, _machine: machine })
    }

    /// Tells of something that is not the end.
    pub fn tell(&self, event: Event) {
        if let Some(Err(mpsc::error::TrySendError::Full(event))) =
            self.waiting.as_ref().map(|waiting| waiting.try_send(event))
        {
            tracing::debug!(?event, "nobody listens, an event is dropped");
        }
    }

    /// Tells of the end. Nothing follows.
    pub fn end(&mut self, exit: Exit) {
        self.exit.send_replace(Some(exit));
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::ExitCause;

    /// A guest that resets itself in a loop while nobody listens must not fill our memory, nor hide its end.
    #[tokio::test]
    async fn events_that_nobody_takes_are_bounded_and_the_end_is_kept() {
        let (mut teller, mut events) = Teller::of(Arc::new(()));
        for _ in 0..10 * WAITING {
            teller.tell(Event::Reset { guest: true });
        }
        let exit = Exit { cause: ExitCause::Code(0), stderr: String::new() };
        teller.end(exit.clone());
        for _ in 0..WAITING {
            assert_eq!(events.next().await, Event::Reset { guest: true });
        }
        assert_eq!(events.next().await, Event::Exited(exit.clone()));
        assert_eq!(events.next().await, Event::Exited(exit), "told again to those who ask again");
    }
}
