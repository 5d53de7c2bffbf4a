//! What a move writes on objects, so that the next run finds where this one ended.

use scute_api::meta::PAUSED_ANNOTATION;
use scute_api::metal3::PAUSED_ANNOTATION as HOST_PAUSED_ANNOTATION;
use serde_json::{Value, json};

use crate::object::Object;

/// On what a move has paused, at both sides: the move's id. It goes with the pause.
pub const MOVE: &str = "scute.dev/move";
/// At the target: the UID that the object had at the source, from where it has gone or is to go. It stays.
pub const MOVED_FROM: &str = "scute.dev/moved-from";
/// At the target: the UID of the object at the source that stays there, since others use it too.
pub const COPIED_FROM: &str = "scute.dev/copied-from";
/// Value of the annotations that pause, by which a move's pause is told from a person's.
pub const PAUSE: &str = "scute.dev/move";

/// What pauses an object of a kind that has nobody above it who could be paused in its stead.
fn pause_annotation(object: &Object) -> Option<&'static str> {
    match object.kind() {
        "Secret" | "ConfigMap" | "Cluster" => None,
        "BareMetalHost" => Some(HOST_PAUSED_ANNOTATION),
        _ => Some(PAUSED_ANNOTATION),
    }
}

/// Whether a move pauses it: what is paused by its Cluster or its owner is not.
pub fn is_paused_by_move(object: &Object, level: usize) -> bool {
    level == 0 && !object.is_content()
}

/// The patch that pauses it and names the move. A person's own pause is left as it is, and outlives the move.
pub fn pause(object: &Object, id: &str) -> Value {
    let mut patch = json!({"metadata": {"annotations": {MOVE: id}}});
    match pause_annotation(object) {
        Some(annotation) if object.annotation(annotation).is_none() => {
            patch["metadata"]["annotations"][annotation] = json!(PAUSE);
        }
        Some(_) => {}
        None => patch["spec"] = json!({"paused": true}),
    }
    patch
}

/// The patch that takes back what [`pause`] wrote.
pub fn resume(object: &Object) -> Value {
    let mut patch = json!({"metadata": {"annotations": {MOVE: null}}});
    match pause_annotation(object) {
        Some(annotation) if object.annotation(annotation) == Some(PAUSE) => {
            patch["metadata"]["annotations"][annotation] = Value::Null;
        }
        Some(_) => {}
        None => patch["spec"] = json!({"paused": null}),
    }
    patch
}

/// Whether its controllers leave it alone for the sake of a move or of a person.
pub fn is_paused(object: &Object) -> bool {
    match pause_annotation(object) {
        Some(annotation) => object.annotation(annotation).is_some(),
        None => object.at("/spec/paused") == &json!(true),
    }
}
