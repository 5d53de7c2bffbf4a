//! The only writer. Every step can be repeated, and leaves alone what it has done before.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::DynamicObject;
use kube::runtime::wait::await_condition;
use serde_json::json;

use crate::compare::{Given, difference, expected, expected_status, managers, status_difference};
use crate::marks::{COPIED_FROM, MOVE, MOVED_FROM, is_paused, pause, resume};
use crate::object::Object;
use crate::plan::{Item, Plan};
use crate::remote::{AT_ONCE, MoveError, Side};

/// How long controllers may take to tell that they have seen the pause.
const REST: Duration = Duration::from_secs(120);
/// How often a write is tried again that came too late.
const TRIES: usize = 8;

/// Pauses the source. Returns what it paused.
pub async fn pause_source(from: &Side, plan: &Plan) -> Result<usize, MoveError> {
    let paused_already = |object: &Object| object.annotation(MOVE) == Some(&plan.id) && is_paused(object);
    let todo = plan.items.iter().filter(|item| item.is_paused_itself() && !paused_already(&item.object));
    let writes = todo.map(|item| async {
        let may = |object: &Object| object.annotation(MOVE).is_none_or(|id| id == plan.id);
        patched(from, &item.object, |object| pause(object, &plan.id), may).await
    });
    all(writes).await.map(|done| done.len())
}

/// Takes the pause back: of the source when the move does not take place, of the target at its end.
pub async fn unpause(side: &Side, id: &str, objects: &[Object]) -> Result<usize, MoveError> {
    let ours = |object: &&Object| object.annotation(MOVE) == Some(id);
    // Clusters last: what they use is awake before them.
    let (clusters, others): (Vec<_>, Vec<_>) =
        objects.iter().filter(ours).partition(|object| object.kind() == "Cluster");
    let mut count = 0;
    for batch in [others, clusters] {
        let may = |object: &Object| object.annotation(MOVE) == Some(id);
        let writes = batch.into_iter().map(|object| async move { patched(side, object, resume, may).await });
        count += all(writes).await?.len();
    }
    Ok(count)
}

/// Waits until every controller that tells of a pause has told of this one.
pub async fn rest(from: &Side, plan: &Plan) -> Result<(), MoveError> {
    let tells = |item: &&Item| item.object.condition("Paused").is_some_and(|told| told["status"] != "True");
    let waits = plan.items.iter().filter(tells).map(|item| async {
        let is_paused = |object: Option<&DynamicObject>| {
            object.is_none_or(|is| {
                let object = Object { of: item.object.of.clone(), is: is.clone() };
                object.condition("Paused").is_none_or(|told| told["status"] == "True")
            })
        };
        let waiting = await_condition(from.api(&item.object.of), item.object.name(), is_paused);
        match tokio::time::timeout(REST, waiting).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(MoveError::Restless(item.object.key().to_string())),
        }
    });
    all(waits).await.map(drop)
}

/// Makes one level at the target, whose owners are there. What is there and differs is brought up to date.
pub async fn create(to: &Side, level: &[&Item], given: &mut Given) -> Result<usize, MoveError> {
    let known = given.clone();
    let writes = level.iter().map(|item| {
        let want = expected(item, &known);
        async move {
            let Some(want) = want else {
                return Err(MoveError::Changed(item.object.key().to_string()));
            };
            let made = create_one(to, item, want).await?;
            Ok((item, made))
        }
    });
    let done = all(writes).await?;
    for (item, (object, _)) in &done {
        given.note(&item.object, object);
    }
    Ok(done.iter().filter(|(_, (_, is_new))| *is_new).count())
}

async fn create_one(to: &Side, item: &Item, want: DynamicObject) -> Result<(DynamicObject, bool), MoveError> {
    let mut have = item.target.as_ref().map(|target| target.is.clone());
    for _ in 0..TRIES {
        let Some(there) = have else {
            match to.create(&item.object, &want).await {
                Err(error) if error.code() == Some(409) => {}
                made => return Ok((made?, true)),
            }
            // An answer of an earlier run was lost, or somebody else was faster.
            have = to.get(&item.object).await?;
            let origin =
                |name| have.as_ref().and_then(|object| object.metadata.annotations.as_ref()?.get(name));
            let origin = origin(MOVED_FROM).or_else(|| origin(COPIED_FROM));
            if have.is_some() && origin.map(String::as_str) != Some(item.object.uid()) {
                return Err(MoveError::Refused(vec![format!(
                    "{}: the target has another",
                    item.object.key()
                )]));
            }
            continue;
        };
        if difference(&want, &there).is_none() {
            return Ok((there, false));
        }
        let mut want = want.clone();
        want.metadata.resource_version.clone_from(&there.metadata.resource_version);
        want.metadata.uid.clone_from(&there.metadata.uid);
        if want.metadata.finalizers.as_ref().is_none_or(Vec::is_empty) {
            // The source's may be off already, as a deletion that was begun does it.
            want.metadata.finalizers.clone_from(&there.metadata.finalizers);
        }
        match to.replace(&item.object, &want).await {
            Err(error) if error.code() == Some(409) => have = to.get(&item.object).await?,
            replaced => return Ok((replaced?, false)),
        }
    }
    Err(MoveError::Changed(item.object.key().to_string()))
}

/// Writes the status of what has one, and who has a part in what.
pub async fn write_status(to: &Side, plan: &Plan) -> Result<usize, MoveError> {
    let writes =
        plan.items.iter().filter(|item| !item.copied).filter_map(|item| Some((item, item.target.as_ref()?)));
    let writes = writes.map(|(item, target)| async move {
        let mut now = target.clone();
        let generation = now.is.metadata.generation.unwrap_or_default();
        let status =
            expected_status(&item.object, generation, &plan.given).filter(|_| item.object.of.has_status);
        let differs = status.filter(|status| status_difference(status, now.at("/status")).is_some());
        if let Some(status) = &differs {
            now.is = to.status(&now, status).await?;
        }
        for _ in 0..TRIES {
            if !needs_managers(item, &now) {
                return Ok(differs.is_some());
            }
            let entries = json!({"metadata": {"managedFields": item.object.is.metadata.managed_fields}});
            match to.patch(&now, entries).await {
                Err(error) if error.code() == Some(409) => {
                    let Some(is) = to.get(&now).await? else { break };
                    now.is = is;
                }
                done => return done.map(|_| differs.is_some()),
            }
        }
        Err(MoveError::Changed(now.key().to_string()))
    });
    let done = all(writes).await?;
    Ok(done.into_iter().filter(|written| *written).count())
}

/// Whether controllers that apply would not find their own fields: they could never take one back.
fn needs_managers(item: &Item, target: &Object) -> bool {
    let (source, target) = (managers(&item.object.is), managers(&target.is));
    source.iter().any(|(_, operation, _)| operation == "Apply") && !source.is_subset(&target)
}

/// Everything in which the target is not as the source; paths only.
pub fn differences(plan: &Plan) -> Vec<String> {
    let mut all = Vec::new();
    for item in &plan.items {
        let key = item.object.key();
        let Some(target) = &item.target else {
            all.push(format!("{key}: is missing"));
            continue;
        };
        let Some(want) = expected(item, &plan.given) else {
            all.push(format!("{key}: its owner is missing"));
            continue;
        };
        let status = expected_status(&item.object, 0, &plan.given).filter(|_| !item.copied);
        let in_status = status.and_then(|status| status_difference(&status, target.at("/status")));
        all.extend(difference(&want, &target.is).or(in_status).map(|path| format!("{key}: {path} differs")));
        if item.is_paused_itself() && !(is_paused(target) && is_paused(&item.object)) {
            all.push(format!("{key}: is not paused at both sides"));
        }
    }
    all
}

/// Deletes at the source, owners last. Nobody is told: finalizers are taken off first.
pub async fn delete(from: &Side, plan: &Plan) -> Result<usize, MoveError> {
    let mut count = 0;
    for level in plan.by_level().iter().rev() {
        let gone = level.iter().filter(|item| !item.copied).map(|item| async {
            let mut version = item.object.is.metadata.resource_version.clone();
            if item.object.is.metadata.finalizers.as_ref().is_some_and(|list| !list.is_empty()) {
                let none = json!({"metadata": {"finalizers": null}});
                version = match from.patch(&item.object, none).await {
                    Err(error) if error.code() == Some(404) => return Ok(()),
                    patched => conflict(&item.object, patched)?.metadata.resource_version,
                };
            }
            conflict(&item.object, from.delete(&item.object, version).await)
        });
        count += all(gone).await?.len();
    }
    Ok(count)
}

fn conflict<T>(object: &Object, done: Result<T, MoveError>) -> Result<T, MoveError> {
    match done {
        Err(error) if error.code() == Some(409) => Err(MoveError::Changed(object.key().to_string())),
        done => done,
    }
}

/// Patches the newest version of an object for as long as it is the same and `may` be.
async fn patched(
    side: &Side,
    object: &Object,
    patch: impl Fn(&Object) -> serde_json::Value,
    may: impl Fn(&Object) -> bool,
) -> Result<(), MoveError> {
    let mut now = object.clone();
    for _ in 0..TRIES {
        match side.patch(&now, patch(&now)).await {
            Err(error) if error.code() == Some(409) => {}
            done => return done.map(drop),
        }
        match side.get(&now).await? {
            Some(is) if is.metadata.uid == now.is.metadata.uid => now.is = is,
            _ => break,
        }
        if !may(&now) {
            break;
        }
    }
    Err(MoveError::Changed(object.key().to_string()))
}

/// Does them all, a bounded number at a time.
async fn all<T>(
    writes: impl Iterator<Item = impl Future<Output = Result<T, MoveError>>>,
) -> Result<Vec<T>, MoveError> {
    stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await
}
