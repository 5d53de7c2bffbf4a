//! ConfigMaps and Secrets that sets name: their metadata is watched, their content read when it has to go somewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;
use scute_api::addons::{RESOURCE_SET_SECRET_TYPE, ResourceKind, ResourceRef};
use scute_kit::{Error, Hub, Key, Watch};

use super::manifest::{self, Data};

/// What a ConfigMap or Secret holds.
pub enum Content {
    /// Manifests.
    Data(Data),
    /// It is not there any more.
    Missing,
    /// A Secret that is not meant for this.
    WrongType,
}

/// The ConfigMaps and Secrets of all namespaces, by what they are called.
pub struct Resources {
    config_maps: Watch<PartialObjectMeta<ConfigMap>>,
    secrets: Watch<PartialObjectMeta<Secret>>,
    /// Hashes of what was read, with the version that they are of.
    hashes: Mutex<HashMap<(ResourceKind, Key), (String, String)>>,
}

impl Resources {
    /// Watches metadata.
    #[must_use]
    pub fn new(hub: &Hub) -> Self {
        Self { config_maps: hub.watch_meta(), secrets: hub.watch_meta(), hashes: Mutex::default() }
    }

    /// Returns when all are listed.
    pub async fn ready(&self) {
        self.config_maps.ready().await;
        self.secrets.ready().await;
    }

    /// Metadata of one, if it exists.
    pub fn meta(&self, namespace: &str, resource: &ResourceRef) -> Option<ObjectMeta> {
        let key = Key::new(namespace, resource.name.clone());
        match resource.kind {
            ResourceKind::ConfigMap => self.config_maps.get(&key).map(|meta| meta.metadata.clone()),
            ResourceKind::Secret => self.secrets.get(&key).map(|meta| meta.metadata.clone()),
        }
    }

    /// The hash of its content, if this version of it has been read.
    pub fn hash(&self, namespace: &str, resource: &ResourceRef) -> Option<String> {
        let version = self.meta(namespace, resource)?.resource_version?;
        let key = (resource.kind, Key::new(namespace, resource.name.clone()));
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.get(&key).filter(|(of, _)| *of == version).map(|(_, hash)| hash.clone())
    }

    /// Reads one, and keeps its hash.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn read(&self, hub: &Hub, namespace: &str, resource: &ResourceRef) -> Result<Content, Error> {
        let key = Key::new(namespace, resource.name.clone());
        let (data, version): (Data, _) = match resource.kind {
            ResourceKind::ConfigMap => {
                let Some(map) = hub.get::<ConfigMap>(&key).await? else { return Ok(Content::Missing) };
                let data = map.data.unwrap_or_default();
                let data = data.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
                (data, map.metadata.resource_version)
            }
            ResourceKind::Secret => {
                let Some(secret) = hub.get::<Secret>(&key).await? else { return Ok(Content::Missing) };

                if secret.type_.as_deref() != Some(RESOURCE_SET_SECRET_TYPE) {
                    return Ok(Content::WrongType);
                }
                let data = secret.data.unwrap_or_default();
                let data = data.into_iter().map(|(key, value)| (key, value.0)).collect();
                (data, secret.metadata.resource_version)
            }
        };
        let hash = manifest::hash(&data);
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.insert((resource.kind, key), (version.unwrap_or_default(), hash));
        // What is gone is forgotten when there is much of it.
        if hashes.len() > MOST_HASHES {
            hashes.retain(|(kind, key), _| match kind {
                ResourceKind::ConfigMap => self.config_maps.get(key).is_some(),
                ResourceKind::Secret => self.secrets.get(key).is_some(),
            });
        }
        Ok(Content::Data(data))
    }
}

/// More than the ConfigMaps and Secrets of most fleets.
const MOST_HASHES: usize = 4096;
