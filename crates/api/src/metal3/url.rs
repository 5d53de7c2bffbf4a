//! URLs that images are read from. Pure.

/// Registries, by TLS and without.
const OCI: [&str; 2] = ["oci://", "oci+http://"];

/// Whether a URL is that of an image in a registry.
pub(crate) fn is_oci(url: &str) -> bool {
    OCI.iter().any(|scheme| url.starts_with(scheme))
}

/// Why a text is no URL of an image.
pub(crate) fn check_image_url(url: &str) -> Option<String> {
    let Some(rest) = OCI.iter().find_map(|scheme| url.strip_prefix(scheme)) else { return check_url(url) };
    let form = "must be oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]";
    let (registry, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (path, digest) = path.split_once('@').map_or((path, None), |(path, digest)| (path, Some(digest)));
    let repository = path.split_once(':').map_or(path, |(repository, _)| repository);
    let small = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
    };
    if registry.is_empty() || registry.contains('@') || repository.is_empty() {
        return Some(form.to_owned());
    }
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Some("must have sha256: with 64 or sha512: with 128 hexadecimal digits behind @".to_owned());
    }
    let plain =
        !url.chars().any(|letter| letter.is_whitespace() || letter.is_control() || "?#".contains(letter));
    (!plain || !repository.split('/').all(small))
        .then(|| format!("{form}; a repository has small letters, digits, dots, dashes and underscores"))
}

fn is_digest(text: &str) -> bool {
    let digits = match text.split_once(':') {
        Some(("sha256", digits)) if digits.len() == 64 => digits,
        Some(("sha512", digits)) if digits.len() == 128 => digits,
        _ => return false,
    };
    digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A URL for a message: without anything, where there may be a password in it.
pub(crate) fn shown(url: &str) -> &str {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    if host.contains('@') { "" } else { url }
}

/// Why a text is no URL that something can be read from.
pub(crate) fn check_url(url: &str) -> Option<String> {
    let lower = url.to_ascii_lowercase();
    let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://"));
    let Some(rest) = rest else {
        let scheme = lower.split_once("://").map(|(scheme, _)| scheme);
        return Some(match scheme {
            Some(scheme @ ("oci" | "ftp" | "gopher" | "file")) => {
                format!("{scheme}:// is not served here: put it where HTTP or HTTPS reaches it")
            }
            _ => "must be a URL that starts with http:// or https://".to_owned(),
        });
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = !url.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    (host.is_empty() || !plain).then(|| "must be a URL with a host and without white space".to_owned())
}
