//! YAML as kubeadm writes it: sorted keys, long lines left whole, texts of several lines as literal blocks.

use serde::Serialize;

/// A value that has no YAML form, such as a map with keys that are not text.
#[derive(Debug, thiserror::Error)]
#[error("the value cannot be written as YAML: {0}")]
pub struct YamlError(String);

/// Renders `value`. Keys of a [`serde_json::Value`] come out sorted, those of structs in their order.
pub fn to_yaml(value: &impl Serialize) -> Result<String, YamlError> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).map_err(|error| YamlError(error.to_string()))
}
