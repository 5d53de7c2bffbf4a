//! A Container Linux Config of the user in Ignition's words: files, folders, links and file systems, units with their
//! drop-ins, users and groups. What it says beyond that is refused, not dropped. Pure.

use serde_json::{Map, Value, json};

/// Where something is, from the root of the text, and what is wrong with it.
type Wrong = (String, String);

/// Sections, and the lists in them.
const LISTS: [(&str, &[&str]); 4] = [
    ("passwd", &["users", "groups"]),
    ("storage", &["files", "directories", "links", "filesystems"]),
    ("systemd", &["units"]),
    ("networkd", &["units"]),
];

/// Names that Ignition writes in another way.
const WORDS: [(&str, &str); 8] = [
    ("home_dir", "homeDir"),
    ("no_create_home", "noCreateHome"),
    ("no_log_init", "noLogInit"),
    ("no_user_group", "noUserGroup"),
    ("password_hash", "passwordHash"),
    ("primary_group", "primaryGroup"),
    ("ssh_authorized_keys", "sshAuthorizedKeys"),
    ("wipe_filesystem", "wipeFilesystem"),
];

/// The configuration as Ignition has it.
///
/// # Errors
/// With the path and the reason of what has no place in it.
pub fn convert(text: &str) -> Result<Value, Wrong> {
    // The format is of a time when YAML read `mode: 0644` as octal.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let given: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|_| (String::new(), "is not YAML".to_owned()))?;
    let Value::Object(sections) = given else {
        return Err((
            String::new(),
            "must be a Container Linux Config, with sections such as systemd".to_owned(),
        ));
    };
    let mut document = Map::new();
    for (section, value) in sections {
        let path = format!(".{section}");
        let Some((_, lists)) = LISTS.iter().find(|(known, _)| *known == section) else {
            return Err((path, "is not served: there are passwd, storage, systemd and networkd".to_owned()));
        };
        let Value::Object(fields) = value else { return Err((path, "must be an object".to_owned())) };
        let mut converted = Map::new();
        for (list, items) in fields {
            let path = format!("{path}.{list}");
            if !lists.contains(&list.as_str()) {
                return Err((path, format!("is not served: there are {}", lists.join(", "))));
            }
            let Value::Array(items) = items else { return Err((path, "must be a list".to_owned())) };
            let items: Result<Vec<_>, Wrong> =
                items
                    .into_iter()
                    .enumerate()
                    .map(|(at, item)| {
                        if list == "files" { file(item, &format!("{path}[{at}]")) } else { Ok(renamed(item)) }
                    })
                    .collect();
            converted.insert(list, Value::Array(items?));
        }
        document.insert(section, Value::Object(converted));
    }
    Ok(Value::Object(document))
}

fn renamed(value: Value) -> Value {
    let word =
        |name: String| WORDS.iter().find(|(from, _)| *from == name).map_or(name, |(_, to)| (*to).to_owned());
    match value {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (word(name), renamed(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(renamed).collect()),
        other => other,
    }
}

/// A file: `contents.inline` or `contents.remote.url` become a source.
fn file(item: Value, path: &str) -> Result<Value, Wrong> {
    let Value::Object(mut fields) = item else {
        return Err((path.to_owned(), "must be an object".to_owned()));
    };
    fields.entry("filesystem").or_insert(json!("root"));
    let contents = fields.remove("contents");
    if let Some(contents) = contents {
        let inline = contents.get("inline").and_then(Value::as_str);
        let url = contents.pointer("/remote/url").and_then(Value::as_str);
        let source = match (inline, url) {
            (Some(text), None) => super::source(text.as_bytes()),
            (None, Some(url)) => url.to_owned(),
            _ => return Err((format!("{path}.contents"), "must have inline, or remote with url".to_owned())),
        };
        fields.insert("contents".to_owned(), json!({ "source": source }));
    }
    Ok(renamed(Value::Object(fields)))
}
