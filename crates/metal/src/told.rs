//! What a claim is told of what it got. Somebody acts on it at once, so it is never told one thing and then another.

use kube::api::ApiResource;
use kube::{Resource, ResourceExt};
use scute_kit::{Error, Hub, Key, Kind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Writes fields of the status, unless somebody else has written to the claim since it was read: that is a conflict. A claim
/// that is gone is told nothing.
pub async fn tell<K>(hub: &Hub, claim: &K, status: Value) -> Result<(), Error>
where
    K: Kind + Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    let patch = json!({
        "metadata": { "uid": claim.uid(), "resourceVersion": claim.resource_version() },
        "status": status,
    });
    let resource = ApiResource::erase::<K>(&());
    match hub.patch_dynamic(&resource, &Key::of(claim), Some("status"), &patch).await {
        Ok(written) => {
            // What cannot be read back comes by the watch, which says so.
            if let Ok(written) = written.as_ref().clone().try_parse::<K>() {
                hub.watch::<K>().learn(written);
            }
            Ok(())
        }
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
