//! Private keys: generated as kubeadm does, read in each of the three encodings that tools write.

use crate::{Error, pem};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize,
};
use x509_parser::asn1_rs::{Any, FromDer, Integer, OctetString, Sequence};

/// Kind of key to generate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// RSA of 2048 bits with SHA-256, kubeadm's default.
    #[default]
    Rsa2048,
    /// ECDSA on P-256 with SHA-256: keys in microseconds instead of a tenth of a second.
    EcdsaP256,
    /// RSA of 3072 bits with SHA-256.
    Rsa3072,
    /// RSA of 4096 bits with SHA-256. A key takes seconds.
    Rsa4096,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
}

/// A private key with its public half. `Debug` shows neither.
pub struct PrivateKey {
    pub(crate) pair: KeyPair,
    pem: String,
}

impl PrivateKey {
    /// Makes a new key. RSA takes 20-300 ms of CPU.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, Error> {
        let pair = match algorithm {
            KeyAlgorithm::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyAlgorithm::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
            KeyAlgorithm::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
            KeyAlgorithm::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyAlgorithm::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        }
        .map_err(|_| Error::Generate)?;
        let pem = encode(&pair);
        Ok(Self { pair, pem })
    }

    /// Reads `PRIVATE KEY` (PKCS#8), `RSA PRIVATE KEY` (PKCS#1) or `EC PRIVATE KEY` (SEC1). The text is kept as it is.
    pub fn load(key_pem: &str) -> Result<Self, Error> {
        let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
        if is_encrypted(key_pem) {
            return Err(Error::EncryptedKey);
        }
        let (_, der) = pem::first(key_pem, |label| labels.contains(&label)).ok_or(Error::ReadKey)?;
        let is_der = Sequence::from_der(&der).is_ok_and(|(rest, _)| rest.is_empty());
        let pair = KeyPair::try_from(der)
            .map_err(|_| if is_der { Error::UnsupportedKey } else { Error::ReadKey })?;
        Ok(Self { pair, pem: key_pem.to_owned() })
    }

    /// The key as PEM: what [`load`](Self::load) was given, or `RSA PRIVATE KEY` as kubeadm writes it, or PKCS#8.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SubjectPublicKeyInfo of the public half, DER.
    pub fn public_key_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// The public half as a `PUBLIC KEY` block.
    pub fn public_key_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.public_key_der())
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// PKCS#8 says so in its label, OpenSSL's older form in a header of the block.
fn is_encrypted(key_pem: &str) -> bool {
    key_pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || key_pem.contains("Proc-Type: 4,ENCRYPTED")
}

fn encode(pair: &KeyPair) -> String {
    let pkcs8 = pair.serialized_der();
    let rsa = pair.algorithm() == &PKCS_RSA_SHA256;
    match rsa.then(|| pkcs1_of(pkcs8)).flatten() {
        Some(pkcs1) => pem::encode("RSA PRIVATE KEY", &pkcs1),
        None => pem::encode("PRIVATE KEY", pkcs8),
    }
}

/// The RSAPrivateKey inside a PKCS#8 PrivateKeyInfo (RFC 5208: version, algorithm, octet string).
fn pkcs1_of(pkcs8: &[u8]) -> Option<Vec<u8>> {
    let (_, outer) = Sequence::from_der(pkcs8).ok()?;
    let (rest, _version) = Integer::from_der(&outer.content).ok()?;
    let (rest, _algorithm) = Any::from_der(rest).ok()?;
    let (_, key) = OctetString::from_der(rest).ok()?;
    Some(key.as_ref().to_vec())
}
