//! The members of an etcd that runs beside the API servers of one cluster: who they are, how they fare, and how one is
//! taken out. What is asked is asked of one member, through whatever way leads to it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::Answer;

/// A member as the one that is asked knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number, which no other member of this etcd ever has.
    pub id: u64,
    /// Its name; empty as long as it was added but never started.
    pub name: String,
    /// Whether it only learns and has no vote.
    pub learner: bool,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
}

/// What one member says of itself and of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The number of the member that was asked.
    pub id: u64,
    /// The number of the one that leads; 0 when none does.
    pub leader: u64,
    /// All members, in the order of their numbers.
    pub members: Vec<Peer>,
    /// Alarms that are raised: number of the member, and for example `NOSPACE`.
    pub alarms: Vec<(u64, String)>,
    /// Why a read that needs a majority is not answered; `None` when it is.
    pub no_quorum: Option<String>,
}

impl View {
    /// The member of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Peer> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The one that leads.
    #[must_use]
    pub fn leader(&self) -> Option<&Peer> {
        self.members.iter().find(|member| member.id == self.leader)
    }
}

/// One member, as a client of the members' authority sees it. Every method may be repeated.
pub trait Members: Send + Sync {
    /// What it says.
    fn look(&self) -> Answer<'_, View>;

    /// Hands leadership to another. Only the one that leads can.
    fn move_leader(&self, to: u64) -> Answer<'_, ()>;

    /// Takes a member out; one that is not there any more is no error. etcd refuses what would cost it its majority.
    fn remove(&self, id: u64) -> Answer<'_, ()>;
}

/// What a client of the members needs. `Debug` hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Authority of the members' certificates, PEM.
    pub ca_pem: String,
    /// Client certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PEM. A secret.
    pub key_pem: String,
    /// Name in the member's certificate.
    pub server_name: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// A connection in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection in the making.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// The way to a member: called for each connection.
pub type Way = Arc<dyn Fn() -> Connecting + Send + Sync>;
