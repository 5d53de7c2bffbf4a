//! What claims get, an address or a rendering, and what they are told of it. Somebody acts on that at once, so a claim is
//! never told one thing and then another. What a watch says may be old, so where it matters the API server is asked.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use scute_kit::{Error, Hub, Key, Kind};
use serde::Serialize;

/// Makes what a claim gets, or finds it made. `None` when somebody else has it: with that known, who gives looks again, and
/// the claim gets another one.
pub async fn make<G>(hub: &Hub, wanted: &G, is_for_it: impl Fn(&G) -> bool) -> Result<Option<Arc<G>>, Error>
where
    G: Kind + Resource<DynamicType = ()> + Serialize,
{
    match hub.create(wanted).await {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.is_conflict() => match hub.get::<G>(&Key::of(wanted)).await? {
            Some(known) if is_for_it(&known) => Ok(Some(Arc::new(known))),
            Some(known) => {
                hub.watch::<G>().learn(known);
                Ok(None)
            }
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Whether a claim that has been `told` of another thing than it is to be told `now` has that: it keeps it then.
pub async fn keeps<G, C>(
    hub: &Hub,
    claim: &C,
    told: Option<String>,
    now: Option<&String>,
    is_for_it: impl Fn(&G) -> bool,
) -> Result<bool, Error>
where
    G: Kind + Resource<DynamicType = ()>,
    C: Resource<DynamicType = ()>,
{
    let Some(told) = told.filter(|told| Some(told) != now) else { return Ok(false) };
    let key = Key::new(claim.namespace().unwrap_or_default(), told);
    let Some(known) = hub.get::<G>(&key).await?.filter(is_for_it) else { return Ok(false) };
    hub.watch::<G>().learn(known);
    Ok(true)
}
