//! What a registry wants before it answers: `WWW-Authenticate`, RFC 9110 section 11.6.1. Pure.

use std::collections::HashMap;

use hyper::HeaderMap;
use hyper::header::WWW_AUTHENTICATE;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A user name and a password.
    Basic,
    /// A token of somebody else's.
    Bearer {
        /// Where.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// For what.
        scope: Option<String>,
    },
}

/// The challenge that is taken up: a token, where there is a choice.
pub fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let all = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<_> = all.flat_map(read).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(all.first()).cloned()
}

fn read(text: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, HashMap<String, String>)> = Vec::new();
    for part in parts(text) {
        let part = part.trim();
        // A scheme stands before its first parameter, or alone.
        let (scheme, parameter) = match (part.split_once('='), part.split_once(' ')) {
            (Some((name, _)), Some((scheme, parameter))) if name.contains(' ') => {
                (Some(scheme), parameter.trim())
            }
            (Some(_), _) => (None, part),
            (None, _) => (Some(part), ""),
        };
        if let Some(scheme) = scheme {
            found.push((scheme.to_ascii_lowercase(), HashMap::new()));
        }
        if let (Some((_, parameters)), Some((name, value))) = (found.last_mut(), parameter.split_once('=')) {
            parameters.insert(name.trim().to_ascii_lowercase(), unquoted(value.trim()));
        }
    }
    let challenge = |(scheme, mut parameters): (String, HashMap<String, String>)| match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        }),
        _ => None,
    };
    found.into_iter().filter_map(challenge).collect()
}

/// Splits at commas outside of quotes.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let (mut plain, mut escaped) = (String::new(), false);
    for letter in inner.chars() {
        if letter == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(letter);
            escaped = false;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenge(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.into(), service: text(service), scope: text(scope) })
    }

    #[test]
    fn challenges_of_registries_are_read() {
        let docker = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        let token = "https://auth.example/token";
        assert_eq!(of(&[docker]), bearer(token, Some("registry.example"), Some("repository:a/b:pull,push")));
        assert_eq!(
            of(&[r#"BEARER Realm=https://a/t , service="a \"b\"""#]),
            bearer("https://a/t", Some("a \"b\""), None)
        );
        assert_eq!(
            of(&[r#"Basic realm="x", Bearer realm="https://a/t""#]),
            bearer("https://a/t", None, None)
        );
        assert_eq!(
            of(&["Basic", docker]),
            bearer(token, Some("registry.example"), Some("repository:a/b:pull,push"))
        );
        assert_eq!(of(&[r#"Basic realm="Registry Realm""#]), Some(Challenge::Basic));
        assert_eq!(of(&["Basic"]), Some(Challenge::Basic));
        for nothing in
            [r#"Negotiate"#, r#"Bearer service="x""#, "", ",=,", "\"", "Bearer", "=", r#"Digest realm="x""#]
        {
            assert_eq!(of(&[nothing]), None, "{nothing}");
        }
        assert_eq!(of(&[]), None);
    }
}
