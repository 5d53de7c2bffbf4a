//! What to do about the claims of a Metal3DataTemplate. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use scute_api::infrastructure::{
    DataIndex, METAL3_DATA_CLAIM_FINALIZER, METAL3_DATA_FINALIZER, METAL3_DATA_TEMPLATE_FINALIZER,
    Metal3Data, Metal3DataClaim, Metal3DataClaimStatus, Metal3DataTemplate, Metal3ObjectRef,
};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_contract::owners::{owner, owner_of_kind};
use scute_kit::finalizer;

/// What the controller has seen.
pub struct Observed {
    /// The template.
    pub template: Arc<Metal3DataTemplate>,
    /// The claims of it.
    pub claims: Vec<Claim>,
    /// Its renderings.
    pub datas: Vec<Arc<Metal3Data>>,
}

/// A claim, and whether somebody still needs it.
pub struct Claim {
    /// The claim.
    pub object: Arc<Metal3DataClaim>,
    /// The Metal3Machine that it is for exists. Its server may run with what was rendered for it.
    pub is_needed: bool,
}

impl Claim {
    /// A deletion waits for the Metal3Machine: its addresses are its server's as long as that may be on.
    fn leaves(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some() && !self.is_needed
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Take a rendering back, when its claim is gone.
    Delete(Arc<Metal3Data>),
    /// Give a rendering to a claim.
    Make(Arc<Metal3DataClaim>, Box<Metal3Data>),
    /// Say what became of a claim.
    Tell(Arc<Metal3DataClaim>, Metal3DataClaimStatus),
    /// Let a claim go that has no rendering any more.
    Forget(Arc<Metal3DataClaim>),
    /// Let the template go.
    RemoveFinalizer,
}

/// Decides. The actions are independent of each other.
#[must_use]
pub fn plan(seen: &Observed) -> Vec<Action> {
    let mut plan = Vec::new();
    let holders = holders(seen);
    for data in &seen.datas {
        let held = holders.get(&claim_of(data)).is_some_and(|held| Arc::ptr_eq(held, data));
        if !held && data.metadata.deletion_timestamp.is_none() {
            plan.push(Action::Delete(Arc::clone(data)));
        }
    }
    claims(seen, &holders, &mut plan);
    let leaves = seen.template.metadata.deletion_timestamp.is_some();
    let unused = seen.claims.is_empty() && seen.datas.is_empty();
    if leaves && unused && finalizer::has(seen.template.as_ref(), METAL3_DATA_TEMPLATE_FINALIZER) {
        plan.push(Action::RemoveFinalizer);
    }
    plan
}

/// Which rendering is whose.
#[must_use]
pub fn indexes(seen: &Observed) -> Vec<DataIndex> {
    let index = |(name, data): (String, Arc<Metal3Data>)| DataIndex {
        name,
        index: data.spec.index.unwrap_or_default(),
    };
    let mut all: Vec<_> = holders(seen).into_iter().map(index).collect();
    all.sort_by_key(|entry| entry.index);
    all
}

fn claim_of(data: &Metal3Data) -> String {
    data.spec.claim.as_ref().and_then(|claim| claim.name.clone()).unwrap_or_default()
}

/// The rendering that each claim has. Of several, it is the one that the claim has been told.
fn holders(seen: &Observed) -> BTreeMap<String, Arc<Metal3Data>> {
    let living = seen.claims.iter().filter(|claim| !claim.leaves());
    let claims: BTreeMap<_, _> = living.map(|claim| (claim.object.name_any(), &claim.object)).collect();
    let mut holders = BTreeMap::new();
    for data in &seen.datas {
        let name = claim_of(data);
        let Some(claim) = claims.get(&name).filter(|claim| is_for(data, claim)) else { continue };
        let told = claim.status.as_ref().and_then(|status| status.rendered_data.as_ref()?.name.as_ref());
        if told == data.metadata.name.as_ref() || !holders.contains_key(&name) {
            holders.insert(name, Arc::clone(data));
        }
    }
    holders
}

/// Whether the rendering is for this very claim, and not for one of its name that was before it.
pub fn is_for(data: &Metal3Data, claim: &Metal3DataClaim) -> bool {
    let uid = owner_of_kind::<Metal3DataClaim>(&data.metadata).map(|owner| &owner.uid);
    claim_of(data) == claim.name_any() && uid.is_none_or(|uid| Some(uid) == claim.metadata.uid.as_ref())
}

fn claims(seen: &Observed, holders: &BTreeMap<String, Arc<Metal3Data>>, plan: &mut Vec<Action>) {
    let mut taken: BTreeSet<i32> = seen.datas.iter().filter_map(|data| data.spec.index).collect();
    let mut claims: Vec<_> = seen.claims.iter().collect();
    claims.sort_by_key(|claim| {
        (claim.object.metadata.creation_timestamp.as_ref().map(|made| made.0), claim.object.name_any())
    });
    let mut next = 0..=i32::MAX;
    for claim in claims {
        let object = &claim.object;
        if claim.leaves() {
            let has_one = seen.datas.iter().any(|data| is_for(data, object));
            if !has_one && finalizer::has(object.as_ref(), METAL3_DATA_CLAIM_FINALIZER) {
                plan.push(Action::Forget(Arc::clone(object)));
            }
        } else if let Some(data) = holders.get(&object.name_any()) {
            tell(object, has(data), plan);
        } else if seen.template.metadata.deletion_timestamp.is_some() {
            tell(
                object,
                refused(format!("Metal3DataTemplate {} is being deleted", seen.template.name_any())),
                plan,
            );
        } else if object.metadata.deletion_timestamp.is_none()
            && let Some(index) = next.find(|index| taken.insert(*index))
        {
            plan.push(Action::Make(Arc::clone(object), Box::new(data(&seen.template, object, index))));
        }
    }
}

fn tell(claim: &Arc<Metal3DataClaim>, status: Metal3DataClaimStatus, plan: &mut Vec<Action>) {
    if claim.status.as_ref() != Some(&status) {
        plan.push(Action::Tell(Arc::clone(claim), status));
    }
}

/// What a claim is told that has none.
fn refused(why: String) -> Metal3DataClaimStatus {
    Metal3DataClaimStatus { rendered_data: None, error_message: Some(why) }
}

/// What a claim is told that has a rendering.
pub fn has(data: &Metal3Data) -> Metal3DataClaimStatus {
    Metal3DataClaimStatus { rendered_data: Some(reference(&data.metadata)), error_message: None }
}

fn reference(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Metal3ObjectRef {
    Metal3ObjectRef { name: meta.name.clone(), namespace: meta.namespace.clone() }
}

/// The Metal3Data, by whose name the API server sees to it that nobody else has its index.
fn data(template: &Metal3DataTemplate, claim: &Metal3DataClaim, index: i32) -> Metal3Data {
    let mut data = Metal3Data::default();
    data.metadata.name = Some(format!("{}-{index}", template.name_any()));
    data.metadata.namespace = template.metadata.namespace.clone();
    data.metadata.finalizers = Some(vec![METAL3_DATA_FINALIZER.to_owned()]);
    data.metadata.owner_references = Some(vec![owner(claim, true), owner(template, false)]);
    let cluster = claim.labels().get(CLUSTER_NAME_LABEL);
    data.metadata.labels = cluster.map(|cluster| [(CLUSTER_NAME_LABEL.to_owned(), cluster.clone())].into());
    data.spec.index = Some(index);
    data.spec.claim = Some(reference(&claim.metadata));
    data.spec.template = Some(reference(&template.metadata));
    data
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template() -> Arc<Metal3DataTemplate> {
        let mut template = Metal3DataTemplate::default();
        template.metadata.name = Some("t".into());
        template.metadata.uid = Some("uid-t".into());
        Arc::new(template)
    }

    fn claim(name: &str, leaves: bool, is_needed: bool) -> Claim {
        let deleted = leaves.then_some("2026-01-01T00:00:00Z");
        let object: Value = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": "Metal3DataClaim",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "finalizers": [METAL3_DATA_CLAIM_FINALIZER],
                "deletionTimestamp": deleted},
            "spec": {"template": {"name": "t"}},
        });
        Claim { object: Arc::new(serde_json::from_value(object).unwrap()), is_needed }
    }

    fn made(claim: &Claim, index: i32) -> Arc<Metal3Data> {
        Arc::new(data(&template(), &claim.object, index))
    }

    fn said(claims: Vec<Claim>, datas: Vec<Arc<Metal3Data>>) -> Vec<String> {
        let told = |status: &Metal3DataClaimStatus| {
            status.rendered_data.as_ref().and_then(|data| data.name.clone()).or(status.error_message.clone())
        };
        let word = |action: Action| match action {
            Action::Delete(data) => format!("delete {}", data.name_any()),
            Action::Make(claim, data) => format!("make {} for {}", data.name_any(), claim.name_any()),
            Action::Tell(claim, status) => {
                format!("tell {} {}", claim.name_any(), told(&status).unwrap_or_default())
            }
            Action::Forget(claim) => format!("forget {}", claim.name_any()),
            Action::RemoveFinalizer => "remove finalizer".to_owned(),
        };
        plan(&Observed { template: template(), claims, datas }).into_iter().map(word).collect()
    }

    #[test]
    fn the_lowest_free_index_is_next() {
        let (a, b, c) = (claim("a", false, true), claim("b", false, true), claim("c", false, true));
        let datas = vec![made(&a, 0), made(&c, 2)];
        assert_eq!(said(vec![a, b, c], datas), ["tell a t-0", "make t-1 for b", "tell c t-2"]);
    }

    #[test]
    fn an_index_is_free_when_its_rendering_is_gone() {
        let gone = claim("gone", true, false);
        let data = made(&gone, 0);
        assert_eq!(
            said(vec![gone, claim("new", false, true)], vec![data]),
            ["delete t-0", "make t-1 for new"]
        );
        assert_eq!(said(vec![claim("gone", true, false)], vec![]), ["forget gone"]);
    }

    #[test]
    fn the_rendering_of_a_claim_that_is_deleted_under_a_server_stays() {
        let held = claim("held", true, true);
        let data = made(&held, 0);
        assert_eq!(said(vec![held], vec![data]), ["tell held t-0"]);
    }

    #[test]
    fn a_claim_that_was_made_again_gets_another_rendering() {
        let data = made(&claim("a", false, true), 0);
        let mut again = claim("a", false, true);
        Arc::make_mut(&mut again.object).metadata.uid = Some("uid-again".into());
        assert_eq!(said(vec![again], vec![data]), ["delete t-0", "make t-1 for a"]);
    }
}
