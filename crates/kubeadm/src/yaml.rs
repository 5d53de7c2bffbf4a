//! YAML as kubeadm writes it: sorted keys, long lines left whole, texts of several lines as literal blocks.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// A value that has no YAML form, such as a map with keys that are not text.
#[derive(Debug, thiserror::Error)]
#[error("the value cannot be written as YAML: {0}")]
pub struct YamlError(String);

/// Renders `value`. Keys of a [`serde_json::Value`] come out sorted, those of structs in their order.
pub fn to_yaml(value: &impl Serialize) -> Result<String, YamlError> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX, min_fold_chars: 0 };
    serde_saphyr::to_string_with_options(value, options).map_err(|error| YamlError(error.to_string()))
}

/// A text that is rendered as a jinja template after we wrote it. The template engine works on the YAML source, so a
/// quote that YAML escapes (`"{{ ds[\"x\"] }}"`) would be a syntax error in it: such texts become literal blocks.
#[derive(Clone, Copy)]
pub(crate) struct Template<'a>(pub(crate) &'a str);

impl Serialize for Template<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0;
        let jinja = ["{{", "{%", "{#"].iter().any(|opening| text.contains(opening));
        match jinja && text.contains(['"', '\\']) {
            true => serde_saphyr::LitStr(text).serialize(serializer),
            false => text.serialize(serializer),
        }
    }
}

/// A document in which every text is a [`Template`].
pub(crate) struct TemplateValue<'a>(pub(crate) &'a Value);

impl Serialize for TemplateValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) => Template(text).serialize(serializer),
            Value::Array(items) => serializer.collect_seq(items.iter().map(TemplateValue)),
            Value::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &TemplateValue(value))?;
                }
                map.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}
