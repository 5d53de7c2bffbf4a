//! Who reads from a registry: the Secret that `kubectl create secret docker-registry` makes. Pure.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use scute_agent::protocol::Login;
use serde::Deserialize;

/// Keys of the Secret, newer and older.
const KEYS: [&str; 2] = [".dockerconfigjson", ".dockercfg"];
/// What Docker's own registry is called in an address, and in a Secret.
const DOCKER: (&str, &str) = ("docker.io", "index.docker.io");

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    /// `USERNAME:PASSWORD`, base64.
    auth: String,
    identitytoken: String,
}

/// The user name and password for a registry, by its host and port.
///
/// # Errors
/// What is wrong with the Secret; nothing of its content is repeated.
pub fn login(secret: &Secret, registry: &str) -> Result<Login, String> {
    let data = |key: &str| secret.data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice());
    let auths = if let Some(bytes) = data(KEYS[0]) {
        serde_json::from_slice::<Config>(bytes).map(|config| config.auths)
    } else if let Some(bytes) = data(KEYS[1]) {
        serde_json::from_slice(bytes)
    } else {
        return Err(format!(
            "has neither {} nor {}: it must be of type kubernetes.io/dockerconfigjson",
            KEYS[0], KEYS[1]
        ));
    };
    let auths = auths.map_err(|_| "is not of the form that Docker's configuration has".to_owned())?;
    let wanted = if registry == DOCKER.0 { DOCKER.1 } else { registry };
    let entry =
        auths.iter().find(|(name, _)| host(name).eq_ignore_ascii_case(wanted)).map(|(_, entry)| entry);
    let entry = entry.ok_or_else(|| format!("says nothing of the registry {registry}"))?;
    entry.login().ok_or_else(|| match entry.identitytoken.as_str() {
        "" => format!("has no user name and password for the registry {registry}"),
        _ => format!(
            "has an identity token for the registry {registry}: a user name and a password are needed"
        ),
    })
}

impl Entry {
    fn login(&self) -> Option<Login> {
        if !self.username.is_empty() && !self.password.is_empty() {
            return Some(Login { username: self.username.clone(), password: self.password.clone() });
        }
        let text = String::from_utf8(BASE64_STANDARD.decode(self.auth.trim()).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        let whole = !username.is_empty() && !password.is_empty();
        whole.then(|| Login { username: username.to_owned(), password: password.to_owned() })
    }
}

/// Names are hosts, or URLs as Docker writes them.
fn host(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    name.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn secret(key: &str, content: &Value) -> Secret {
        let data = BASE64_STANDARD.encode(content.to_string());
        serde_json::from_value(json!({"data": {key: data}})).unwrap()
    }

    #[test]
    fn the_entry_of_the_registry_is_found_in_either_form() {
        let both = json!({"username": "u", "password": "hunter2"});
        let auth = json!({"auth": BASE64_STANDARD.encode("u:hunter2")});
        let wanted = Login { username: "u".into(), password: "hunter2".into() };
        for (key, content, registry) in [
            (KEYS[0], json!({"auths": {"r:5000": both, "other": {}}}), "r:5000"),
            (KEYS[0], json!({"auths": {"https://R/v2/": auth}}), "r"),
            (KEYS[0], json!({"auths": {"https://index.docker.io/v1/": auth}}), "docker.io"),
            (KEYS[1], json!({"r": both}), "r"),
        ] {
            assert_eq!(login(&secret(key, &content), registry).as_ref(), Ok(&wanted), "{content}");
        }
    }

    #[test]
    fn what_is_missing_is_told_and_nothing_repeated() {
        let none = json!({"auths": {"r": {"auth": BASE64_STANDARD.encode("hunter2")}}});
        let token = json!({"auths": {"r": {"identitytoken": "hunter2"}}});
        for (key, content, registry, words) in [
            ("password", json!("hunter2"), "r", ".dockerconfigjson"),
            (KEYS[0], json!({"auths": "hunter2"}), "r", "form"),
            (KEYS[0], none.clone(), "other", "says nothing of the registry other"),
            (KEYS[0], none, "r", "no user name and password"),
            (KEYS[0], token, "r", "identity token"),
        ] {
            let why = login(&secret(key, &content), registry).unwrap_err();
            assert!(why.contains(words) && !why.contains("hunter2"), "{why}");
        }
    }
}
