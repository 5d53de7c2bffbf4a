//! Who the service is: an authority of its own, pinned by every agent, and the key of its [`Seal`]. Both are in one Secret,
//! made at the first start.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use scute_kit::{Hub, Key};
use scute_pki::{Ca, KeyAlgorithm, LeafRequest, Sans};

use super::seal::Seal;

/// Agents pin the authority and look at no date, as the clock of a server may be years off.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Who the service is.
pub struct Identity {
    /// Certificate of the service with its authority, PEM.
    pub chain: String,
    /// Its key, PEM.
    pub key: String,
    /// SHA-256 of the authority's certificate.
    pub pin: String,
    /// For tokens.
    pub seal: Seal,
}

/// Why the service has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The API server.
    #[error("the Secret {0} cannot be read or made")]
    Secret(Key, #[source] Box<scute_kit::Error>),
    /// What is in the Secret, or making it.
    #[error("the Secret {0} has no authority that can be used: delete it, and a new one is made")]
    Content(Key, #[source] scute_pki::Error),
    /// Another field.
    #[error("the Secret {0} has no {1}: delete it, and a new one is made")]
    Field(Key, &'static str),
}

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
const SEAL: &str = "seal";

/// Reads the identity, or makes one. The certificate of the service is made anew at each start, for this address.
///
/// # Errors
/// When it cannot be read, made or used.
pub async fn identity(hub: &Hub, at: &Key, address: &str) -> Result<Identity, IdentityError> {
    let unread = |error| IdentityError::Secret(at.clone(), Box::new(error));
    let secret = match hub.get::<Secret>(at).await.map_err(unread)? {
        Some(secret) => secret,
        None => made(hub, at).await?,
    };
    let data = secret.data.unwrap_or_default();
    let field = |name: &'static str| {
        let text = data.get(name).and_then(|ByteString(bytes)| std::str::from_utf8(bytes).ok());
        text.ok_or(IdentityError::Field(at.clone(), name))
    };
    let wrong = |error| IdentityError::Content(at.clone(), error);
    let ca = Ca::load(field(CERTIFICATE)?, field(KEY)?).map_err(wrong)?;
    let key = hex::decode(field(SEAL)?).map_err(|_| IdentityError::Field(at.clone(), SEAL))?;
    let leaf = LeafRequest {
        algorithm: KeyAlgorithm::EcdsaP256,
        validity: VALIDITY,
        ..LeafRequest::server("scute-metal", [address].into_iter().collect::<Sans>())
    };
    let leaf = scute_pki::issue(&leaf, &ca, hub.now()).map_err(wrong)?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, ca.certificate().der());
    Ok(Identity {
        chain: format!("{}{}", leaf.certificate_pem, ca.certificate_pem()),
        key: leaf.key_pem,
        pin: hex::encode(digest),
        seal: Seal::new(&key),
    })
}

async fn made(hub: &Hub, at: &Key) -> Result<Secret, IdentityError> {
    let secret = fresh(at, hub.now()).map_err(|error| IdentityError::Content(at.clone(), error))?;
    let unread = |error| IdentityError::Secret(at.clone(), Box::new(error));
    match hub.create(&secret).await {
        Ok(secret) => Ok(secret.as_ref().clone()),
        // Another manager was faster.
        Err(error) if error.is_conflict() => {
            let found = hub.get::<Secret>(at).await;
            found.map_err(unread).map(Option::unwrap_or_default)
        }
        Err(error) => Err(unread(error)),
    }
}

fn fresh(at: &Key, now: Timestamp) -> Result<Secret, scute_pki::Error> {
    let ca = Ca::generate("scute-metal", VALIDITY, KeyAlgorithm::EcdsaP256, now)?;
    let mut seal = [0; 32];
    scute_pki::system_random(&mut seal)?;
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let data = [
        (CERTIFICATE, bytes(ca.certificate_pem())),
        (KEY, bytes(ca.key_pem())),
        (SEAL, bytes(&hex::encode(seal))),
    ];
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(at.name.clone()),
            namespace: at.namespace().map(str::to_owned),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from(data.map(|(name, value)| (name.to_owned(), value)))),
        ..Secret::default()
    })
}
