//! Whether a value is what its schema says.

use regex::RegexBuilder;
use scute_kit::FieldError;
use serde_json::Value;

use super::format;
use super::schema::Schema;

/// Faults of one value that are told.
const MOST: usize = 20;
/// Memory of a regular expression, in bytes.
const LARGEST_PATTERN: usize = 1 << 20;

/// A value as it is shown in a message.
pub(super) fn shown(value: &Value) -> String {
    let mut text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() > 100 {
        let end = (0..=100).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// A pattern, read.
pub(super) fn pattern(text: &str) -> Result<regex::Regex, String> {
    let read = RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build();
    read.map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())
}

impl Schema {
    /// Adds what is wrong with a value.
    pub fn validate(&self, path: &str, value: &Value, errors: &mut Vec<FieldError>) {
        if errors.len() >= MOST {
            return;
        }
        let mut wrong = |detail: String| errors.push(FieldError::new(path, shown(value), detail));
        if let Some(expected) = self.wrong_type(value) {
            return wrong(format!("must be {expected}"));
        }
        if let Some(all) = self.enum_.as_ref().filter(|all| !all.contains(value)) {
            let all: Vec<_> = all.iter().take(20).map(shown).collect();
            wrong(format!("must be one of {}", all.join(", ")));
        }
        match value {
            Value::String(text) => self.text(text).into_iter().for_each(&mut wrong),
            Value::Number(number) => {
                self.number(number.as_f64().unwrap_or_default()).into_iter().for_each(&mut wrong)
            }
            Value::Array(items) => {
                self.list(items).into_iter().for_each(&mut wrong);
                for (at, item) in items.iter().enumerate() {
                    if let Some(schema) = &self.items {
                        schema.validate(&format!("{path}[{at}]"), item, errors);
                    }
                }
            }
            Value::Object(fields) => {
                self.object(fields.len()).into_iter().for_each(&mut wrong);
                self.fields(path, fields, errors);
            }
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(path, value, errors);
    }

    fn wrong_type(&self, value: &Value) -> Option<&'static str> {
        if self.int_or_string == Some(true) {
            let fits = value.is_string() || value.is_i64() || value.is_u64();
            return (!fits).then_some("a whole number or a text");
        }
        let (fits, expected) = match self.type_.as_deref()? {
            "object" => (value.is_object(), "an object"),
            "array" => (value.is_array(), "a list"),
            "string" => (value.is_string(), "a text"),
            "boolean" => (value.is_boolean(), "true or false"),
            "integer" => {
                let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
                (value.is_number() && whole, "a whole number")
            }
            "number" => (value.is_number(), "a number"),
            _ => return None,
        };
        (!fits).then_some(expected)
    }

    fn text(&self, text: &str) -> Vec<String> {
        let (mut wrong, letters) = (Vec::new(), text.chars().count() as u64);
        if let Some(most) = self.max_length.filter(|most| letters > *most) {
            wrong.push(format!("must have at most {most} letters"));
        }
        if let Some(least) = self.min_length.filter(|least| letters < *least) {
            wrong.push(format!("must have at least {least} letters"));
        }
        if let Some(expression) = &self.pattern
            && !pattern(expression).is_ok_and(|expression| expression.is_match(text))
        {
            wrong.push(format!("must match {expression}"));
        }
        if let Some(format) = &self.format
            && !format::holds(format, text)
        {
            wrong.push(format!("must be a {format}"));
        }
        wrong
    }

    #[allow(clippy::cast_precision_loss)] // as JSON has its numbers
    fn number(&self, number: f64) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(most) = self.maximum {
            let exclusive = self.exclusive_maximum == Some(true);
            if number > most as f64 || (exclusive && number >= most as f64) {
                wrong.push(format!("must be {} {most}", if exclusive { "below" } else { "at most" }));
            }
        }
        if let Some(least) = self.minimum {
            let exclusive = self.exclusive_minimum == Some(true);
            if number < least as f64 || (exclusive && number <= least as f64) {
                wrong.push(format!("must be {} {least}", if exclusive { "above" } else { "at least" }));
            }
        }
        wrong
    }

    fn list(&self, items: &[Value]) -> Vec<String> {
        let (mut wrong, length) = (Vec::new(), items.len() as u64);
        if let Some(most) = self.max_items.filter(|most| length > *most) {
            wrong.push(format!("must have at most {most} items"));
        }
        if let Some(least) = self.min_items.filter(|least| length < *least) {
            wrong.push(format!("must have at least {least} items"));
        }
        if self.unique_items == Some(true) {
            let mut all: Vec<_> = items.iter().map(ToString::to_string).collect();
            all.sort();
            if all.windows(2).any(|pair| pair[0] == pair[1]) {
                wrong.push("must not have an item twice".to_owned());
            }
        }
        wrong
    }

    fn object(&self, fields: usize) -> Vec<String> {
        let (mut wrong, fields) = (Vec::new(), fields as u64);
        if let Some(most) = self.max_properties.filter(|most| fields > *most) {
            wrong.push(format!("must have at most {most} fields"));
        }
        if let Some(least) = self.min_properties.filter(|least| fields < *least) {
            wrong.push(format!("must have at least {least} fields"));
        }
        wrong
    }

    fn fields(&self, path: &str, fields: &serde_json::Map<String, Value>, errors: &mut Vec<FieldError>) {
        for name in self.required.iter().filter(|name| !fields.contains_key(*name)) {
            errors.push(FieldError::new(format!("{path}.{name}"), "", "is required"));
        }
        for (name, value) in fields {
            let path = format!("{path}.{name}");
            match (self.properties.get(name), &self.additional_properties) {
                (Some(schema), _) => schema.validate(&path, value, errors),
                (None, Some(schema)) => schema.validate(&path, value, errors),
                (None, None) if self.keeps_unknown() || self.type_.as_deref() != Some("object") => {}
                (None, None) => {
                    let known: Vec<_> = self.properties.keys().take(20).map(String::as_str).collect();
                    let detail = format!("the variable has no such field; it has {}", known.join(", "));
                    errors.push(FieldError::new(path, shown(value), detail));
                }
            }
        }
    }

    fn combined(&self, path: &str, value: &Value, errors: &mut Vec<FieldError>) {
        let holds = |schema: &Self| {
            let mut errors = Vec::new();
            schema.validate(path, value, &mut errors);
            errors.is_empty()
        };
        self.all_of.iter().for_each(|schema| schema.validate(path, value, errors));
        let mut wrong = |detail: &str| errors.push(FieldError::new(path, shown(value), detail));
        if !self.any_of.is_empty() && !self.any_of.iter().any(holds) {
            wrong("must match one of the schemas in anyOf");
        }
        if !self.one_of.is_empty() && self.one_of.iter().filter(|schema| holds(schema)).count() != 1 {
            wrong("must match exactly one of the schemas in oneOf");
        }
        if self.not.as_deref().is_some_and(holds) {
            wrong("must not match the schema in not");
        }
    }
}
