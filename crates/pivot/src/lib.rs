//! From a seed to a management cluster that manages itself: its first Cluster on servers is made by the seed, gets Scute, and
//! is moved into itself with its hosts.
//!
//! In: a client of the seed, [`Manifests`], what is to be installed. Out: a kubeconfig, and a seed that is needed no more.
//! Never: makes the seed, asks a server for anything, applies anything once the move may have begun.

mod configuration;
mod error;
mod manifests;
mod run;
mod seed;
mod state;
mod target;

pub use configuration::configuration;
pub use error::PivotError;
pub use manifests::{ManifestError, Manifests};
pub use run::Pivot;
pub use seed::{RECORD_TYPE, record_name};
