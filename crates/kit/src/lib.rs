//! The controller kit: what every controller of Scute is made with.
//!
//! Takes a client and reconcile functions, gives one watch per kind, a keyed work queue, server-side
//! apply that skips what is already so, conditions, finalizers, events, clients of tenants' API
//! servers and the webhook server. It knows no kind of ours and decides nothing.

pub mod admission;
mod changes;
mod client;
mod clock;
pub mod conditions;
pub mod controller;
pub mod decode;
mod event;
mod feed;
pub mod finalizer;
mod follow;
pub mod guard;
mod health;
mod hub;
pub mod json;
mod key;
pub mod ladder;
pub mod lease;
pub mod limits;
mod listen;
pub mod memory;
pub mod metrics;
mod objects;
mod occupied;
mod owned;
mod probes;
mod queue;
mod resync;
mod said;
mod source;
mod teller;
pub mod tenants;
mod text;
mod unreadable;
mod watch;
mod write;

pub use admission::{Admission, AdmissionRequest, FieldError, Operation, Told, Verdict, Versions};
pub use changes::when_changed;
pub use client::client;
pub use clock::Clock;
pub use controller::{Controller, Next, Why};
pub use event::{Notice, post_event};
pub use health::{Failing, Health};
pub use hub::Hub;
pub use key::{Key, Kind};
pub use kube::runtime::events::EventType;
pub use listen::listen;
pub use objects::Field;
pub use occupied::{Occupied, occupied};
pub use probes::probes;
pub use said::{chain, is_terminating, said};
pub use source::Source;
pub use unreadable::Unreadable;
pub use watch::{Found, Subscription, Watch};
pub use write::{Error, MANAGER, apply_body, patch_params, post_params};
