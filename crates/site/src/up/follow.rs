//! Follows what the site's init tells, until everything is up.

use super::UpError;
use crate::{
    Layout, Progress,
    node::control::{self, Ask, Event},
    supervisor,
};
use tokio::time::{Duration, Instant, sleep};

/// How long the supervisor may take to open its socket.
const FIRST_SIGN: Duration = Duration::from_secs(30);

/// Follows what the site's init tells.
pub struct Follow<'a> {
    pub layout: &'a Layout,
    pub progress: &'a dyn Progress,
    pub ask: Ask,
    pub began: Instant,
    pub node_ready: Option<Duration>,
}

impl Follow<'_> {
    /// When the Node was ready, if that was seen.
    pub async fn run(mut self) -> Result<Option<Duration>, UpError> {
        loop {
            let mut answers = self.connect().await?;
            loop {
                match answers.next::<Event>().await {
                    Ok(Some(Event::Up { .. })) => return Ok(self.node_ready),
                    Ok(Some(event)) => self.tell(event)?,
                    // The init died; its supervisor starts another one, which tells everything again.
                    Ok(None) | Err(_) => break,
                }
            }
            self.progress.note("the site's init ended and is started again");
            self.ask = Ask::Watch;
        }
    }

    /// Connects as soon as there is a socket: nobody can tell us of it before.
    async fn connect(&self) -> Result<control::Answers, UpError> {
        let socket = self.layout.control_socket();
        let until = Instant::now() + FIRST_SIGN;
        loop {
            match control::ask(&socket, self.ask).await {
                Ok(answers) => return Ok(answers),
                Err(_) if Instant::now() < until && self.supervisor_lives(until) => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(_) => {
                    let log = self.layout.log("site");
                    let tail = scute_processes::logs::tail(&log, 5);
                    return Err(UpError::Silent { log, tail });
                }
            }
        }
    }

    /// A supervisor needs a moment to take its lock; one that has none after that has ended.
    fn supervisor_lives(&self, until: Instant) -> bool {
        let waited = FIRST_SIGN.saturating_sub(until - Instant::now());
        waited < Duration::from_secs(3) || supervisor::running(self.layout).is_some()
    }

    fn tell(&mut self, event: Event) -> Result<(), UpError> {
        match event {
            Event::Started { step } => self.progress.start(&step),
            Event::Finished { step, millis, detail } => {
                if step == crate::node::bringup::NODE_READY {
                    self.node_ready = Some(self.began.elapsed());
                }
                self.progress.finish(&step, Duration::from_millis(millis), &detail);
            }
            Event::Failed { step, why } => {
                self.progress.fail(&step, &why);
                return Err(UpError::Step { step, why });
            }
            Event::Up { .. } => {}
        }
        Ok(())
    }
}
