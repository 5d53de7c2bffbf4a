//! PEM blocks: reading the first one of a kind, writing one with a label of our choice.

use base64::{Engine, engine::general_purpose::STANDARD};
use x509_parser::pem::Pem;

const LINE: usize = 64;

/// One PEM block. Lines have 64 characters, as Go and OpenSSL write them.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::with_capacity(body.len() + body.len() / LINE + 64);
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The first block whose label satisfies `wanted`; other blocks, such as `EC PARAMETERS`, are passed over.
pub(crate) fn first(text: &str, wanted: impl Fn(&str) -> bool) -> Option<(String, Vec<u8>)> {
    Pem::iter_from_buffer(text.as_bytes())
        .filter_map(Result::ok)
        .find(|block| wanted(&block.label))
        .map(|block| (block.label, block.contents))
}
