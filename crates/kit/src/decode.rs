//! Whether an object can be read as its kind. Asked of every write that a handler could see: what no manager can decode
//! must not be stored, whatever the schema lets through. Pure.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::admission::FieldError;

/// Reads an object as a kind and drops it.
pub type Decoder = fn(&Value) -> Result<(), FieldError>;

/// The decoder of a kind. Its error names the field, its value and what was expected.
pub fn decode<K: DeserializeOwned>(object: &Value) -> Result<(), FieldError> {
    match serde_path_to_error::deserialize::<_, K>(object) {
        Ok(_) => Ok(()),
        Err(error) => {
            let path = error.path();
            let value = at(object, path).map(shown).unwrap_or_default();
            let path = if path.iter().len() == 0 { "object".to_owned() } else { path.to_string() };
            Err(FieldError::new(path, value, error.inner().to_string()))
        }
    }
}

fn at<'a>(object: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, segment| match segment {
        Segment::Map { key } => value.get(key),
        Segment::Seq { index } => value.get(index),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

/// A number or a short text; more would bury the message.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 100;
    match value {
        Value::Object(_) | Value::Array(_) => String::new(),
        Value::String(text) => text.chars().take(LONGEST).collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Kind {
        spec: Spec,
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Spec {
        sizes: Vec<i32>,
    }

    #[test]
    fn the_field_is_named_with_its_value() {
        let bad = decode::<Kind>(&json!({"spec": {"sizes": [1, 99_999_999_999_u64]}})).unwrap_err();
        assert_eq!((bad.path.as_str(), bad.value.as_str()), ("spec.sizes[1]", "99999999999"));
        let bad = decode::<Kind>(&json!({"metadata": {}})).unwrap_err();
        assert_eq!((bad.path.as_str(), bad.detail.as_str()), ("object", "missing field `spec`"));
        assert_eq!(decode::<Kind>(&json!({"spec": {"sizes": []}})), Ok(()));
    }
}
