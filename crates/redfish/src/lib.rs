//! Port to the BMC. In: an [`Access`] (where it is, who we are there, whom we trust). Out: a [`Bmc`] that identifies a
//! host, powers it, says what it boots and what is in its CD drive; every write is read back, every request has a limit
//! in time. Never: Kubernetes, what a host is for; no password or token in an error or a log.

mod boot;
mod classify;
mod client;
mod connection;
mod connector;
mod document;
mod error;
mod inventory;
mod line;
mod media;
mod power;
mod probe;
mod session;
mod system;
mod tls;
mod types;
mod vendor;

use std::future::Future;
use std::pin::Pin;

pub use connector::Connector;
pub use error::Error;
pub use types::{
    Access, BootDevice, BootMode, BootSet, Credentials, Drive, Health, Identity, Inventory, NextBoot, Nic,
    Origin, Patience, Power, PowerAction, Processors, State, Trust, Which,
};

/// What a method of [`Bmc`] returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// One host, through its BMC. Every method may be repeated at any time, also after one that failed half-way.
pub trait Bmc: Send + Sync {
    /// Who the host is.
    fn identify(&self) -> Answer<'_, Identity>;

    /// Whether it runs, and how it is.
    fn state(&self) -> Answer<'_, State>;

    /// Changes its power, and answers when the BMC shows the change. [`Error::NotTaken`] when it does not within
    /// [`Patience::settle`], as with a guest that does not listen.
    fn power(&self, action: PowerAction) -> Answer<'_, ()>;

    /// Sets what the next start boots, once. To be set again before each start.
    fn boot_next(&self, boot: NextBoot) -> Answer<'_, BootSet>;

    /// Puts the image at this address into the CD drive, in place of what is there.
    fn insert<'a>(&'a self, url: &'a str) -> Answer<'a, ()>;

    /// Empties the CD drives.
    fn eject(&self) -> Answer<'_, ()>;

    /// Addresses of the images in the CD drives; one without a known address is an empty string.
    fn inserted(&self) -> Answer<'_, Vec<String>>;

    /// What the host is made of, as far as the BMC knows.
    fn inventory(&self) -> Answer<'_, Inventory>;

    /// SHA-256 of the certificate that the BMC showed last, lower-case hex; to be pinned by [`Trust::Pinned`].
    fn fingerprint(&self) -> Option<String>;

    /// Ends the session. The next request begins another.
    fn close(&self) -> Answer<'_, ()>;
}
