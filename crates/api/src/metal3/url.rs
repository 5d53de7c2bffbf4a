//! URLs that images are read from. Pure.

use scute_image::oci::Reference;

/// Why a text is no URL of an image.
pub(crate) fn check_image_url(url: &str) -> Option<String> {
    if !Reference::is(url) {
        return check_url(url);
    }
    Reference::parse(url).err().map(|error| error.to_string())
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
