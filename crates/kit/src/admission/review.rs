//! Reviews as the API server sends them, and the answers that it reads.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admission, AdmissionRequest, Operation, Verdict};

/// The largest request that the API server takes is 3 MiB. A review of it has the object and the one before, with
/// letters escaped that the request had as they are.
pub(super) const LARGEST_REVIEW: usize = 16 << 20;

#[derive(Deserialize)]
pub(super) struct Review {
    pub(super) request: Request,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) uid: String,
    pub(super) kind: GroupKind,
    /// What the request was for; `kind` is what was registered.
    #[serde(default)]
    pub(super) request_kind: GroupKind,
    #[serde(default)]
    pub(super) sub_resource: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
    pub(super) operation: Operation,
    #[serde(default)]
    pub(super) user_info: User,
    #[serde(default)]
    pub(super) object: Value,
    #[serde(default)]
    pub(super) old_object: Value,
    #[serde(default)]
    pub(super) dry_run: bool,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GroupKind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub(super) username: String,
}

impl From<Request> for AdmissionRequest {
    fn from(request: Request) -> Self {
        Self {
            operation: request.operation,
            namespace: request.namespace,
            name: request.name,
            subresource: request.sub_resource,
            object: request.object,
            old: (!request.old_object.is_null()).then_some(request.old_object),
            dry_run: request.dry_run,
            user: request.user_info.username,
        }
    }
}

pub(super) async fn validate(
    State(admission): State<Arc<Admission>>,
    Json(review): Json<Review>,
) -> Json<Value> {
    let verdict = match admission.judge(&review).await {
        Verdict::Replace(_) => Verdict::Allow,
        verdict => verdict,
    };
    let warnings = match verdict {
        Verdict::Allow => admission.warnings(&review).await,
        _ => Vec::new(),
    };
    let mut answer = answer(&review.request, verdict);
    if !warnings.is_empty() {
        answer["response"]["warnings"] = json!(warnings);
    }
    Json(answer)
}

pub(super) async fn mutate(
    State(admission): State<Arc<Admission>>,
    Json(review): Json<Review>,
) -> Json<Value> {
    let verdict = admission.judge(&review).await;
    Json(answer(&review.request, verdict))
}

pub(super) fn answer(request: &Request, verdict: Verdict) -> Value {
    let mut response = json!({ "uid": request.uid, "allowed": true });
    match verdict {
        Verdict::Allow => {}
        Verdict::Replace(object) => {
            let patch = json_patch::diff(&request.object, &object);
            if !patch.0.is_empty() {
                let text = serde_json::to_vec(&patch).unwrap_or_default();
                response["patchType"] = json!("JSONPatch");
                response["patch"] = json!(k8s_openapi::ByteString(text));
            }
        }
        Verdict::Deny(errors) => {
            let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
            let message = match text.as_slice() {
                [one] => one.clone(),
                many => format!("[{}]", many.join(", ")),
            };
            refuse(&mut response, 422, "Invalid", &message);
        }
        Verdict::Refuse(code, message) => {
            let reason = match code {
                429 => "TooManyRequests",
                500.. => "InternalError",
                _ => "Forbidden",
            };
            refuse(&mut response, code, reason, &message);
        }
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}

fn refuse(response: &mut Value, code: u16, reason: &str, message: &str) {
    response["allowed"] = json!(false);
    response["status"] = json!({ "status": "Failure", "code": code, "reason": reason, "message": message });
}
