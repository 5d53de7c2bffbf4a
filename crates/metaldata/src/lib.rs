//! What a server is told. In: a Metal3DataTemplate and what is known of one server, or the content of a host's Secrets.
//! Out: metadata and network data as OpenStack has them, and the files of a config drive. Never: a client, a clock, the
//! content of a Secret in an error.

mod configdrive;
mod error;
mod facts;
mod metadata;
mod networkdata;
mod pools;

pub use configdrive::{ConfigDrive, ConfigDriveError, Secrets, secret_data};
pub use error::RenderError;
pub use facts::{Facts, PoolAddress};
pub use metadata::render_metadata;
pub use networkdata::render_networkdata;
pub use pools::pools;

/// YAML as the field's tools write it; JSON objects come out with their keys sorted.
fn yaml(value: &serde_json::Value) -> Result<String, RenderError> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX, min_fold_chars: 0 };
    serde_saphyr::to_string_with_options(value, options).map_err(|error| RenderError::Yaml(error.to_string()))
}
