//! Digests of an image, as it comes by.

use aws_lc_rs::digest::{Context, SHA256, SHA512};

use crate::protocol::{Algorithm, Checksum};

/// A digest that is being made.
pub enum Digest {
    Md5(md5::Context),
    Sha(Context),
}

/// The image is not the one that was meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the checksum of the image is {found}, not {wanted}")]
pub struct Mismatch {
    wanted: String,
    found: String,
}

impl Digest {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Digest::Md5(md5::Context::new()),
            Algorithm::Sha256 => Digest::Sha(Context::new(&SHA256)),
            Algorithm::Sha512 => Digest::Sha(Context::new(&SHA512)),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Digest::Md5(context) => context.consume(bytes),
            Digest::Sha(context) => context.update(bytes),
        }
    }

    /// Compares with what was wanted.
    pub fn verify(self, wanted: &Checksum) -> Result<(), Mismatch> {
        let found = match self {
            Digest::Md5(context) => hex::encode(*context.finalize()),
            Digest::Sha(context) => hex::encode(context.finish()),
        };
        let wanted = wanted.value.trim().to_lowercase();
        if found == wanted { Ok(()) } else { Err(Mismatch { wanted, found }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_the_known_digest() {
        for (algorithm, value) in [
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha256, "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"),
            (
                Algorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let digest = |text: &[u8]| {
                let mut digest = Digest::new(algorithm);
                text.chunks(2).for_each(|piece| digest.update(piece));
                digest.verify(&Checksum { algorithm, value: value.into() })
            };
            assert_eq!(digest(b"abc"), Ok(()));
            assert!(digest(b"abd").is_err());
        }
    }
}
