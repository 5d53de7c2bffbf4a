//! Virtual media: finding a slot for CDs that works, learning what an insert demands, waiting until an eject is over.

use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::classify::Failure;
use crate::client::{Client, Wanted};
use crate::document::{flag, link, links, text, texts};
use crate::error::Error;
use crate::line::{Asked, Reply};
use crate::vendor::managers;

/// How often an insert is tried on one slot: each time with one more parameter, or after a wait.
const TRIES: usize = 8;
/// Waits among them, for an eject that still runs.
const WAITS: usize = 3;

/// What an insert demands beyond the image, as far as is known of this BMC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    protocol: bool,
    method: bool,
    credentials: bool,
    inserted: bool,
}

/// A slot as it was read.
struct Slot {
    path: String,
    reply: Reply,
}

impl Slot {
    fn takes_cds(&self) -> bool {
        let kinds = texts(&self.reply.document, "/MediaTypes");
        // Without a list it may; the insert will tell.
        kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind == "CD" || kind == "DVD"))
    }

    /// The image that is in it. Some keep the name of one that is gone: they say that nothing is connected.
    fn image(&self) -> Option<String> {
        let document = &self.reply.document;
        let image = text(document, "/Image").or_else(|| text(document, "/ImageName"));
        let connected = text(document, "/ConnectedVia").is_none_or(|via| via != "NotConnected");
        match flag(document, "/Inserted") {
            Some(true) => Some(image.unwrap_or_default()),
            Some(false) => None,
            None => image.filter(|_| connected),
        }
    }

    /// Whether somebody at a console has put something into it: not ours to take out.
    fn is_consoles(&self) -> bool {
        text(&self.reply.document, "/ConnectedVia").as_deref() == Some("Applet")
    }

    fn action(&self, name: &str) -> Option<String> {
        let target = text(&self.reply.document, &format!("/Actions/#VirtualMedia.{name}/target"))?;
        target.starts_with("/redfish").then_some(target)
    }

    /// Whether this image is in it, in the words of the BMC: some show the name of the file only, some nothing.
    fn holds(&self, url: &str) -> bool {
        let file = url.rsplit('/').next();
        self.image().is_some_and(|image| image.is_empty() || image == url || Some(image.as_str()) == file)
    }
}

impl Client {
    pub async fn insert_medium(&self, url: &str) -> Result<(), Error> {
        let mut errors = Vec::new();
        let slots = self.cd_slots().await?;
        if self.fill_one_of(&slots, url, &mut errors).await? {
            return Ok(());
        }
        // The System's slots may be for show; its Managers' then are the ones that work.
        let others = self.managers_slots(&self.read_system().await?.document).await?;
        let others: Vec<String> = others.into_iter().filter(|slot| !slots.contains(slot)).collect();
        let filled = self.fill_one_of(&others, url, &mut errors).await?;
        let path = self.system_path().await?;
        if filled {
            self.line.learned().slots.insert(path, others);
            return Ok(());
        }
        self.line.learned().slots.remove(&path);
        Err(together(errors))
    }

    pub async fn eject_media(&self) -> Result<(), Error> {
        for path in self.cd_slots().await? {
            let slot = self.slot(&path).await?;
            if slot.image().is_some() && !slot.is_consoles() {
                self.empty(&slot).await?;
            }
        }
        Ok(())
    }

    pub async fn read_media(&self) -> Result<Vec<String>, Error> {
        let mut images = Vec::new();
        for path in self.cd_slots().await? {
            images.extend(self.slot(&path).await?.image());
        }
        Ok(images)
    }

    /// The slots for CDs: the System's, else its Managers'.
    async fn cd_slots(&self) -> Result<Vec<String>, Error> {
        let path = self.system_path().await?;
        let known = self.line.learned().slots.get(&path).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let system = self.read_system().await?.document;
        let mut slots = match link(&system, "/VirtualMedia") {
            Some(collection) => self.slots_in(&collection).await?,
            None => Vec::new(),
        };
        if slots.is_empty() {
            slots = self.managers_slots(&system).await?;
        }
        self.line.learned().slots.insert(path, slots.clone());
        Ok(slots)
    }

    async fn managers_slots(&self, system: &Value) -> Result<Vec<String>, Error> {
        let mut slots = Vec::new();
        for manager in managers(system) {
            if let Some(collection) = link(&self.line.get(&manager).await?.document, "/VirtualMedia") {
                slots.extend(self.slots_in(&collection).await?);
            }
        }
        Ok(slots)
    }

    /// Those of a list that take CDs.
    async fn slots_in(&self, collection: &str) -> Result<Vec<String>, Error> {
        let members = match self.line.get(collection).await {
            Ok(reply) => links(&reply.document, "/Members"),
            Err(Error::NotSupported(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut slots = Vec::new();
        for path in members {
            match self.slot(&path).await {
                Ok(slot) if slot.takes_cds() => slots.push(path),
                Ok(_) | Err(Error::NotSupported(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(slots)
    }

    /// Puts the image into the first slot that takes it; false when none does, which the errors explain.
    async fn fill_one_of(&self, slots: &[String], url: &str, errors: &mut Vec<Error>) -> Result<bool, Error> {
        for path in slots {
            match self.fill(path, url).await {
                Ok(()) => return Ok(true),
                // This slot is for something else, or stuck; the next one may do.
                Err(error @ (Error::Rejected { .. } | Error::NotSupported(_) | Error::NotTaken { .. })) => {
                    errors.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn slot(&self, path: &str) -> Result<Slot, Error> {
        Ok(Slot { path: path.to_owned(), reply: self.line.get(path).await? })
    }

    /// Puts the image into this slot.
    async fn fill(&self, path: &str, url: &str) -> Result<(), Error> {
        let mut slot = self.slot(path).await?;
        if slot.holds(url) {
            return Ok(());
        }
        if slot.is_consoles() {
            return Err(Error::NotSupported(format!("{path} is used by a console")));
        }
        if slot.image().is_some() {
            self.empty(&slot).await?;
            slot = self.slot(path).await?;
        }
        match slot.action("InsertMedia") {
            Some(target) => self.negotiate(&target, url).await?,
            None => {
                let body = json!({"Image": url, "Inserted": true, "WriteProtected": true});
                let written = self.line.patch(path, &body, slot.reply.etag).await;
                written.map_err(|asked| self.line.told(asked))?;
            }
        }
        let wanted = Wanted::Image { slot: path, url: Some(url) };
        self.until(self.line.patience.settle, &wanted).await
    }

    /// What of a slot is not as wanted yet.
    pub async fn look_into(&self, path: &str, url: Option<&str>) -> Result<Option<Error>, Error> {
        let slot = self.slot(path).await?;
        let found = slot.image();
        if url.map_or_else(|| found.is_none(), |url| slot.holds(url)) {
            return Ok(None);
        }
        let (wanted, found) = (url.unwrap_or_default().to_owned(), found.unwrap_or_default());
        Ok(Some(Error::NotTaken { field: "Image", wanted, found }))
    }

    /// Asks for an insert with as little as the BMC takes, and adds what it says is missing.
    async fn negotiate(&self, target: &str, url: &str) -> Result<(), Error> {
        let mut wanted = self.line.learned().insert.clone();
        let mut waits = 0;
        for _ in 0..TRIES {
            let failure = match self.line.post(target, &wanted.body(url)).await {
                Ok(_) => {
                    self.line.learned().insert = wanted;
                    return Ok(());
                }
                Err(Asked::Failed(failure)) => failure,
                Err(asked) => return Err(self.line.told(asked)),
            };
            if wanted.add(&failure) {
                continue;
            }
            // An eject goes on after it was answered; an insert meanwhile is some error of the BMC's own.
            if failure.status < 500 || waits == WAITS {
                return Err(self.line.told(Asked::Failed(failure)));
            }
            waits += 1;
            sleep(self.line.patience.poll).await;
        }
        Err(Error::NotSupported("it asks for ever more to insert a medium".into()))
    }

    /// Takes out what is in this slot, and waits until it is.
    async fn empty(&self, slot: &Slot) -> Result<(), Error> {
        let mut waits = 0;
        while let Err(error) = self.ask_to_empty(slot).await {
            if !matches!(error, Error::Busy { .. }) || waits == WAITS {
                return Err(error);
            }
            waits += 1;
            sleep(self.line.patience.poll).await;
            // An error of the BMC's own does not say that nothing was done.
            if self.look_into(&slot.path, None).await?.is_none() {
                return Ok(());
            }
        }
        let wanted = Wanted::Image { slot: &slot.path, url: None };
        self.until(self.line.patience.settle, &wanted).await
    }

    async fn ask_to_empty(&self, slot: &Slot) -> Result<(), Error> {
        let written = match slot.action("EjectMedia") {
            // With a body, though there is nothing to say: without one some answer 400 or 415.
            Some(target) => self.line.post(&target, &json!({})).await,
            None => {
                let body = json!({"Image": null, "Inserted": false});
                self.line.patch(&slot.path, &body, slot.reply.etag.clone()).await
            }
        };
        written.map(|_| ()).map_err(|asked| self.line.told(asked))
    }
}

/// What went wrong with each slot, as one error.
fn together(mut errors: Vec<Error>) -> Error {
    match errors.pop() {
        None => Error::NotSupported("it has no virtual CD".into()),
        Some(only) if errors.is_empty() => only,
        Some(last) => {
            errors.push(last);
            let words = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Error::Rejected { field: Some("Image".into()), words }
        }
    }
}

impl Negotiated {
    fn body(&self, url: &str) -> Value {
        let mut body = Map::new();
        body.insert("Image".into(), json!(url));
        if self.inserted {
            body.insert("Inserted".into(), json!(true));
            body.insert("WriteProtected".into(), json!(true));
        }
        if self.protocol {
            let scheme = url.split(':').next().unwrap_or_default().to_ascii_uppercase();
            body.insert("TransferProtocolType".into(), json!(scheme));
        }
        if self.method {
            body.insert("TransferMethod".into(), json!("Stream"));
        }
        if self.credentials {
            // Demanded, and not needed: the address of an image carries its own proof.
            body.insert("UserName".into(), json!(""));
            body.insert("Password".into(), json!(""));
        }
        Value::Object(body)
    }

    /// Takes in what a failure says is missing; false when that is nothing new.
    fn add(&mut self, failure: &Failure) -> bool {
        let mut next = self.clone();
        if failure.mentions("TransferProtocolType") {
            next.protocol = true;
        } else if failure.mentions("TransferMethod") {
            next.protocol = true;
            next.method = true;
        } else if failure.mentions("UserName") || failure.mentions("Password") {
            next.credentials = true;
        } else if failure.mentions("Inserted") || failure.mentions("WriteProtected") {
            next.inserted = true;
        } else if failure.status == 400 && failure.says_nothing() {
            // One group demands a user name and does not say so.
            next.credentials = true;
        }
        let new = next != *self;
        *self = next;
        new
    }
}
