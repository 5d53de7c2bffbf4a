//! The controller kit: what every controller of Scute is made with.
//!
//! Takes a client and reconcile functions, gives one watch per kind, a keyed work queue, server-side
//! apply that skips what is already so, conditions, finalizers, events, clients of tenants' API
//! servers and the admission server. It knows no kind of ours and decides nothing.

pub mod admission;
mod changes;
mod client;
mod clock;
pub mod conditions;
pub mod controller;
pub mod decode;
mod event;
pub mod finalizer;
mod hub;
pub mod json;
pub mod ladder;
pub mod lease;
pub mod limits;
mod listen;
pub mod memory;
pub mod metrics;
mod occupied;
mod queue;
mod said;
pub mod tenants;
mod text;
mod watch;
mod write;

pub use admission::{Admission, AdmissionRequest, FieldError, Operation, Verdict};
pub use changes::when_changed;
pub use client::client;
pub use clock::Clock;
pub use controller::{Controller, Next, Why};
pub use hub::Hub;
pub use kube::runtime::events::EventType;
pub use listen::listen;
pub use occupied::{Occupied, occupied};
pub use said::{is_terminating, said};
pub use watch::{Key, Kind, Watch};
pub use write::{Error, MANAGER, apply_body, patch_params, post_params};
