//! What a text with a format is. As in Kubernetes, a format that is not known says nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Whether a text is of a format.
pub fn holds(format: &str, text: &str) -> bool {
    match format {
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<IpNet>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| {
            let letters = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
            scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && scheme.chars().all(letters)
                && !rest.is_empty()
                && !rest.contains(char::is_whitespace)
        }),
        "email" => text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()),
        "hostname" => {
            let label = |label: &str| {
                let letters = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
                (1..=63).contains(&label.len()) && label.chars().all(letters) && !label.starts_with('-')
            };
            text.len() <= 253 && text.split('.').all(label)
        }
        "uuid" => {
            let bare: String = text.chars().filter(|letter| *letter != '-').collect();
            bare.len() == 32 && bare.chars().all(|letter| letter.is_ascii_hexdigit())
        }
        "byte" => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).is_ok(),
        "mac" => {
            let parts: Vec<_> = text.split([':', '-']).collect();
            [6, 8].contains(&parts.len())
                && parts
                    .iter()
                    .all(|part| part.len() == 2 && part.chars().all(|letter| letter.is_ascii_hexdigit()))
        }
        _ => true,
    }
}
