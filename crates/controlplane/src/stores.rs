//! Opened DataStores: credentials resolved from their Secrets, one connection each, until something changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::kamaji::{ContentRef, DataStore, SecretKeyRef};
use scute_etcd::{Access, Connect, Store};
use scute_kit::{Hub, Key, Why};
use scute_pki::Ca;

/// A DataStore that can be asked, and the authority that signs its users' certificates.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Authority of its certificates.
    pub ca: Arc<Ca>,
    /// `host:port` of its members.
    pub endpoints: Vec<String>,
}

/// All DataStores that were opened, by name.
pub struct Stores {
    hub: Arc<Hub>,
    connect: Arc<dyn Connect>,
    opened: Mutex<HashMap<String, (String, Arc<Opened>)>>,
    doubts: Mutex<HashMap<String, u64>>,
}

impl Stores {
    /// No stores yet; they are opened on first use.
    pub fn new(hub: &Arc<Hub>, connect: Arc<dyn Connect>) -> Self {
        Self { hub: Arc::clone(hub), connect, opened: Mutex::default(), doubts: Mutex::default() }
    }

    /// The store of a DataStore, opened anew when the DataStore or one of its Secrets changed.
    ///
    /// # Errors
    /// Which Secret or key is missing or unusable.
    pub async fn open(&self, datastore: &DataStore) -> Result<Arc<Opened>, Why> {
        let name = datastore.name_any();
        let version = self.version(datastore).await;
        let known =
            self.lock().get(&name).filter(|(known, _)| *known == version).map(|(_, store)| store.clone());
        if let Some(opened) = known {
            return Ok(opened);
        }
        let opened = Arc::new(self.open_anew(datastore).await?);
        self.lock().insert(name, (version, opened.clone()));
        Ok(opened)
    }

    /// Drops the connection to a DataStore that is gone.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// What a tenant's user and prefix were made in: another text means that they have to be looked for again.
    pub fn identity(&self, datastore: &DataStore) -> String {
        let doubts = self.doubts().get(&datastore.name_any()).copied().unwrap_or_default();
        format!("{:?} {:?} {doubts}", datastore.uid(), datastore.metadata.generation)
    }

    /// Takes back what is known of the tenants in a DataStore: it did not answer, or holds less than before.
    pub fn doubt(&self, name: &str) {
        *self.doubts().entry(name.to_owned()).or_default() += 1;
    }

    fn doubts(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (String, Arc<Opened>)>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Generation of the DataStore and versions of its Secrets: what the credentials depend on.
    async fn version(&self, datastore: &DataStore) -> String {
        let secrets = self.hub.watch_meta::<Secret>();
        secrets.ready().await;
        let mut version = format!("{:?} {:?}", datastore.uid(), datastore.metadata.generation);
        for key in references(datastore) {
            let seen = secrets.get(&key).and_then(|secret| secret.resource_version());
            version.push_str(&format!(" {key}={seen:?}"));
        }
        version
    }

    async fn open_anew(&self, datastore: &DataStore) -> Result<Opened, Why> {
        let tls = &datastore.spec.tls_config;
        let read = |path, content| self.content(path, content);
        let ca_pem = read("certificateAuthority.certificate", &tls.certificate_authority.certificate).await?;
        let ca_key = read("certificateAuthority.privateKey", &tls.certificate_authority.private_key).await?;
        let certificate = read("clientCertificate.certificate", &tls.client_certificate.certificate).await?;
        let key = read("clientCertificate.privateKey", &tls.client_certificate.private_key).await?;
        let invalid = |path: &str, detail: String| {
            Why::new("TLSConfigurationValidationFailed", format!("spec.tlsConfig.{path}: {detail}"))
        };
        let ca =
            Ca::load(&ca_pem, &ca_key).map_err(|error| invalid("certificateAuthority", error.to_string()))?;
        let endpoints = datastore.spec.endpoints.clone();
        let access =
            Access { endpoints: endpoints.clone(), ca_pem, certificate_pem: certificate, key_pem: key };
        let store = self
            .connect
            .open(&access)
            .await
            .map_err(|error| invalid("clientCertificate", error.to_string()))?;
        Ok(Opened { store, ca: Arc::new(ca), endpoints })
    }

    async fn content(&self, path: &'static str, reference: &ContentRef) -> Result<String, Why> {
        let invalid = |detail: String| {
            Why::new("TLSConfigurationValidationFailed", format!("spec.tlsConfig.{path}: {detail}"))
        };
        let bytes = match (&reference.content, &reference.secret_reference) {
            (Some(content), _) => {
                let decoded = serde_json::from_value::<ByteString>(serde_json::json!(content));
                decoded.map_err(|_| invalid("content is not base64".to_owned()))?
            }
            (None, Some(secret)) => self.secret_key(secret).await.map_err(invalid)?,
            (None, None) => {
                return Err(invalid("neither content nor secretReference is given".to_owned()));
            }
        };
        String::from_utf8(bytes.0).map_err(|_| invalid("is not PEM".to_owned()))
    }

    async fn secret_key(&self, reference: &SecretKeyRef) -> Result<ByteString, String> {
        let key = Key::new(reference.namespace.clone(), reference.name.clone());
        let secret = self
            .hub
            .get::<Secret>(&key)
            .await
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("Secret {key} does not exist"))?;
        let mut data = secret.data.unwrap_or_default();
        data.remove(&reference.key_path)
            .ok_or_else(|| format!("Secret {key} has no key {:?}", reference.key_path))
    }
}

/// The Secrets that a DataStore reads.
pub fn references(datastore: &DataStore) -> Vec<Key> {
    let tls = &datastore.spec.tls_config;
    let pairs = [&tls.certificate_authority, &tls.client_certificate];
    let mut keys: Vec<_> = pairs
        .into_iter()
        .flat_map(|pair| [&pair.certificate, &pair.private_key])
        .filter(|content| content.content.is_none())
        .filter_map(|content| content.secret_reference.as_ref())
        .map(|secret| Key::new(secret.namespace.clone(), secret.name.clone()))
        .collect();
    keys.sort();
    keys.dedup();
    keys
}
