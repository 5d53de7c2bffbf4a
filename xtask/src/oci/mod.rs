//! Container images without a daemon. In: entries of layers and a configuration. Out: one tar in
//! OCI layout that containerd imports, the same bytes for the same input. It knows no image of ours.

mod layer;
mod layout;

pub use layer::{Layer, Owner};
pub use layout::{Config, Image, key, write};
