//! Secrets with certificates that a manager makes and renews, whoever changes them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use scute_pki::{KeyPairPem, LEAF_VALIDITY};
use serde_json::json;

/// A certificate is renewed in the second half of its life.
pub const LEAF_DEADLINE: Duration = Duration::from_secs(LEAF_VALIDITY.as_secs() / 2);
/// How long to wait before what failed is tried again, and at most until a Secret is looked at again: a certificate that is
/// due cannot be watched.
const AGAIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(3600);

/// Why certificates could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The API server refused or did not answer.
    #[error("{what} could not be read or written")]
    Api {
        /// The object.
        what: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// No certificate could be made.
    #[error("no certificate could be made")]
    Pki(#[from] scute_pki::Error),
    /// What was signed by it is in use, and another one would be worth nothing.
    #[error("the authority in Secret {secret} cannot be used: {why}; restore the Secret from a backup")]
    Authority {
        /// The Secret.
        secret: String,
        /// What is wrong with it.
        why: scute_pki::Stale,
    },
    /// The DataStore could not be written.
    #[error("the DataStore could not be made")]
    DataStore(#[from] crate::InstallError),
}

pub fn api(what: String, source: kube::Error) -> UpkeepError {
    UpkeepError::Api { what, source }
}

/// What is in a Secret.
#[derive(Clone, Default)]
pub struct Content {
    /// The authorities that are trusted, the one that signs first.
    pub ca: Option<String>,
    /// Its key; whoever makes certificates elsewhere does not give it.
    pub ca_key: Option<String>,
    /// What is served, or shown.
    pub pair: Option<KeyPairPem>,
}

impl Content {
    fn of(secret: &Secret) -> Self {
        let text = |key: &str| {
            let bytes = secret.data.as_ref()?.get(key)?;
            String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.is_empty())
        };
        let pair = text("tls.crt").zip(text("tls.key"));
        let pair = pair.map(|(certificate_pem, key_pem)| KeyPairPem { certificate_pem, key_pem });
        Self { ca: text("ca.crt"), ca_key: text("ca.key"), pair }
    }

    /// The authority that signs.
    pub fn authority(&self) -> Option<KeyPairPem> {
        let pair = self.ca.clone().zip(self.ca_key.clone());
        pair.map(|(certificate_pem, key_pem)| KeyPairPem { certificate_pem, key_pem })
    }

    fn data(&self) -> BTreeMap<String, ByteString> {
        let pair = self.pair.as_ref();
        let all = [
            ("ca.crt", self.ca.as_deref()),
            ("ca.key", self.ca_key.as_deref()),
            ("tls.crt", pair.map(|pair| &*pair.certificate_pem)),
            ("tls.key", pair.map(|pair| &*pair.key_pem)),
        ];
        let text = |(key, text): (&str, Option<&str>)| Some((key.to_owned(), ByteString(text?.into())));
        all.into_iter().filter_map(text).collect()
    }
}

/// A Secret that is kept.
#[derive(Clone)]
pub struct Kept {
    secrets: Api<Secret>,
    name: String,
}

impl Kept {
    /// The Secret of this name.
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self { secrets: Api::namespaced(client.clone(), namespace), name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Each version of it.
    pub fn changes(&self) -> impl Stream<Item = Content> + Send + 'static {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let changes = watcher(self.secrets.clone(), only).default_backoff().touched_objects();
        // What the watch could not do it tries again.
        changes.filter_map(async |secret| secret.ok().map(|secret| Content::of(&secret))).boxed()
    }

    fn failed(&self, source: kube::Error) -> UpkeepError {
        api(format!("Secret {}", self.name), source)
    }

    async fn get(&self) -> Result<Option<Secret>, UpkeepError> {
        self.secrets.get_opt(&self.name).await.map_err(|source| self.failed(source))
    }

    /// What it holds; nothing when it is not there.
    pub async fn content(&self) -> Result<Content, UpkeepError> {
        Ok(self.get().await?.as_ref().map(Content::of).unwrap_or_default())
    }

    /// Whether it holds something under another key.
    pub async fn holds(&self, key: &str) -> Result<bool, UpkeepError> {
        let data = self.get().await?.and_then(|secret| secret.data);
        Ok(data.is_some_and(|data| data.contains_key(key)))
    }

    /// Puts text under another key.
    pub async fn put(&self, key: &str, text: &str) -> Result<(), UpkeepError> {
        let patch = Patch::Merge(json!({"stringData": {key: text}}));
        let done = self.secrets.patch(&self.name, &PatchParams::default(), &patch).await;
        done.map(drop).map_err(|source| self.failed(source))
    }

    /// Writes it, there or not.
    pub async fn write(&self, content: &Content) -> Result<(), UpkeepError> {
        let patch = Patch::Merge(json!({"data": content.data()}));
        let done = self.secrets.patch(&self.name, &PatchParams::default(), &patch).await;
        let done = match done {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let mut secret = Secret { data: Some(content.data()), ..Secret::default() };
                secret.metadata.name = Some(self.name.clone());
                self.secrets.create(&PostParams::default(), &secret).await
            }
            done => done,
        };
        match done {
            // Somebody was quicker: the next look finds what they made.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            done => done.map(drop).map_err(|source| self.failed(source)),
        }
    }
}

/// Something of a kind was changed.
pub fn events<K>(client: &Client, config: watcher::Config) -> BoxStream<'static, ()>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send,
    K: 'static,
{
    let changes = watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), config);
    changes.default_backoff().touched_objects().filter_map(async |object| object.ok().map(drop)).boxed()
}

/// Looks after something at once, at each change, and when it is time; does not return. `failed` hears what could not be
/// done, which is tried again.
pub async fn again_and_again<F>(
    mut changes: impl Stream<Item = ()> + Unpin,
    look: impl Fn() -> F,
    failed: impl Fn(&UpkeepError),
) where
    F: Future<Output = Result<(), UpkeepError>>,
{
    loop {
        let patience = match look().await {
            Ok(()) => LOOK,
            Err(error) => {
                failed(&error);
                AGAIN
            }
        };
        // The next change, or time to look again; then what comes with it in the same moment.
        let _ = tokio::time::timeout(patience, changes.next()).await;
        while tokio::time::timeout(Duration::from_millis(50), changes.next()).await.is_ok() {}
    }
}
