//! All that a decision about a host depends on.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::SecretReference;
use kube::ResourceExt;
use scute_agent::protocol::Said;
use scute_api::metal3::{BareMetalHost, CredentialsStatus};

use super::boot::Boot;
use super::credentials::PIN;
use super::network::Network;
use super::order::Order;
use crate::dataimage::Disc;
use scute_redfish as bmc;

/// All that a decision about a host depends on, beside its status.
pub struct Seen<'a> {
    /// The host.
    pub host: &'a BareMetalHost,
    /// Now.
    pub now: Timestamp,
    /// Who we are at the BMC.
    pub credentials: &'a Credentials,
    /// The latest order to the BMC.
    pub call: Call,
    /// The BMC was away, and answers again.
    pub back: bool,
    /// The ramdisk on the host.
    pub agent: Agent,
    /// Address of the medium that was made for the latest start.
    pub medium: String,
    /// Where agents call back.
    pub service: &'a str,
    /// How the ramdisk reaches us; looked at while none is here.
    pub network: &'a Network,
    /// What becomes of the CD drive when the host is powered on.
    pub disc: Disc,
    /// Whether everything is there that the image needs; looked at while provisioning only.
    pub material: Material,
    /// How long things may take.
    pub patience: Patience,
}

impl Seen<'_> {
    /// Whether the host is being deleted.
    pub fn is_deleted(&self) -> bool {
        self.host.metadata.deletion_timestamp.is_some()
    }

    /// The Secret with the credentials, at this version.
    pub fn credentials_status(&self, version: &str) -> CredentialsStatus {
        let name = self.host.spec.bmc.as_ref().map(|bmc| bmc.credentials_name.clone());
        let namespace = self.host.metadata.namespace.clone();
        CredentialsStatus {
            credentials: Some(SecretReference { name, namespace }),
            credentials_version: version.to_owned(),
        }
    }
}

/// Who we are at a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// There are none, or none that can be used; nothing is sent.
    Wrong(String),
    /// The Secret at this version.
    At(String),
}

/// The latest order to a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// There is none.
    Idle,
    /// It is being carried out.
    Running(Order),
    /// It has ended. Said once.
    Ended(Order, Result<bmc::State, bmc::Error>),
}

/// The ramdisk on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agent {
    /// Nobody wants it.
    Away,
    /// Wanted; it has not taken its token yet.
    Awaited(Boot),
    /// Another server than this host has come up; the sentence says how that was seen.
    Stranger(Boot, String),
    /// It has a session.
    Here(Session),
}

/// An agent with a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// How it came here.
    pub boot: Boot,
    /// Since when it has not been heard.
    pub silent: Duration,
    /// The kind of work that it was given, and how that stands.
    pub work: Option<(Job, Option<Said>)>,
}

/// Kinds of work. In one boot each is done once at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    /// Look at everything.
    Inspect,
    /// Remove what earlier owners left.
    Clean,
    /// Write the image.
    Write,
}

impl Job {
    /// Its id in a boot.
    pub fn id(self, nonce: &str) -> String {
        let word = match self {
            Self::Inspect => "inspect",
            Self::Clean => "clean",
            Self::Write => "write",
        };
        format!("{word}-{}", nonce.get(..8).unwrap_or(nonce))
    }
}

/// What a user changes about a host to have it tried again at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish(Option<i64>, Option<String>);

impl Wish {
    /// Its spec, and which certificate its BMC must show.
    pub fn of(host: &BareMetalHost) -> Self {
        Self(host.metadata.generation, host.annotations().get(PIN).cloned())
    }
}

/// What only this process knows; a new one looks anew.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What the user wanted at the last failure.
    pub wish: Option<Wish>,
    /// Nothing is tried before.
    pub due: Option<Timestamp>,
    /// The rest after a failure has ended early, as the BMC answered again.
    pub early: bool,
    /// Since when the BMC has failed without a success in between.
    pub failing_since: Option<Timestamp>,
    /// When it was last told something.
    pub asked: Option<Timestamp>,
    /// When it last said how the host is.
    pub looked: Option<Timestamp>,
    /// What it said.
    pub health: Option<bmc::Health>,
}

/// What an image needs beside itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// Everything is there.
    Ready,
    /// It is being fetched.
    Fetching,
    /// Somebody has to bring it; the sentence says what.
    Missing(String),
    /// It will not do.
    Wrong(String),
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the start of a host until its agent says hello.
    pub boot: Duration,
    /// An agent that works and is not heard for so long is lost.
    pub silence: Duration,
    /// Between two looks at a BMC.
    pub look: Duration,
    /// The first rest after a failure; doubles.
    pub rest: Duration,
    /// Until a BMC that did not answer is asked whether it does.
    pub probe: Duration,
    /// A deletion gives up a BMC that has failed for so long.
    pub deletion: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(1200),
            silence: Duration::from_secs(3 * scute_agent::protocol::PROGRESS_SECONDS),
            look: Duration::from_secs(60),
            rest: Duration::from_secs(30),
            probe: Duration::from_secs(30),
            deletion: Duration::from_secs(40),
        }
    }
}
