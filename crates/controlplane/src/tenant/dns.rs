//! Names as DNS and certificates allow them.

use std::net::IpAddr;

/// An RFC 1035 label: what a Service may be called, so what a TenantControlPlane may be called.
///
/// # Errors
/// What is wrong.
pub fn label_1035(name: &str) -> Result<(), &'static str> {
    let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let first = name.bytes().next().is_some_and(|c| c.is_ascii_lowercase());
    let last = name.bytes().last().is_some_and(|c| c != b'-');
    match first && last && name.len() <= 63 && name.bytes().all(inside) {
        true => Ok(()),
        false => {
            Err("must be a DNS-1035 label: at most 63 lower-case letters, digits and '-', starting with a \
                      letter and not ending with '-'")
        }
    }
}

/// A subject alternative name: an IP address, an RFC 1123 name, or one with a leading `*.`; no port.
///
/// # Errors
/// What is wrong.
pub fn certificate_name(name: &str) -> Result<(), &'static str> {
    if name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match !bare.is_empty() && bare.len() <= 253 && bare.split('.').all(label) {
        true => Ok(()),
        false => Err("must be an IP address or a DNS name, optionally starting with '*.', without a port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "tenant-1", &"x".repeat(63)] {
            assert!(label_1035(good).is_ok(), "{good}");
        }
        for bad in ["", "1abc", "Abc", "a-", "-a", "a.b", "a_b", &"x".repeat(64)] {
            assert!(label_1035(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_certificates() {
        for good in ["10.0.0.1", "fd00::1", "api.example.com", "*.example.com", "localhost", "1.example"] {
            assert!(certificate_name(good).is_ok(), "{good}");
        }
        for bad in ["", "host:6443", "[fd00::1]:6443", "*", "*.*.com", "a..b", "-a.com", "UPPER.com", "a/b"] {
            assert!(certificate_name(bad).is_err(), "{bad}");
        }
    }
}
