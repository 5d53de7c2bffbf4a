//! Addresses of servers.

use std::fmt;

use hyper::Uri;
use rustls::pki_types::{InvalidDnsNameError, ServerName};

/// An HTTP or HTTPS URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Uri);

/// The text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an {1} URL")]
pub struct UrlError(String, &'static str);

impl UrlError {
    /// Only TLS will do.
    pub fn not_https(text: &str) -> Self {
        UrlError(text.to_owned(), "https://")
    }
}

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let wrong = || UrlError(text.to_owned(), "http:// or https://");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        if known && uri.host().is_some_and(|host| !host.is_empty()) { Ok(Url(uri)) } else { Err(wrong()) }
    }

    /// A path of the same server in place of this one's.
    pub fn at(&self, path: &str) -> Result<Self, UrlError> {
        let base = format!("{}://{}", self.0.scheme_str().unwrap_or_default(), self.authority());
        Url::parse(&format!("{base}{path}"))
    }

    /// What a `Location` means that this one's server has answered with.
    pub fn follow(&self, location: &str) -> Result<Self, UrlError> {
        if location.starts_with('/') && !location.starts_with("//") {
            self.at(location)
        } else {
            Url::parse(location)
        }
    }

    /// Whether it is by TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Without the brackets of IPv6.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port, as it is given or as it is usual.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Host and port as they were written, never a password.
    pub fn authority(&self) -> String {
        let authority = self.0.authority().map(ToString::to_string).unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default().to_owned()
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.0.path_and_query().map_or("/", |target| target.as_str())
    }

    /// Whose certificate is wanted.
    pub fn server_name(&self) -> Result<ServerName<'static>, InvalidDnsNameError> {
        ServerName::try_from(self.host().to_owned())
    }
}

/// Without what may be a secret: a password, or the query of a signed URL.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.0.scheme_str().unwrap_or_default(), self.authority(), self.0.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("https://u:secret@[fd00::1]:8443/a/b?sig=x").unwrap();
        assert_eq!((url.host(), url.port(), url.target()), ("fd00::1", 8443, "/a/b?sig=x"));
        assert_eq!(url.to_string(), "https://[fd00::1]:8443/a/b");
        let url = Url::parse("http://images.example").unwrap();
        assert_eq!((url.port(), url.target(), url.is_https()), (80, "/", false));
        assert_eq!(url.follow("/x").unwrap().to_string(), "http://images.example/x");
        assert_eq!(url.follow("https://other/y").unwrap().to_string(), "https://other/y");
        for bad in ["", "images.example", "ftp://a/b", "http://", "http:///x", "https://a b/"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
