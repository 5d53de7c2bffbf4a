//! The BMC addresses of Metal3. Pure: text in, parts or a reason out; depends on nothing of ours, so that an admission
//! check can have it too.

/// An address of a BMC that speaks Redfish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The scheme without its transport, as `idrac-virtualmedia`.
    pub scheme: &'static str,
    /// Whether by HTTPS.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Address of the System on the BMC, as `/redfish/v1/Systems/1`, if one is named.
    pub system: Option<String>,
}

/// An address that cannot be used, in words for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress(pub String);

impl std::fmt::Display for BadAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadAddress {}

/// Those that boot from virtual media.
const TAKEN: [&str; 4] = ["redfish", "redfish-virtualmedia", "idrac-virtualmedia", "ilo5-virtualmedia"];
/// Those that need a network to boot from.
const NETWORK: [&str; 3] = ["idrac-redfish", "ilo5-redfish", "redfish-uefihttp"];
/// Those of other protocols, and what upstream has given up.
const OTHERS: [&str; 8] = ["ipmi", "libvirt", "idrac", "ilo4", "ilo4-virtualmedia", "ilo5", "irmc", "ibmc"];

/// The longest address that is read.
const LONGEST: usize = 1_024;

impl Address {
    /// Reads an address such as `redfish-virtualmedia+https://192.0.2.1:8443/redfish/v1/Systems/1`.
    ///
    /// # Errors
    /// In words, when it is none, or one that is not served.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        if text.len() > LONGEST {
            return Err(bad(format!(
                "a BMC address has at most {LONGEST} characters, this one {}",
                text.len()
            )));
        }
        if let Some(found) = text.chars().find(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad(format!("a BMC address has no {found:?}")));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(bad(format!(
                "{text:?} has no scheme; write for example redfish-virtualmedia://192.0.2.1/redfish/v1/Systems/1"
            )));
        };
        let (scheme, tls) = known(scheme)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = host_and_port(authority, if tls { 443 } else { 80 })?;
        Ok(Self { scheme, tls, host, port, system: system(path)? })
    }
}

fn bad(words: impl Into<String>) -> BadAddress {
    BadAddress(words.into())
}

fn known(text: &str) -> Result<(&'static str, bool), BadAddress> {
    let (name, transport) = text.split_once('+').map_or((text, None), |(name, by)| (name, Some(by)));
    let served = TAKEN.join(", ");
    if let Some(scheme) = TAKEN.into_iter().find(|known| *known == name) {
        return match transport {
            None | Some("https") => Ok((scheme, true)),
            Some("http") => Ok((scheme, false)),
            Some(other) => Err(bad(format!("{scheme}+{other}: the transport is http or https"))),
        };
    }
    if NETWORK.contains(&name) {
        return Err(bad(format!("{name} boots over the network, which is not served; use one of {served}")));
    }
    if OTHERS.contains(&name) {
        return Err(bad(format!("{name} is not served; the BMC must speak Redfish: use one of {served}")));
    }
    Err(bad(format!("{name:?} is not a scheme of a BMC address; use one of {served}")))
}

fn host_and_port(authority: &str, usual: u16) -> Result<(String, u16), BadAddress> {
    if authority.contains('@') {
        // Not repeated: it may hold a password.
        return Err(bad(
            "user name and password belong into the Secret of credentialsName, not into the address",
        ));
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(|| bad(format!("{authority:?} lacks a ]")))?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(bad(format!("{host:?} is not an IPv6 address")));
        }
        match after {
            "" => (host, None),
            after => (
                host,
                Some(
                    after
                        .strip_prefix(':')
                        .ok_or_else(|| bad(format!("{authority:?}: a port comes after a colon")))?,
                ),
            ),
        }
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(bad(format!("an IPv6 address is written in brackets: [{authority}]")));
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(name) {
        return Err(bad(format!("{host:?} is neither a name nor an IP address of a BMC")));
    }
    let port = match port {
        None => usual,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(bad(format!("{port:?} is not a port; it is a number from 1 to 65535"))),
        },
    };
    Ok((host.to_owned(), port))
}

fn system(path: &str) -> Result<Option<String>, BadAddress> {
    let path = path.trim_end_matches('/');
    if path.contains(['?', '#', '%', '\\']) || path.contains("//") || path.split('/').any(|part| part == "..")
    {
        return Err(bad(format!("{path:?} is not the path of a System, such as /redfish/v1/Systems/1")));
    }
    // `/` and the root of the service name no System: the BMC must have only one.
    let named = !matches!(path, "" | "/redfish" | "/redfish/v1" | "/redfish/v1/Systems");
    if named && !path.starts_with("/redfish/v1/Systems/") {
        return Err(bad(format!(
            "{path:?} names no System; write for example /redfish/v1/Systems/1, or nothing"
        )));
    }
    Ok(named.then(|| path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, bool, String, u16, Option<String>) {
        let Address { scheme, tls, host, port, system } = Address::parse(text).unwrap();
        (scheme.to_owned(), tls, host, port, system)
    }

    #[test]
    fn addresses_have_a_scheme_a_host_and_a_system() {
        let one = Some("/redfish/v1/Systems/1".to_owned());
        assert_eq!(
            parsed("redfish-virtualmedia://192.0.2.1/redfish/v1/Systems/1"),
            ("redfish-virtualmedia".into(), true, "192.0.2.1".into(), 443, one.clone())
        );
        assert_eq!(
            parsed("idrac-virtualmedia+http://bmc.example:8000/redfish/v1/Systems/1/"),
            ("idrac-virtualmedia".into(), false, "bmc.example".into(), 8000, one)
        );
        assert_eq!(
            parsed("redfish+https://[2001:db8::1]:8443"),
            ("redfish".into(), true, "2001:db8::1".into(), 8443, None)
        );
        assert_eq!(parsed("ilo5-virtualmedia://bmc/").4, None);
        assert_eq!(parsed("redfish+http://bmc").3, 80);
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_words() {
        for (text, word) in [
            ("192.0.2.1", "scheme"),
            ("ipmi://192.0.2.1", "ipmi is not served"),
            ("libvirt://192.0.2.1", "libvirt is not served"),
            ("idrac-redfish://192.0.2.1", "over the network"),
            ("tape://192.0.2.1", "\"tape\""),
            ("redfish+ftp://192.0.2.1", "http or https"),
            ("redfish://root:calvin@192.0.2.1", "Secret"),
            ("redfish://2001:db8::1/redfish/v1/Systems/1", "brackets"),
            ("redfish://[2001:db8::1", "]"),
            ("redfish://[bmc]", "IPv6"),
            ("redfish://bmc:0", "port"),
            ("redfish://bmc:65536", "port"),
            ("redfish:///redfish/v1/Systems/1", "neither"),
            ("redfish://b mc", "' '"),
            ("redfish://bmc/redfish/v1/Managers/1", "names no System"),
            ("redfish://bmc/redfish/v1/Systems/../Managers/1", "not the path"),
            ("redfish://bmc/redfish/v1/Systems/1?x", "not the path"),
        ] {
            let BadAddress(words) = Address::parse(text).unwrap_err();
            assert!(words.contains(word), "{text}: {words}");
            assert!(!words.contains("calvin"), "{words}");
        }
        assert!(Address::parse(&format!("redfish://{}", "b".repeat(2_000))).is_err());
    }
}
