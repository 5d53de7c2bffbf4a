//! What a template can call besides Go's own functions: those of sprig that classes use, each the same whenever it is
//! asked, and `toYaml`. No time, no chance, no environment.

mod collections;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gotmpl::{FuncMap, Value};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::guard::{add, add_growing_builtins};

/// What makes a text of a text.
type Text = fn(&str) -> String;
/// What makes something of two texts.
type Texts = fn(&str, &str) -> Value;

/// All of them.
pub fn all() -> FuncMap {
    let mut functions = FuncMap::new();
    add_growing_builtins(&mut functions);
    choices(&mut functions);
    texts(&mut functions);
    encodings(&mut functions);
    collections::add_all(&mut functions);
    functions
}

fn text(value: &Value) -> String {
    match value {
        Value::Nil => String::new(),
        other => other.to_string(),
    }
}

fn string(value: impl AsRef<str>) -> Value {
    Value::String(value.as_ref().into())
}

fn arguments<const N: usize>(given: &[Value]) -> Result<&[Value; N], String> {
    given.try_into().map_err(|_| format!("wants {N} arguments, has {}", given.len()))
}

fn whole(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Uint(number) => i64::try_from(*number).map_err(|_| format!("{number} is too large")),
        Value::Float(number) => Ok(*number as i64),
        Value::Bool(is) => Ok(i64::from(*is)),
        Value::Nil => Ok(0),
        other => {
            let text = other.to_string();
            text.trim().parse().map_err(|_| format!("{text:?} is no whole number"))
        }
    }
}

fn choices(functions: &mut FuncMap) {
    add(functions, "default", |given| {
        let [otherwise, rest @ ..] = given else { return Err("wants a default".to_owned()) };
        let value = rest.first().filter(|value| value.is_truthy());
        Ok(value.unwrap_or(otherwise).clone())
    });
    add(functions, "empty", |given| {
        let [value] = arguments(given)?;
        Ok(Value::Bool(!value.is_truthy()))
    });
    add(functions, "coalesce", |given| {
        Ok(given.iter().find(|value| value.is_truthy()).cloned().unwrap_or(Value::Nil))
    });
    add(functions, "ternary", |given| {
        let [yes, no, is] = arguments(given)?;
        Ok(if is.is_truthy() { yes } else { no }.clone())
    });
    add(functions, "fail", |given| {
        let [message] = arguments(given)?;
        Err(text(message))
    });
    add(functions, "kindIs", |given| {
        let [kind, value] = arguments(given)?;
        Ok(Value::Bool(kind_of(value) == text(kind)))
    });
    add(functions, "kindOf", |given| {
        let [value] = arguments(given)?;
        Ok(string(kind_of(value)))
    });
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Uint(_) => "uint64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        _ => "invalid",
    }
}

fn texts(functions: &mut FuncMap) {
    let one: [(&'static str, Text); 9] = [
        ("upper", |text| text.to_uppercase()),
        ("lower", |text| text.to_lowercase()),
        ("trim", |text| text.trim().to_owned()),
        ("nospace", |text| text.chars().filter(|letter| !letter.is_whitespace()).collect()),
        ("toString", str::to_owned),
        ("squote", |text| format!("'{text}'")),
        ("title", title),
        ("sha256sum", |text| hex::encode(Sha256::digest(text))),
        ("b64enc", |text| STANDARD.encode(text)),
    ];
    for (name, change) in one {
        add(functions, name, move |given| {
            let [value] = arguments(given)?;
            Ok(string(change(&text(value))))
        });
    }
    add(functions, "quote", |given| {
        let quoted: Vec<_> = given
            .iter()
            .filter(|value| !matches!(value, Value::Nil))
            .map(|value| quoted(&text(value)))
            .collect();
        Ok(string(quoted.join(" ")))
    });
    let two: [(&'static str, Texts); 9] = [
        ("trimAll", |cut, text| string(text.trim_matches(|letter| cut.contains(letter)))),
        ("trimPrefix", |cut, text| string(text.strip_prefix(cut).unwrap_or(text))),
        ("trimSuffix", |cut, text| string(text.strip_suffix(cut).unwrap_or(text))),
        ("contains", |part, text| Value::Bool(text.contains(part))),
        ("hasPrefix", |part, text| Value::Bool(text.starts_with(part))),
        ("hasSuffix", |part, text| Value::Bool(text.ends_with(part))),
        ("splitList", |at, text| Value::List(text.split(at).map(string).collect())),
        ("indent", |width, text| string(indented(width, text))),
        ("nindent", |width, text| string(format!("\n{}", indented(width, text)))),
    ];
    for (name, change) in two {
        add(functions, name, move |given| {
            let [first, second] = arguments(given)?;
            Ok(change(&text(first), &text(second)))
        });
    }
    add(functions, "replace", |given| {
        let [old, new, within] = arguments(given)?;
        let (old, new, within) = (text(old), text(new), text(within));
        let grown = within.matches(old.as_str()).count().saturating_mul(new.len());
        bounded(grown)?;
        Ok(string(within.replace(&old, &new)))
    });
    add(functions, "repeat", |given| {
        let [times, of] = arguments(given)?;
        let (times, of) = (usize::try_from(whole(times)?).unwrap_or_default(), text(of));
        bounded(times.saturating_mul(of.len()))?;
        Ok(string(of.repeat(times)))
    });
    add(functions, "trunc", |given| {
        let [length, of] = arguments(given)?;
        let (length, letters) = (whole(length)?, text(of).chars().collect::<Vec<_>>());
        let many = usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX).min(letters.len());
        let part = if length < 0 { &letters[letters.len() - many..] } else { &letters[..many] };
        Ok(string(part.iter().collect::<String>()))
    });
    add(functions, "substr", |given| {
        let [start, end, of] = arguments(given)?;
        let letters: Vec<_> = text(of).chars().collect();
        let place = |at: i64| usize::try_from(at).ok().filter(|at| *at <= letters.len());
        let start = place(whole(start)?).unwrap_or_default();
        let end = place(whole(end)?).unwrap_or(letters.len()).max(start);
        Ok(string(letters[start..end].iter().collect::<String>()))
    });
    add(functions, "cat", |given| {
        let parts: Vec<_> = given.iter().filter(|value| !matches!(value, Value::Nil)).map(text).collect();
        Ok(string(parts.join(" ")))
    });
}

fn bounded(size: usize) -> Result<(), String> {
    if size > super::LARGEST { Err("too much".to_owned()) } else { Ok(()) }
}

fn title(text: &str) -> String {
    let mut begins = true;
    let letters = text.chars().flat_map(|letter| {
        let upper = begins;
        begins = letter.is_whitespace();
        if upper { letter.to_uppercase().collect::<Vec<_>>() } else { vec![letter] }
    });
    letters.collect()
}

/// As Go's `%q`: JSON has the same escapes for what stands in YAML.
fn quoted(text: &str) -> String {
    Json::from(text).to_string()
}

fn indented(width: &str, text: &str) -> String {
    let width = width.parse::<usize>().unwrap_or_default().min(256);
    let lines = text.split('\n').map(|line| format!("{}{line}", " ".repeat(width)));
    lines.collect::<Vec<_>>().join("\n")
}

fn encodings(functions: &mut FuncMap) {
    add(functions, "b64dec", |given| {
        let [value] = arguments(given)?;
        let bytes = STANDARD.decode(text(value)).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map(string).map_err(|_| "it is no text".to_owned())
    });
    for name in ["toJson", "toRawJson"] {
        add(functions, name, |given| {
            let [value] = arguments(given)?;
            Ok(string(json(value).to_string()))
        });
    }
    add(functions, "toPrettyJson", |given| {
        let [value] = arguments(given)?;
        serde_json::to_string_pretty(&json(value)).map(string).map_err(|error| error.to_string())
    });
    add(functions, "fromJson", |given| {
        let [value] = arguments(given)?;
        let read: Json = serde_json::from_str(&text(value)).map_err(|error| error.to_string())?;
        Ok(super::to_data(&read))
    });
    add(functions, "toYaml", |given| {
        let [value] = arguments(given)?;
        let yaml = serde_saphyr::to_string(&json(value)).map_err(|error| error.to_string())?;
        Ok(string(yaml.trim_end()))
    });
}

fn json(value: &Value) -> Json {
    match value {
        Value::Bool(is) => (*is).into(),
        Value::Int(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) => text.as_ref().into(),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => {
            Json::Object(map.iter().map(|(key, value)| (key.to_string(), json(value))).collect())
        }
        _ => Json::Null,
    }
}
