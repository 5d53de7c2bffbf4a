//! The key pairs of a control plane on Machines, in Secrets `<cluster>-<purpose>`: which there are, what is in them, and
//! how those that are missing are made. Whoever keeps the control plane makes them, whoever writes bootstrap data reads
//! them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use scute_api::bootstrap::{ClusterConfiguration, EncryptionAlgorithm};
use scute_api::meta::{CLUSTER_NAME_LABEL, CLUSTER_SECRET_TYPE};
use scute_kit::{Hub, Key};
use scute_pki::{CA_VALIDITY, Ca, Certificate, KeyAlgorithm, PrivateKey, ServiceAccountKeys};

/// Key of the certificate, or the public key, in a Secret.
pub const CERTIFICATE_KEY: &str = "tls.crt";
/// Key of the private key in a Secret.
pub const PRIVATE_KEY_KEY: &str = "tls.key";

/// What a key pair is for, in the order in which their files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The authority of the Cluster.
    ClusterCa,
    /// The authority of etcd.
    EtcdCa,
    /// The authority of aggregated API servers.
    FrontProxyCa,
    /// Signs tokens of service accounts.
    ServiceAccount,
    /// The API server's client certificate for an etcd that somebody else runs.
    ApiServerEtcdClient,
}

impl Purpose {
    /// Name of the Secret of a Cluster.
    #[must_use]
    pub fn secret_name(self, cluster: &str) -> String {
        let purpose = match self {
            Self::ClusterCa => "ca",
            Self::EtcdCa => "etcd",
            Self::FrontProxyCa => "proxy",
            Self::ServiceAccount => "sa",
            Self::ApiServerEtcdClient => "apiserver-etcd-client",
        };
        format!("{cluster}-{purpose}")
    }

    /// Common name of a new authority, as kubeadm has it.
    fn common_name(self) -> &'static str {
        match self {
            Self::EtcdCa => "etcd-ca",
            Self::FrontProxyCa => "front-proxy-ca",
            Self::ClusterCa | Self::ServiceAccount | Self::ApiServerEtcdClient => "kubernetes",
        }
    }
}

/// The key pairs that a cluster configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Somebody else runs etcd: its authority and the client certificate are the user's, and never made.
    pub external_etcd: bool,
    /// Algorithm of new keys.
    pub algorithm: KeyAlgorithm,
    /// How long new authorities are valid.
    pub validity: Duration,
}

impl Wanted {
    /// What this configuration asks for; what upstream asks for where there is none.
    #[must_use]
    pub fn of(configuration: Option<&ClusterConfiguration>) -> Self {
        let days = configuration.and_then(|given| given.ca_certificate_validity_period_days);
        let days = days.and_then(|days| u64::try_from(days).ok());
        Self {
            external_etcd: configuration
                .and_then(|given| given.etcd.as_ref())
                .is_some_and(|etcd| etcd.external.is_some()),
            algorithm: algorithm(configuration.and_then(|given| given.encryption_algorithm)),
            validity: days.map_or(CA_VALIDITY, |days| Duration::from_secs(days * 24 * 3600)),
        }
    }

    /// The key pairs, in the order of their files.
    #[must_use]
    pub fn purposes(&self) -> Vec<Purpose> {
        let mut all =
            vec![Purpose::ClusterCa, Purpose::EtcdCa, Purpose::FrontProxyCa, Purpose::ServiceAccount];
        if self.external_etcd {
            all.push(Purpose::ApiServerEtcdClient);
        }
        all
    }

    /// Whether the user brings this key pair.
    #[must_use]
    pub fn is_users(&self, purpose: Purpose) -> bool {
        self.external_etcd && matches!(purpose, Purpose::EtcdCa | Purpose::ApiServerEtcdClient)
    }
}

/// Algorithm of keys; kubeadm's where nothing is said.
#[must_use]
pub fn algorithm(given: Option<EncryptionAlgorithm>) -> KeyAlgorithm {
    match given {
        None | Some(EncryptionAlgorithm::Rsa2048) => KeyAlgorithm::Rsa2048,
        Some(EncryptionAlgorithm::Rsa3072) => KeyAlgorithm::Rsa3072,
        Some(EncryptionAlgorithm::Rsa4096) => KeyAlgorithm::Rsa4096,
        Some(EncryptionAlgorithm::EcdsaP256) => KeyAlgorithm::EcdsaP256,
        Some(EncryptionAlgorithm::EcdsaP384) => KeyAlgorithm::EcdsaP384,
    }
}

/// A key pair, PEM. `Debug` shows neither half.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate; of service accounts the public key.
    pub certificate: String,
    /// The private key. The authority of an external etcd has none here. A secret.
    pub key: Option<String>,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Certificates {
    /// Key pairs that can be used.
    pub pairs: BTreeMap<Purpose, KeyPair>,
    /// Those whose Secret does not exist.
    pub missing: Vec<Purpose>,
    /// Those whose Secret cannot be used, and why, in a sentence with the name of the Secret.
    pub unusable: Vec<(Purpose, String)>,
}

impl Certificates {
    /// Whether nothing is missing or unusable.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unusable.is_empty()
    }

    /// What is missing or unusable, in a sentence.
    #[must_use]
    pub fn wanting(&self, cluster: &str) -> Option<String> {
        let missing = self
            .missing
            .iter()
            .map(|purpose| format!("Secret {} does not exist", purpose.secret_name(cluster)));
        let all: Vec<_> = missing.chain(self.unusable.iter().map(|(_, why)| why.clone())).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Reads the Secrets of a Cluster.
///
/// # Errors
/// When the API server does not answer.
pub async fn look_up(
    hub: &Hub,
    namespace: &str,
    cluster: &str,
    wanted: &Wanted,
) -> Result<Certificates, scute_kit::Error> {
    let now = hub.now();
    let mut found = Certificates::default();
    for purpose in wanted.purposes() {
        let key = Key::new(namespace, purpose.secret_name(cluster));
        match hub.get::<Secret>(&key).await? {
            None => found.missing.push(purpose),
            Some(secret) => match read(purpose, &secret, wanted, now) {
                Ok(pair) => {
                    found.pairs.insert(purpose, pair);
                }
                Err(why) => found.unusable.push((purpose, format!("Secret {}: {why}", key.name))),
            },
        }
    }
    Ok(found)
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.trim().is_empty())
}

/// The key pair in a Secret, or why it cannot be used. Says nothing of what is in it.
fn read(purpose: Purpose, secret: &Secret, wanted: &Wanted, now: Timestamp) -> Result<KeyPair, String> {
    let certificate =
        text(secret, CERTIFICATE_KEY).ok_or_else(|| format!("{CERTIFICATE_KEY} is not there"))?;
    let key = text(secret, PRIVATE_KEY_KEY);
    if purpose == Purpose::EtcdCa && wanted.external_etcd {
        let read = Certificate::parse(&certificate).map_err(|error| format!("{CERTIFICATE_KEY}: {error}"))?;
        lives(&read, now)?;
        return Ok(KeyPair { certificate, key: None });
    }
    let key = key.ok_or_else(|| format!("{PRIVATE_KEY_KEY} is not there"))?;
    match purpose {
        Purpose::ServiceAccount => {
            let keys = ServiceAccountKeys { public_pem: certificate.clone(), private_pem: key.clone() };
            if !keys.is_valid() {
                return Err(format!(
                    "{CERTIFICATE_KEY} is not the public key that belongs to the private key in {PRIVATE_KEY_KEY}"
                ));
            }
        }
        Purpose::ApiServerEtcdClient => {
            let read =
                Certificate::parse(&certificate).map_err(|error| format!("{CERTIFICATE_KEY}: {error}"))?;
            let private = PrivateKey::load(&key).map_err(|error| format!("{PRIVATE_KEY_KEY}: {error}"))?;
            if !read.has_key(&private) {
                return Err(format!("the key in {PRIVATE_KEY_KEY} does not belong to the certificate"));
            }
            lives(&read, now)?;
        }
        Purpose::ClusterCa | Purpose::EtcdCa | Purpose::FrontProxyCa => {
            let ca = Ca::load(&certificate, &key).map_err(|error| error.to_string())?;
            lives(ca.certificate(), now)?;
        }
    }
    Ok(KeyPair { certificate, key: Some(key) })
}

fn lives(certificate: &Certificate, now: Timestamp) -> Result<(), String> {
    let end = certificate.not_after();
    if end > now { Ok(()) } else { Err(format!("the certificate ended on {end}")) }
}

/// Why key pairs were not made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The algorithm or the validity does not work.
    #[error("making keys: {0}")]
    Pki(#[from] scute_pki::Error),
    /// The Secret was not written.
    #[error(transparent)]
    Write(#[from] scute_kit::Error),
    /// The thread that makes keys ended.
    #[error("making keys did not end")]
    Ended,
}

/// Makes what is missing and not the user's, for the owner. A Secret that somebody else made in between is left as it
/// is: the next look finds it. Gives what was made.
///
/// # Errors
/// When a key cannot be made, or the API server refuses.
pub async fn make_missing(
    hub: &Hub,
    namespace: &str,
    cluster: &str,
    wanted: &Wanted,
    found: &Certificates,
    owner: &OwnerReference,
) -> Result<Vec<Purpose>, MakeError> {
    let mut made = Vec::new();
    for purpose in found.missing.iter().copied().filter(|purpose| !wanted.is_users(*purpose)) {
        let (wanted, now) = (*wanted, hub.now());
        let pair = tokio::task::spawn_blocking(move || make(purpose, &wanted, now));
        let (certificate, key) = pair.await.map_err(|_| MakeError::Ended)??;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(purpose.secret_name(cluster)),
                namespace: Some(namespace.to_owned()),
                labels: Some([(CLUSTER_NAME_LABEL.to_owned(), cluster.to_owned())].into()),
                owner_references: Some(vec![owner.clone()]),
                ..ObjectMeta::default()
            },
            type_: Some(CLUSTER_SECRET_TYPE.to_owned()),
            data: Some(
                [
                    (CERTIFICATE_KEY.to_owned(), ByteString(certificate.into_bytes())),
                    (PRIVATE_KEY_KEY.to_owned(), ByteString(key.into_bytes())),
                ]
                .into(),
            ),
            ..Secret::default()
        };
        match hub.create(&secret).await {
            Ok(_) => made.push(purpose),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(made)
}

/// Certificate and private key.
fn make(purpose: Purpose, wanted: &Wanted, now: Timestamp) -> Result<(String, String), scute_pki::Error> {
    if purpose == Purpose::ServiceAccount {
        let keys = ServiceAccountKeys::generate(wanted.algorithm)?;
        return Ok((keys.public_pem, keys.private_pem));
    }
    let ca = Ca::generate(purpose.common_name(), wanted.validity, wanted.algorithm, now)?;
    Ok((ca.certificate_pem().to_owned(), ca.key_pem().to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

    fn wanted(configuration: serde_json::Value) -> Wanted {
        Wanted::of(Some(&serde_json::from_value(configuration).expect("a configuration")))
    }

    fn secret(certificate: &str, key: &str) -> Secret {
        serde_json::from_value(json!({"data": {
            "tls.crt": ByteString(certificate.as_bytes().to_vec()), "tls.key": ByteString(key.as_bytes().to_vec())}}))
        .expect("a Secret")
    }

    #[test]
    fn what_is_made_can_be_used_in_every_algorithm() {
        for name in ["ECDSA-P256", "ECDSA-P384", "RSA-2048", "RSA-3072"] {
            let wanted = wanted(json!({"encryptionAlgorithm": name, "caCertificateValidityPeriodDays": 30}));
            for purpose in wanted.purposes() {
                let (certificate, key) = make(purpose, &wanted, NOW).expect("made");
                let read = read(purpose, &secret(&certificate, &key), &wanted, NOW).expect("usable");
                assert_eq!(read.key.as_deref(), Some(key.as_str()), "{name} {purpose:?}");
                if purpose == Purpose::ClusterCa {
                    let certificate = Certificate::parse(&certificate).expect("a certificate");
                    assert_eq!(certificate.not_after().duration_since(NOW).as_hours(), 30 * 24);
                }
            }
        }
    }

    #[test]
    fn an_external_etcd_brings_its_own() {
        let etcd = json!({"external": {"endpoints": ["https://e:2379"], "caFile": "/a", "certFile": "/b", "keyFile": "/c"}});
        let wanted = wanted(json!({ "etcd": etcd }));
        assert_eq!(wanted.purposes().len(), 5);
        assert!(wanted.is_users(Purpose::EtcdCa) && wanted.is_users(Purpose::ApiServerEtcdClient));
        assert!(!wanted.is_users(Purpose::ClusterCa));
        let (certificate, _) = make(Purpose::EtcdCa, &wanted, NOW).expect("made");
        let only: Secret = serde_json::from_value(
            json!({"data": {"tls.crt": ByteString(certificate.clone().into_bytes())}}),
        )
        .expect("a Secret");
        let pair = read(Purpose::EtcdCa, &only, &wanted, NOW).expect("usable without a key");
        assert_eq!(pair, KeyPair { certificate, key: None });
    }

    #[test]
    fn what_cannot_be_used_is_told_without_its_content() {
        let wanted = Wanted::of(None);
        let cheap = Wanted { algorithm: KeyAlgorithm::EcdsaP256, ..wanted };
        let (one, key) = make(Purpose::ClusterCa, &cheap, NOW).expect("made");
        let (_, other) = make(Purpose::ClusterCa, &cheap, NOW).expect("made");
        let said = |purpose, certificate: &str, key: &str, now| {
            let error = read(purpose, &secret(certificate, key), &wanted, now).expect_err("unusable");
            assert!(!error.contains("BEGIN"), "{error}");
            error
        };
        assert!(said(Purpose::ClusterCa, &one, &other, NOW).contains("does not belong"));
        assert!(said(Purpose::ClusterCa, "x", &key, NOW).contains("certificate"));
        assert_eq!(said(Purpose::EtcdCa, "", &key, NOW), "tls.crt is not there");
        assert!(said(Purpose::ServiceAccount, &one, &key, NOW).contains("public key"));
        let late = NOW + jiff::SignedDuration::from_hours(24 * 3651);
        assert!(said(Purpose::FrontProxyCa, &one, &key, late).starts_with("the certificate ended on"));
    }
}
