//! Where the controller and the agents meet: what is wanted of each host's agent, and what it said. Lost with the process,
//! but for the [`Boot`], which stands in a Secret beside the host.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use scute_agent::protocol::{Said, Work};
use scute_api::metal3::BareMetalHost;
use scute_kit::{Hub, Key, occupied};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::seal::Seal;
use super::who::Who;
use crate::baremetalhost::boot::Boot;
use crate::baremetalhost::seen::{Agent, Job, Session};

/// A manager that has just started hears agents that could not reach it when they next try.
const GRACE: Duration = Duration::from_secs(45);
/// Who writes the Secrets.
const MANAGER: &str = "scute-metal-agent";
/// The only field of the Secrets.
const FIELD: &str = "boot";

/// What is known of the agents.
pub struct Desk {
    pub(super) hub: Arc<Hub>,
    pub(super) seal: Seal,
    seats: Mutex<HashMap<String, Seat>>,
    wake: UnboundedSender<Key>,
}

/// What is known of one host's agent.
pub(super) struct Seat {
    pub host: Key,
    pub boot: Option<Boot>,
    pub given: Option<Given>,
    /// An earlier process may have given work, and it is not known yet whether that is wanted.
    pub undecided: bool,
    /// Why who came with the token is not this host.
    pub stranger: Option<String>,
    /// Which server it is.
    pub who: Who,
    /// When it was last heard, or will have been.
    pub heard: Instant,
    /// Questions that are being held back: who asks is there.
    pub asking: usize,
    /// The Secret is written by one at a time, with what is known then.
    writing: Arc<tokio::sync::Mutex<()>>,
    pub told: Arc<Notify>,
    /// For the next Secret.
    owner: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>,
}

/// Work, and how it stands.
pub(super) struct Given {
    pub job: Job,
    pub id: String,
    pub work: Work,
    pub said: Option<Said>,
}

/// Why the Secret of a start cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The API server.
    #[error("{0}")]
    Api(#[from] scute_kit::Error),
    /// The name is taken.
    #[error("the Secret {0} is somebody else's: delete or rename it, the host needs it")]
    Taken(Key),
    /// No randomness.
    #[error("{0}")]
    Random(#[from] scute_pki::Error),
}

impl Desk {
    /// Knows nobody yet. The receiver gets the keys of hosts whose agents said something.
    pub fn new(hub: &Arc<Hub>, seal: Seal) -> (Arc<Self>, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        let desk = Self { hub: Arc::clone(hub), seal, seats: Mutex::default(), wake };
        (Arc::new(desk), woken)
    }

    /// Reads what an earlier process left of a host, once.
    ///
    /// # Errors
    /// When it cannot be read, or is somebody else's.
    pub async fn open(&self, host: &BareMetalHost) -> Result<(), DeskError> {
        let uid = host.uid().unwrap_or_default();
        if let Some(seat) = self.seats().get_mut(&uid) {
            seat.who = Who::of(host);
            return Ok(());
        }
        let at = secret_key(&Key::of(host));
        let found = self.hub.get::<Secret>(&at).await?;
        let occupant = occupied(found.as_ref().map(|secret| &secret.metadata), &uid, None);
        if !occupant.is_writable() {
            return Err(DeskError::Taken(at));
        }
        let boot = found.and_then(|secret| {
            let ByteString(text) = secret.data?.remove(FIELD)?;
            serde_json::from_slice(&text).ok()
        });
        let seat = Seat {
            host: Key::of(host),
            undecided: boot.is_some(),
            boot,
            given: None,
            stranger: None,
            who: Who::of(host),
            heard: Instant::now() + GRACE,
            asking: 0,
            writing: Arc::default(),
            told: Arc::default(),
            owner: host.controller_owner_ref(&()),
        };
        self.seats().entry(uid).or_insert(seat);
        Ok(())
    }

    /// A new start from virtual media, remembered before anything is done.
    ///
    /// # Errors
    /// When it cannot be remembered.
    pub async fn begin(&self, uid: &str, boot: Boot) -> Result<(), DeskError> {
        let mut nonce = [0; 16];
        scute_pki::system_random(&mut nonce)?;
        self.set(uid, Some(Boot { nonce: hex::encode(nonce), ..boot })).await
    }

    /// Remembers more of the start.
    ///
    /// # Errors
    /// When it cannot be remembered.
    pub async fn note(&self, uid: &str, change: impl FnOnce(&mut Boot)) -> Result<(), DeskError> {
        if let Some(boot) = self.seats().get_mut(uid).and_then(|seat| seat.boot.as_mut()) {
            change(boot);
        }
        self.save(uid).await
    }

    /// No agent is wanted any more.
    ///
    /// # Errors
    /// When what is remembered of the last cannot be removed.
    pub async fn dismiss(&self, uid: &str) -> Result<(), DeskError> {
        self.set(uid, None).await
    }

    async fn set(&self, uid: &str, boot: Option<Boot>) -> Result<(), DeskError> {
        if let Some(seat) = self.seats().get_mut(uid) {
            (seat.boot, seat.given, seat.stranger, seat.undecided) = (boot, None, None, false);
            seat.told.notify_waiters();
        }
        self.save(uid).await
    }

    /// Writes what is known now.
    pub(super) async fn save(&self, uid: &str) -> Result<(), DeskError> {
        let Some(writing) = self.seats().get(uid).map(|seat| Arc::clone(&seat.writing)) else {
            return Ok(());
        };
        let _turn = writing.lock().await;
        let Some((secret, wanted)) = self.seats().get(uid).map(|seat| (seat.secret(), seat.boot.is_some()))
        else {
            return Ok(());
        };
        match wanted {
            true => _ = self.hub.apply(MANAGER, &secret).await?,
            false => self.hub.delete(&secret).await?,
        }
        Ok(())
    }

    /// The agent of a host.
    pub fn agent(&self, uid: &str) -> Agent {
        let seats = self.seats();
        let Some(seat) = seats.get(uid) else { return Agent::Away };
        match &seat.boot {
            None => Agent::Away,
            Some(boot) if boot.taken.is_none() => match &seat.stranger {
                Some(why) => Agent::Stranger(boot.clone(), why.clone()),
                None => Agent::Awaited(boot.clone()),
            },
            Some(boot) => Agent::Here(Session {
                boot: boot.clone(),
                silent: if seat.asking > 0 { Duration::ZERO } else { seat.heard.elapsed() },
                work: seat.given.as_ref().map(|given| (given.job, given.said.clone())),
            }),
        }
    }

    /// Gives the agent of a host something to do.
    pub fn offer(&self, uid: &str, job: Job, work: impl FnOnce(String) -> Work) {
        let mut seats = self.seats();
        let Some(seat) = seats.get_mut(uid) else { return };
        let Some(boot) = &seat.boot else { return };
        let id = job.id(&boot.nonce);
        seat.given = Some(Given { job, work: work(id.clone()), id, said: None });
        seat.undecided = false;
        seat.told.notify_waiters();
    }

    /// Forgets a host that is gone.
    pub fn forget(&self, uid: &str) {
        self.seats().remove(uid);
    }

    /// Name of the file of the medium for the present start.
    pub fn medium(&self, uid: &str) -> Option<String> {
        let seats = self.seats();
        Some(self.seal.medium(uid, &seats.get(uid)?.boot.as_ref()?.nonce))
    }

    pub(super) fn seats(&self) -> MutexGuard<'_, HashMap<String, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self, host: &Key) {
        // A closed channel means that the controller is gone.
        let _ = self.wake.send(host.clone());
    }
}

impl Seat {
    fn secret(&self) -> Secret {
        let at = secret_key(&self.host);
        let data = self.boot.as_ref().and_then(|boot| serde_json::to_vec(boot).ok());
        Secret {
            metadata: ObjectMeta {
                name: Some(at.name),
                namespace: Some(at.namespace),
                owner_references: self.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: data.map(|data| BTreeMap::from([(FIELD.to_owned(), ByteString(data))])),
            ..Secret::default()
        }
    }
}

/// The Secret of a host's start.
fn secret_key(host: &Key) -> Key {
    Key::new(host.namespace.clone(), format!("{}-agent", host.name))
}
