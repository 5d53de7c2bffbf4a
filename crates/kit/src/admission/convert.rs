//! `/convert`: objects in another version of their kind, when a client asks for one that is not stored.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admission, Versions};
use crate::guard::guarded_call;

#[derive(Deserialize)]
pub(super) struct Review {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    #[serde(rename = "desiredAPIVersion")]
    desired: String,
    #[serde(default)]
    objects: Vec<Value>,
}

/// All objects or none: the API server takes no part of an answer.
pub(super) async fn convert(
    State(admission): State<Arc<Admission>>,
    Json(review): Json<Review>,
) -> Json<Value> {
    let Request { uid, desired, objects } = review.request;
    let (objects, result) = match converted(admission.versions.clone(), desired, objects).await {
        Ok(objects) => (objects, json!({"status": "Success"})),
        Err(why) => (Vec::new(), json!({"status": "Failure", "message": why})),
    };
    Json(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "ConversionReview",
        "response": {"uid": uid, "convertedObjects": objects, "result": result},
    }))
}

/// On a thread of its own: a large object is more work than other requests should wait for.
async fn converted(
    versions: Option<Versions>,
    desired: String,
    objects: Vec<Value>,
) -> Result<Vec<Value>, String> {
    let Some(versions) = versions else { return Err("no kind has versions here".to_owned()) };
    let all = move || objects.iter().map(|object| one(&versions, object, &desired)).collect();
    tokio::task::spawn_blocking(all).await.unwrap_or_else(|_| Err("the manager stops".to_owned()))
}

fn one(versions: &Versions, object: &Value, desired: &str) -> Result<Value, String> {
    let done = guarded_call(|| (versions.convert)(object, desired));
    let done = done.unwrap_or_else(|panicked| Err(panicked.to_string()));
    done.map_err(|why| format!("{}: {why}", title(object)))
}

/// Kind, namespace and name.
fn title(object: &Value) -> String {
    let text = |place: &str| object.pointer(place).and_then(Value::as_str).unwrap_or_default();
    let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;

    use super::*;

    async fn answer(objects: Value) -> (u16, Value) {
        let versions = Versions {
            convert: Arc::new(|object, to| match object["spec"].as_str() {
                Some("bad") => Err("is wrong".to_owned()),
                Some("panic") => panic!("as the test wants"),
                _ => Ok(json!({"apiVersion": to, "spec": object["spec"]})),
            }),
            worded: |_, _, _, _| None,
        };
        let review = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "request": {"uid": "u", "desiredAPIVersion": "g/v2", "objects": objects}});
        let request = http::Request::post("/convert").header("content-type", "application/json");
        let request = request.body(Body::from(review.to_string())).unwrap();
        let answer = Admission::new().versions(versions).router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn object(name: &str, spec: &str) -> Value {
        json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"namespace": "n", "name": name}, "spec": spec})
    }

    #[tokio::test]
    async fn every_object_is_converted_in_its_place() {
        let (_, answer) = answer(json!([object("a", "1"), object("b", "2")])).await;
        let converted = json!([{"apiVersion": "g/v2", "spec": "1"}, {"apiVersion": "g/v2", "spec": "2"}]);
        let response = json!({"uid": "u", "convertedObjects": converted, "result": {"status": "Success"}});
        assert_eq!(answer["response"], response);
        assert_eq!(answer["kind"], "ConversionReview");
    }

    #[tokio::test]
    async fn one_that_fails_is_named_and_none_is_converted() {
        for (bad, why) in
            [("bad", "K n/b: is wrong"), ("panic", "K n/b: a fault of the program; its log says where")]
        {
            let (_, answer) = answer(json!([object("a", "1"), object("b", bad)])).await;
            let result = json!({"status": "Failure", "message": why});
            assert_eq!(answer["response"], json!({"uid": "u", "convertedObjects": [], "result": result}));
        }
    }

    #[tokio::test]
    async fn what_is_no_object_is_refused_and_what_is_too_large_not_read() {
        let (_, answer_to_none) = answer(json!([])).await;
        assert_eq!(answer_to_none["response"]["result"]["status"], "Success");
        assert_eq!(answer(json!({})).await.0, 422);
        assert_eq!(answer(json!([object("a", &"x".repeat(super::super::LARGEST_REVIEW))])).await.0, 413);
    }
}
