//! The status of an object, written by others than its own controller.

use kube::Resource;
use kube::api::ApiResource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Error;
use crate::hub::Hub;
use crate::key::{Key, Kind};

impl Hub {
    /// Writes fields of the status, unless somebody else has written to the object since it was read: that is a conflict. An
    /// object that is gone is told nothing.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn tell<K>(&self, seen: &K, status: Value) -> Result<(), Error>
    where
        K: Kind + Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let patch = json!({
            "metadata": { "uid": seen.meta().uid, "resourceVersion": seen.meta().resource_version },
            "status": status,
        });
        let resource = ApiResource::erase::<K>(&());
        match self.patch_dynamic(&resource, &Key::of(seen), Some("status"), &patch).await {
            Ok(written) => {
                // What cannot be read back comes by the watch, which says so.
                if let Ok(written) = written.as_ref().clone().try_parse::<K>() {
                    self.watch::<K>().learn(written);
                }
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
