//! A host behind a BMC.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use tokio::time::sleep;

use crate::error::Error;
use crate::line::Line;
use crate::types::{BootSet, Identity, Inventory, NextBoot, Power, PowerAction, State, Which};
use crate::{Answer, Bmc};

/// A host behind a BMC.
pub struct Client {
    pub line: Arc<Line>,
    pub which: Which,
    /// Address of its System, once found.
    pub system: OnceCell<String>,
}

impl Client {
    pub fn new(line: Arc<Line>, which: Which) -> Self {
        Self { line, which, system: OnceCell::new() }
    }

    /// Looks until it is so, or the limit is over. A BMC cannot be watched.
    pub async fn until(&self, limit: Duration, wanted: &Wanted<'_>) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let seen = self.look(wanted).await;
            let late = begun.elapsed() >= limit;
            match seen {
                Ok(None) => return Ok(()),
                Ok(Some(error)) if late => return Err(error),
                Err(error) if late || !error.is_transient() => return Err(error),
                Ok(Some(_)) | Err(_) => {}
            }
            sleep(self.line.patience.poll).await;
        }
    }

    /// What is not as wanted yet.
    async fn look(&self, wanted: &Wanted<'_>) -> Result<Option<Error>, Error> {
        match wanted {
            Wanted::Power(power) => self.look_at_power(*power).await,
            Wanted::Image { slot, url } => self.look_into(slot, *url).await,
        }
    }
}

/// What is looked for until it is so.
pub enum Wanted<'a> {
    /// This power.
    Power(Power),
    /// This image in this slot, or none.
    Image { slot: &'a str, url: Option<&'a str> },
}

impl Bmc for Client {
    fn identify(&self) -> Answer<'_, Identity> {
        Box::pin(self.read_identity())
    }

    fn state(&self) -> Answer<'_, State> {
        Box::pin(self.read_state())
    }

    fn power(&self, action: PowerAction) -> Answer<'_, ()> {
        Box::pin(self.change_power(action))
    }

    fn boot_next(&self, boot: NextBoot) -> Answer<'_, BootSet> {
        Box::pin(self.write_boot(boot))
    }

    fn insert<'a>(&'a self, url: &'a str) -> Answer<'a, ()> {
        Box::pin(self.insert_medium(url))
    }

    fn eject(&self) -> Answer<'_, ()> {
        Box::pin(self.eject_media())
    }

    fn inserted(&self) -> Answer<'_, Vec<String>> {
        Box::pin(self.read_media())
    }

    fn inventory(&self) -> Answer<'_, Inventory> {
        Box::pin(self.read_inventory())
    }

    fn fingerprint(&self) -> Option<String> {
        self.line.shown.get()
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let mut talk = self.line.queue.lock().await;
            self.line.leave(&mut talk).await
        })
    }
}
