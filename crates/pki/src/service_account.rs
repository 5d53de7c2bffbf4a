//! The key pair that signs service account tokens.

use crate::{Error, KeyAlgorithm, PrivateKey};

/// `sa.pub` and `sa.key` as kubeadm writes them. `Debug` hides the private key.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceAccountKeys {
    /// `sa.pub`: a `PUBLIC KEY` block.
    pub public_pem: String,
    /// `sa.key`: `RSA PRIVATE KEY`, or `PRIVATE KEY` for ECDSA. A secret.
    pub private_pem: String,
}

impl ServiceAccountKeys {
    /// Makes a new pair.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, Error> {
        let key = PrivateKey::generate(algorithm)?;
        Ok(Self { public_pem: key.public_key_pem(), private_pem: key.pem().to_owned() })
    }

    /// The pair of an existing private key, whatever the public file said.
    pub fn load(private_pem: &str) -> Result<Self, Error> {
        let key = PrivateKey::load(private_pem)?;
        Ok(Self { public_pem: key.public_key_pem(), private_pem: private_pem.to_owned() })
    }

    /// Whether both halves are readable and belong together.
    pub fn is_valid(&self) -> bool {
        let Ok(key) = PrivateKey::load(&self.private_pem) else { return false };
        let public = crate::pem::first(&self.public_pem, |label| label == "PUBLIC KEY");
        public.is_some_and(|(_, der)| der == key.public_key_der())
    }
}

impl std::fmt::Debug for ServiceAccountKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountKeys").field("public_pem", &self.public_pem).finish_non_exhaustive()
    }
}
