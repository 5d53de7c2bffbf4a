//! The writes of a MachineSet's reconcile.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::DynamicObject;
use scute_api::cluster::{MACHINE_SET_FINALIZER, MachineSet};
use scute_contract::owners::{adopt, owner};
use scute_contract::spoken::{Words, say};
use scute_contract::{External, cloned};
use scute_kit::{Error, EventType, Key, Why, finalizer};

use super::clone;
use super::observe::{Observed, Source};
use super::plan::{Action, Part, Plan};
use super::remediate::farewell;
use super::{Context, MANAGER};
use crate::machine::failure;

/// Writes what the plan says. One Machine that cannot be changed does not stop the others; when one cannot be made, no
/// others are tried, as they would be refused alike, and its name is kept for the next pass. The first failure is
/// returned.
pub async fn apply(seen: &Observed, plan: &Plan, context: &Context) -> Result<(), Why> {
    let mut first = Ok(());
    let mut refused = false;
    for action in &plan.actions {
        if refused && matches!(action, Action::Create(_)) {
            continue;
        }
        let done = one(seen, action, context).await;
        if let (Err(_), Action::Create(name)) = (&done, action) {
            refused = true;
            context.try_again(&Key::of(seen.set.as_ref()), name);
        }
        first = first.and(done);
    }
    first
}

async fn one(seen: &Observed, action: &Action, context: &Context) -> Result<(), Why> {
    let set = &seen.set;
    let key = Key::of(set.as_ref());
    match action {
        Action::AddFinalizer => finalizer::ensure(&context.hub, set, MACHINE_SET_FINALIZER).await.map(|_| ()),
        Action::BelongToCluster(patch) => {
            let mut patch = patch.clone();
            // The finalizer may just have been written.
            if let Some(metadata) = patch["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
            }
            context.hub.patch::<MachineSet>(&key, &patch).await.map(|_| ())
        }
        Action::AdoptTemplate(part) => match (template(seen, *part), &seen.cluster) {
            (Some(external), Some(cluster)) => {
                adopt(&context.hub, external, &owner(cluster.as_ref(), false), &cluster.name_any()).await
            }
            _ => Ok(()),
        },
        Action::SyncMachine(name) => sync_machine(seen, name, context).await,
        Action::SyncObject(part, name) => sync_object(seen, *part, name, context).await,
        Action::MakeAgain(part, name) => return make_again(seen, *part, name, context).await,
        Action::Create(name) => return create(seen, name, context).await,
        Action::Delete(name) => delete(seen, name, context).await,
        Action::Tell(name, words) => tell(seen, name, words.clone(), context).await,
        Action::Remediate(name) => match tell(seen, name, farewell(), context).await {
            Ok(()) => delete(seen, name, context).await,
            // Somebody may just have said that it is well.
            Err(error) => Err(error),
        },
        Action::DeleteHalf(part, name) => {
            let half = source(seen, *part)
                .and_then(|source| Some((source.resource.as_ref()?, source.objects.get(name)?)));
            match half {
                Some((resource, object)) => context.hub.delete_dynamic(resource, object).await,
                None => Ok(()),
            }
        }
        Action::RemoveFinalizer => {
            context.externals.forget(&key);
            finalizer::remove(&context.hub, set, MACHINE_SET_FINALIZER).await
        }
    }
    .map_err(|error| failure(&error))
}

async fn tell(seen: &Observed, name: &str, words: Words, context: &Context) -> Result<(), Error> {
    match seen.machines.iter().find(|machine| machine.name_any() == name) {
        Some(machine) => say(&context.hub, machine, words).await,
        None => Ok(()),
    }
}

async fn delete(seen: &Observed, name: &str, context: &Context) -> Result<(), Error> {
    let Some(machine) = seen.machines.iter().find(|machine| machine.name_any() == name) else {
        return Ok(());
    };
    let done = context.hub.delete(machine.as_ref()).await;
    event(seen, context, EventType::Normal, "SuccessfulDelete", &format!("Deleted Machine {name}")).await;
    done
}

fn source(seen: &Observed, part: Part) -> Option<&Source> {
    match part {
        Part::Bootstrap => seen.bootstrap.as_ref(),
        Part::Infrastructure => Some(&seen.infrastructure),
    }
}

fn template(seen: &Observed, part: Part) -> Option<&External> {
    source(seen, part)?.template.object()
}

async fn event(seen: &Observed, context: &Context, kind: EventType, reason: &str, note: &str) {
    context.hub.event(seen.set.as_ref(), kind, reason, note).await;
}

async fn sync_machine(seen: &Observed, name: &str, context: &Context) -> Result<(), Error> {
    let Some(existing) = seen.machines.iter().find(|machine| machine.name_any() == name) else {
        return Ok(());
    };
    let mut want = clone::machine_in_place(&seen.set, existing, owner(seen.set.as_ref(), true));
    // An apply makes what is not there: with its uid, a Machine that is gone stays gone.
    want.metadata.uid = existing.metadata.uid.clone();
    ignore_gone(context.hub.apply(MANAGER, &want).await.map(|_| ()))
}

async fn sync_object(seen: &Observed, part: Part, name: &str, context: &Context) -> Result<(), Error> {
    let Some(source) = source(seen, part) else { return Ok(()) };
    let (Some(resource), Some(existing)) = (&source.resource, source.objects.get(name)) else {
        return Ok(());
    };
    let pairs = clone::pairs(template(seen, part).map(|template| template.object.as_ref()), &seen.set);
    let want = cloned::object_in_place(existing, resource, pairs);
    ignore_gone(context.hub.apply_dynamic(resource, MANAGER, &want).await.map(|_| ()))
}

/// An object that was deleted in between answers an apply with its uid by a conflict, and a newer copy of
/// one that was not is on its way.
fn ignore_gone(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
        other => other,
    }
}

/// Makes what is missing under a name: the objects first, so that a Machine never waits for them in vain.
/// What was made before a failure is found again by its owner reference, and used or deleted.
async fn create(seen: &Observed, name: &str, context: &Context) -> Result<(), Why> {
    for part in [Part::Bootstrap, Part::Infrastructure] {
        if source(seen, part).is_some_and(|source| !source.objects.contains_key(name)) {
            make(seen, part, name, owner(seen.set.as_ref(), true), context).await?;
        }
    }
    let machine = clone::machine(&seen.set, name, owner(seen.set.as_ref(), true));
    match context.hub.apply(MANAGER, &machine).await {
        Ok(_) => {
            event(seen, context, EventType::Normal, "SuccessfulCreate", &format!("Created Machine {name}"))
                .await;
            Ok(())
        }
        Err(error) => Err(not_made(seen, context, &format!("Machine {name}"), &error).await),
    }
}

async fn make_again(seen: &Observed, part: Part, name: &str, context: &Context) -> Result<(), Why> {
    let machine = seen.machines.iter().find(|machine| machine.name_any() == name);
    match machine {
        Some(machine) => make(seen, part, name, owner(machine.as_ref(), true), context).await,
        None => Ok(()),
    }
}

/// Makes an object of a Machine from its template.
async fn make(
    seen: &Observed,
    part: Part,
    name: &str,
    owner: OwnerReference,
    context: &Context,
) -> Result<(), Why> {
    let Some(source) = source(seen, part) else { return Ok(()) };
    let (Some(template), Some(resource)) = (template(seen, part), &source.resource) else { return Ok(()) };
    let pairs = clone::pairs(Some(&template.object), &seen.set);
    let key = Key::new(Key::of(seen.set.as_ref()).namespace, name);
    let object: DynamicObject = cloned::object(&template.object, resource, &key, pairs, owner);
    match context.hub.apply_dynamic(resource, MANAGER, &object).await {
        Ok(_) => Ok(()),
        Err(error) => Err(not_made(seen, context, &format!("{} {name}", resource.kind), &error).await),
    }
}

/// Why something could not be made; told, unless it passes by itself.
async fn not_made(seen: &Observed, context: &Context, what: &str, error: &Error) -> Why {
    let mut why = Why::of("FailedCreate", error);
    why.message = format!("{what} could not be made: {error}");
    if !why.passes() {
        event(seen, context, EventType::Warning, &why.reason, &why.message).await;
    }
    why
}
