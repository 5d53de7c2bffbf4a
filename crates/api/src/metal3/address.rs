//! Addresses of BMCs, as users of Metal3 write them. In: text. Out: [`BmcAddress`]. Pure.
//!
//! Every scheme of the Redfish family is read, with `+http` or `+https` behind it, so that upstream's YAML works. The
//! suffix of a scheme says how upstream boots the server; Scute boots all of them by virtual media.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The kinds of Redfish address that upstream tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `redfish`
    Redfish,
    /// `redfish-virtualmedia`
    RedfishVirtualMedia,
    /// `redfish-uefihttp`
    RedfishUefiHttp,
    /// `ilo5-redfish`
    Ilo5Redfish,
    /// `ilo5-virtualmedia`
    Ilo5VirtualMedia,
    /// `idrac-redfish`
    IdracRedfish,
    /// `idrac-virtualmedia`
    IdracVirtualMedia,
}

impl Scheme {
    /// Every scheme that is read.
    pub const ALL: [Self; 7] = [
        Self::Redfish,
        Self::RedfishVirtualMedia,
        Self::RedfishUefiHttp,
        Self::Ilo5Redfish,
        Self::Ilo5VirtualMedia,
        Self::IdracRedfish,
        Self::IdracVirtualMedia,
    ];

    /// The word in front of the address.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redfish => "redfish",
            Self::RedfishVirtualMedia => "redfish-virtualmedia",
            Self::RedfishUefiHttp => "redfish-uefihttp",
            Self::Ilo5Redfish => "ilo5-redfish",
            Self::Ilo5VirtualMedia => "ilo5-virtualmedia",
            Self::IdracRedfish => "idrac-redfish",
            Self::IdracVirtualMedia => "idrac-virtualmedia",
        }
    }

    /// Whether upstream boots such a server over the network. Here it is booted by virtual media all the same.
    #[must_use]
    pub fn boots_from_network_upstream(self) -> bool {
        match self {
            Self::Redfish | Self::RedfishUefiHttp | Self::Ilo5Redfish | Self::IdracRedfish => true,
            Self::RedfishVirtualMedia | Self::Ilo5VirtualMedia | Self::IdracVirtualMedia => false,
        }
    }
}

/// Where the BMC of a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmcAddress {
    /// Which kind of address it is.
    pub scheme: Scheme,
    /// HTTPS, or HTTP when the scheme ends in `+http`.
    pub tls: bool,
    /// Name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port, when one is given.
    pub port: Option<u16>,
    /// Path of the Redfish System, such as `/redfish/v1/Systems/1`. Without one the BMC must have a single System.
    pub system: Option<String>,
}

impl BmcAddress {
    /// Name and port, by which two addresses of one BMC are told to be the same.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let port = self.port.unwrap_or(if self.tls { 443 } else { 80 });
        format!("{}:{port}", self.host.to_lowercase())
    }

    /// Whether both may be the address of one server. Without a path the BMC has one System only.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let system =
            |address: &Self| address.system.as_ref().map(|path| path.trim_end_matches('/').to_owned());
        let (ours, theirs) = (system(self), system(other));
        self.endpoint() == other.endpoint() && (ours.is_none() || theirs.is_none() || ours == theirs)
    }

    /// What requests start with, such as `https://10.0.0.9:8000`, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}")
    }
}

/// Why a text is no address of a BMC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not Redfish.
    #[error("{0}: only Redfish is spoken; use {example}", example = EXAMPLE)]
    NotRedfish(String),
    /// A scheme that nobody knows.
    #[error("{scheme:?} is no known scheme; use {example}", scheme = .0, example = EXAMPLE)]
    UnknownScheme(String),
    /// Something behind the scheme.
    #[error("{0}; use {example}", example = EXAMPLE)]
    Form(&'static str),
}

/// The longest address that is read.
const LONGEST: usize = 1_024;

const EXAMPLE: &str = "redfish-virtualmedia://HOST[:PORT]/redfish/v1/Systems/ID";

impl FromStr for BmcAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > LONGEST {
            return Err(AddressError::Form("has more than 1024 characters"));
        }
        let (word, rest) = split_scheme(text)?;
        let (scheme, tls) = scheme(word)?;
        if rest.contains(['?', '#']) {
            return Err(AddressError::Form("has a query or fragment, which no Redfish address has"));
        }
        if rest.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            return Err(AddressError::Form("has white space in it"));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(AddressError::Form(
                "has a user name in it, which belongs into the Secret bmc.credentialsName",
            ));
        }
        let (host, port) = host_and_port(authority)?;
        Ok(Self { scheme, tls, host, port, system: system(path)? })
    }
}

/// The path of a System. The service itself and the list of its Systems name none.
fn system(path: &str) -> Result<Option<String>, AddressError> {
    let path = path.trim_end_matches('/');
    if path.contains(['%', '\\']) || path.contains("//") || path.split('/').any(|part| part == "..") {
        return Err(AddressError::Form(
            "has a path that is not one of a System, such as /redfish/v1/Systems/1",
        ));
    }
    let named = !matches!(path, "" | "/redfish" | "/redfish/v1" | "/redfish/v1/Systems");
    Ok(named.then(|| path.to_owned()))
}

/// The scheme and what is behind it. Upstream takes what has no scheme for IPMI.
fn split_scheme(text: &str) -> Result<(&str, &str), AddressError> {
    if let Some(parts) = text.split_once("://") {
        return Ok(parts);
    }
    match text.split_once(':') {
        // `redfish:host/path`; a port alone is no scheme.
        Some((word, rest))
            if word.starts_with(|first: char| first.is_ascii_alphabetic()) && !is_port(rest) =>
        {
            Ok((word, rest))
        }
        _ => Err(AddressError::NotRedfish("an address without a scheme means IPMI".to_owned())),
    }
}

fn is_port(text: &str) -> bool {
    text.split('/').next().is_some_and(|port| port.parse::<u16>().is_ok())
}

fn scheme(word: &str) -> Result<(Scheme, bool), AddressError> {
    let lower = word.to_ascii_lowercase();
    let (name, tls) = match lower.split_once('+') {
        Some((name, "http")) => (name, false),
        Some((name, "https")) => (name, true),
        Some(_) => return Err(AddressError::UnknownScheme(word.to_owned())),
        None => (lower.as_str(), true),
    };
    if let Some(scheme) = Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == name) {
        return Ok((scheme, tls));
    }
    Err(match name {
        "ipmi" | "libvirt" => AddressError::NotRedfish(format!("{name} is not served")),
        "ilo4" | "ilo4-virtualmedia" | "ilo5" | "irmc" | "idrac" => {
            AddressError::NotRedfish(format!("{name} is a vendor's old interface"))
        }
        _ => AddressError::UnknownScheme(word.to_owned()),
    })
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), AddressError> {
    let bracketed = authority.strip_prefix('[').map(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some(Some((host, rest))) if host.parse::<Ipv6Addr>().is_ok() => (host, rest),
        Some(_) => return Err(AddressError::Form("has no IPv6 address between its brackets")),
        None => {
            let (host, port) = authority.find(':').map_or((authority, ""), |at| authority.split_at(at));
            if port.matches(':').count() > 1 {
                return Err(AddressError::Form("has an IPv6 address that needs brackets around it"));
            }
            if !is_dns_name(host) {
                return Err(AddressError::Form("has no host that is an IP address or a DNS name"));
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(AddressError::Form("has a port that is not a number from 1 to 65535")),
        },
        None => return Err(AddressError::Form("has something behind the host that is no port")),
    };
    Ok((host.to_owned(), port))
}

/// IPv4 addresses are such names too.
fn is_dns_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().next_back()];
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && ends.iter().flatten().all(u8::is_ascii_alphanumeric)
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

impl fmt::Display for BmcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.tls { "" } else { "+http" };
        let url = self.base_url();
        let authority = url.split_once("//").map_or("", |(_, authority)| authority);
        let system = self.system.as_deref().unwrap_or_default();
        write!(f, "{}{suffix}://{authority}{system}", self.scheme.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> BmcAddress {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_scheme_of_the_family_is_read_with_and_without_a_transport() {
        for scheme in Scheme::ALL {
            for (suffix, tls) in [("", true), ("+https", true), ("+http", false)] {
                let address =
                    read(&format!("{}{suffix}://bmc.example.com/redfish/v1/Systems/1", scheme.as_str()));
                assert_eq!((address.scheme, address.tls), (scheme, tls));
                assert_eq!(address.system.as_deref(), Some("/redfish/v1/Systems/1"));
            }
        }
    }

    #[test]
    fn hosts_ports_and_paths() {
        for (text, url, system) in [
            (
                "redfish+http://10.0.0.9:8000/redfish/v1/Systems/a-b",
                "http://10.0.0.9:8000",
                Some("/redfish/v1/Systems/a-b"),
            ),
            (
                "redfish-virtualmedia://[fd00::5]/redfish/v1/Systems/1/",
                "https://[fd00::5]",
                Some("/redfish/v1/Systems/1"),
            ),
            ("redfish-virtualmedia://[fd00::5]:443", "https://[fd00::5]:443", None),
            ("IDRAC-virtualmedia://bmc-1/", "https://bmc-1", None),
            ("redfish://bmc-1/redfish/v1/", "https://bmc-1", None),
            ("redfish:bmc-1/redfish/v1/Systems/1", "https://bmc-1", Some("/redfish/v1/Systems/1")),
        ] {
            let address = read(text);
            assert_eq!((address.base_url().as_str(), address.system.as_deref()), (url, system), "{text}");
        }
    }

    #[test]
    fn what_is_not_redfish_is_refused_with_what_would_be_right() {
        for (text, word) in [
            ("ipmi://10.0.0.9", "ipmi is not served"),
            ("libvirt://10.0.0.9:6230/", "libvirt is not served"),
            ("10.0.0.9", "means IPMI"),
            ("10.0.0.9:623", "means IPMI"),
            ("bmc-1:623", "means IPMI"),
            ("", "means IPMI"),
            ("ilo4://10.0.0.9", "old interface"),
            ("foo://10.0.0.9", "no known scheme"),
            ("redfish+ftp://10.0.0.9", "no known scheme"),
            ("redfish://user:secret@10.0.0.9", "user name"),
            ("redfish://10.0.0.9/x?y", "query"),
            ("redfish://10.0.0.9 /x", "white space"),
            ("redfish://10.0.0.9/redfish/v1/Systems/../Managers/1", "not one of a System"),
            ("redfish://10.0.0.9/redfish/v1/Systems/%2e%2e", "not one of a System"),
            ("redfish://", "no host"),
            ("redfish://-bmc", "no host"),
            ("redfish://fd00::5/x", "brackets"),
            ("redfish://[bmc]/x", "IPv6"),
            ("redfish://bmc:0", "65535"),
            ("redfish://bmc:99999", "65535"),
            ("redfish://[fd00::5]x", "no port"),
        ] {
            let error = text.parse::<BmcAddress>().expect_err(text).to_string();
            assert!(error.contains(word) && error.contains("redfish-virtualmedia://HOST"), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let long = format!("redfish://bmc/{}", "x".repeat(LONGEST));
        let error = long.parse::<BmcAddress>().expect_err("too long").to_string();
        assert!(error.contains(&LONGEST.to_string()) && error.len() < 200, "{error}");
    }

    proptest! {
        #[test]
        fn no_text_ends_the_parser_and_what_is_read_is_read_again(text in "(redfish(-virtualmedia)?(\\+http)?://)?[\\[\\]a-z0-9:./@-]{0,30}") {
            if let Ok(address) = text.parse::<BmcAddress>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
