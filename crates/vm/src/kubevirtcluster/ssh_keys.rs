//! The SSH key pair of a Cluster's guests: ECDSA on P-384, in the encodings that upstream writes.

use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A key pair. `Debug` shows neither half.
pub struct SshKeyPair {
    /// The line for `authorized_keys`.
    pub public: String,
    /// The private key in PEM, `EC PRIVATE KEY`.
    pub private: String,
}

impl std::fmt::Debug for SshKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshKeyPair").finish_non_exhaustive()
    }
}

impl SshKeyPair {
    /// Makes a new pair; takes less than a millisecond.
    pub fn generate() -> Result<Self, Unspecified> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING)?;
        let scalar: EcPrivateKeyBin<'static> = pair.private_key().as_be_bytes()?;
        let point = pair.public_key().as_ref();
        Ok(Self { public: authorized_key(point), private: pem(&sec1(scalar.as_ref(), point)) })
    }
}

/// RFC 5656: the type, the curve and the point, each after its length.
fn authorized_key(point: &[u8]) -> String {
    let mut blob = Vec::new();
    for part in [b"ecdsa-sha2-nistp384".as_slice(), b"nistp384", point] {
        blob.extend_from_slice(&(part.len() as u32).to_be_bytes());
        blob.extend_from_slice(part);
    }
    format!("ecdsa-sha2-nistp384 {}\n", STANDARD.encode(blob))
}

/// RFC 5915: version 1, the scalar, the curve secp384r1 and the point.
fn sec1(scalar: &[u8], point: &[u8]) -> Vec<u8> {
    const CURVE: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    let bits = [&[0], point].concat();
    let parts = [
        element(0x02, &[1]),
        element(0x04, scalar),
        element(0xa0, &CURVE),
        element(0xa1, &element(0x03, &bits)),
    ];
    element(0x30, &parts.concat())
}

/// A DER element of at most 255 bytes.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u8;
    let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [&head, content].concat()
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).map(|start| &text[start..text.len().min(start + 64)]).collect();
    format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_read_both_halves() {
        let pair = SshKeyPair::generate().unwrap();
        let private = russh::keys::decode_secret_key(&pair.private, None).unwrap();
        assert_eq!(private.public_key().to_openssh().unwrap(), pair.public.trim());
        assert!(!format!("{pair:?}").contains("PRIVATE"));
    }
}
