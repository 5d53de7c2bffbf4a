//! URLs that images are read from. Pure.

/// Why a text is no URL that something can be read from.
pub(crate) fn check_url(url: &str) -> Option<String> {
    let lower = url.to_ascii_lowercase();
    let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://"));
    let Some(rest) = rest else {
        let scheme = lower.split_once("://").map(|(scheme, _)| scheme);
        return Some(match scheme {
            Some(scheme @ ("oci" | "ftp" | "gopher" | "file")) => {
                format!("{scheme}:// is not served yet: put it where HTTP or HTTPS reaches it")
            }
            _ => "must be a URL that starts with http:// or https://".to_owned(),
        });
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = !url.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    (host.is_empty() || !plain).then(|| "must be a URL with a host and without white space".to_owned())
}
