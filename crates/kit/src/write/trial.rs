//! What an apply would make of an object, without making it.

use std::sync::Arc;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::request::Request;

use super::{Error, Target, apply_body};
use crate::hub::Hub;
use crate::json::without_nulls;
use crate::key::Key;

impl Hub {
    /// The object as [`Hub::apply_dynamic`] would leave it, from a dry run of the API server: with its defaults, and with
    /// what others say of it. `None` when the apply would be skipped, since nothing differs.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn trial_dynamic(
        &self,
        resource: &ApiResource,
        manager: &str,
        want: &DynamicObject,
    ) -> Result<Option<Arc<DynamicObject>>, Error> {
        let target = Target::dynamic(resource, Key::of(want));
        let body = without_nulls(target.encoded(serde_json::to_value(want))?);
        let watch = self.existing_dynamic(resource);
        if self.stands(&target, manager, &body, watch.as_ref()).await?.is_some() {
            return Ok(None);
        }
        let params = PatchParams { dry_run: true, ..PatchParams::apply(manager).force() };
        let request = Request::new(&target.path).patch(&target.key.name, &params, &Patch::Apply(&body));
        let request = target.built(request)?.map(|_| apply_body(&body));
        target.answered("get", self.client().request(request).await).map(|object| Some(Arc::new(object)))
    }
}
