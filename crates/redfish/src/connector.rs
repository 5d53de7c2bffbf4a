//! Opens BMCs: one line to each account of each BMC, shared by all who ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;

use crate::Bmc;
use crate::client::Client;
use crate::error::Error;
use crate::line::Line;
use crate::probe::answers;
use crate::session::farewell;
use crate::types::{Access, Origin, Patience};

/// Lines that are kept; above, those that nobody uses go.
const LINES: usize = 8_192;

/// Opens BMCs and keeps the lines to them.
pub struct Connector {
    owner: String,
    patience: Patience,
    lines: Mutex<HashMap<(Origin, String), Arc<Line>>>,
}

impl Connector {
    /// A connector whose sessions carry the mark `owner`: who has the same mark ends those that were left behind, so
    /// it belongs to one installation, and to one running process of it.
    #[must_use]
    pub fn new(owner: impl Into<String>, patience: Patience) -> Self {
        Self { owner: owner.into(), patience, lines: Mutex::default() }
    }

    /// A host behind a BMC. Nothing is asked yet, so this says nothing of whether the BMC answers.
    ///
    /// # Errors
    /// When the authorities to be trusted cannot be read.
    pub fn open(&self, access: &Access) -> Result<Arc<dyn Bmc>, Error> {
        Ok(Arc::new(Client::new(self.line(access)?, access.which.clone())))
    }

    /// Whether a BMC answers at all, by a question that needs no credentials.
    pub fn answers(&self, origin: Origin) -> impl Future<Output = bool> + Send + use<> {
        answers(origin, self.patience)
    }

    fn line(&self, access: &Access) -> Result<Arc<Line>, Error> {
        let key = (access.origin.clone(), access.credentials.user.clone());
        let mut lines = self.lines();
        let old = lines.get(&key).cloned();
        if let Some(line) = &old
            && line.credentials == access.credentials
            && line.trust == access.trust
        {
            return Ok(line.clone());
        }
        let Access { origin, credentials, trust, .. } = access.clone();
        let mut line = Line::new(origin, credentials, trust, self.owner.clone(), self.patience)?;
        if let Some(old) = old {
            if old.credentials == line.credentials {
                // Another trust does not make refused credentials good.
                line.refusals = old.refusals.clone();
            }
            farewell(old);
        }
        if lines.len() >= LINES {
            lines.retain(|_, line| Arc::strong_count(line) > 1);
        }
        let line = Arc::new(line);
        lines.insert(key, line.clone());
        Ok(line)
    }

    /// Ends all sessions, for an orderly end of the process.
    pub async fn leave(&self) {
        let lines: Vec<Arc<Line>> = self.lines().values().cloned().collect();
        join_all(lines.iter().map(async |line| {
            let mut talk = line.queue.lock().await;
            if let Err(error) = line.leave(&mut talk).await {
                tracing::debug!(bmc = %line.origin.host, %error, "a session was left to its time limit");
            }
        }))
        .await;
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<(Origin, String), Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        lines.drain().for_each(|(_, line)| farewell(line));
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("owner", &self.owner).finish_non_exhaustive()
    }
}
