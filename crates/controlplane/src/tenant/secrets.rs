//! The Secrets of a tenant: read once, kept as they are while valid, made and written where not.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use scute_api::kamaji::{NAME_LABEL, ROTATE_ANNOTATION, TenantControlPlane};
use scute_kit::json::covers;
use scute_kit::{EventType, Hub, Key, Kind, Why, said};
use scute_kubeadm::ClusterFacts;
use scute_pki::{Flaw, Renewal, Stale};
use serde::Serialize;
use serde_json::{Value, json};

use super::certificates::{Assessment, Data, Found, Needs, Reason, assess};
use super::endpoint::Endpoint;
use super::issue::{authority_data, make};
use super::objects::{checksum, kubeadm_config_map, kubeadm_data, secret};
use super::occupied;
use super::progress::{Stage, Stop};
use super::steps::failed;
use crate::context::Context;
use crate::names::{self, MANAGER, TenantSecret};

/// What is known of the Secrets of a tenant, as long as none of their versions changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    inputs: String,
    versions: BTreeMap<String, String>,
    /// Digest of each Secret's content.
    pub checksums: BTreeMap<TenantSecret, String>,
    /// Digest of the ConfigMap's content.
    pub kubeadm_checksum: String,
    /// The tenant's authority, PEM.
    pub ca_pem: String,
    /// Secrets of authorities that end soon, and when.
    pub ending: Vec<(String, Timestamp)>,
    /// When the first certificate has to be renewed.
    pub due: Option<Timestamp>,
}

/// Brings the Secrets and the ConfigMap to what is needed. Reads nothing when nothing changed since the last time.
///
/// # Errors
/// What stopped it.
pub async fn keep(
    tcp: &TenantControlPlane,
    context: &Context,
    needs: &Needs,
    facts: &ClusterFacts,
    endpoint: &Endpoint,
) -> Result<Arc<Known>, Stop> {
    let (key, now) = (Key::of(tcp), context.hub.now());
    let kubeadm = kubeadm_data(facts, endpoint);
    let inputs = format!("{:?} {} {}", tcp.uid(), needs.fingerprint(), checksum(&kubeadm));
    if let Some(known) = context.known.get(&key)
        && known.inputs == inputs
        && known.due.is_none_or(|due| now < due)
        && known.versions == versions(tcp, context)
    {
        return Ok(known);
    }
    context.hub.watch_meta::<Secret>().ready().await;
    context.hub.watch_meta::<ConfigMap>().ready().await;
    let read = read(tcp, context).await?;
    for (which, secret) in &read {
        let stage = Stage::Certificates;
        match which.is_brought_by_users() {
            true => occupied::not_a_former_owners(tcp, Some(secret), stage)?,
            false => occupied::ours_or_free(tcp, Some(secret), stage)?,
        }
    }
    let contents = contents(tcp, needs, &read, now)?;
    tell(tcp, context, &contents).await;
    let mut versions = write(tcp, context, &read, &contents, now).await?;
    versions.insert(kubeadm_key(tcp), write_kubeadm(tcp, context, &kubeadm).await?);
    let known = Known {
        inputs,
        versions,
        checksums: contents.data.iter().map(|(which, data)| (*which, checksum(data))).collect(),
        kubeadm_checksum: checksum(&kubeadm),
        ca_pem: contents
            .data
            .get(&TenantSecret::Ca)
            .and_then(|data| data.get("ca.crt"))
            .cloned()
            .unwrap_or_default(),
        ending: contents.ending.iter().map(|(which, end)| (which.name(&tcp.name_any()), *end)).collect(),
        due: contents.due,
    };
    context.known.put(&key, known.clone());
    Ok(Arc::new(known))
}

fn kubeadm_key(tcp: &TenantControlPlane) -> String {
    format!("configmap {}", names::kubeadm_config_map(&tcp.name_any()))
}

/// The versions that the watches saw last.
fn versions(tcp: &TenantControlPlane, context: &Context) -> BTreeMap<String, String> {
    let (secrets, maps) = (context.hub.watch_meta::<Secret>(), context.hub.watch_meta::<ConfigMap>());
    let key = |name: String| Key::new(tcp.namespace().unwrap_or_default(), name);
    let mut versions: BTreeMap<_, _> = TenantSecret::ALL
        .iter()
        .filter_map(|which| {
            let name = which.name(&tcp.name_any());
            Some((name.clone(), secrets.get(&key(name))?.resource_version()?))
        })
        .collect();
    let map = maps.get(&key(names::kubeadm_config_map(&tcp.name_any())));
    versions.extend(map.and_then(|map| Some((kubeadm_key(tcp), map.resource_version()?))));
    versions
}

/// The Secrets as they are now, from the API server: what a watch has not seen yet must not be made twice.
async fn read(tcp: &TenantControlPlane, context: &Context) -> Result<BTreeMap<TenantSecret, Secret>, Stop> {
    let (name, namespace) = (tcp.name_any(), tcp.namespace().unwrap_or_default());
    let unreadable = |error: String| {
        Stop::failed(Stage::Certificates, Why::new("ReadFailed", format!("reading Secrets: {error}")))
    };
    let api = Api::<Secret>::namespaced(context.hub.client(), &namespace);
    let labelled = ListParams::default().labels(&format!("{NAME_LABEL}={name}"));
    let listed = api.list(&labelled).await.map_err(|error| unreadable(said(&error)))?;
    let mut found: BTreeMap<TenantSecret, Secret> = listed
        .items
        .into_iter()
        .filter_map(|secret| {
            let which = TenantSecret::ALL.into_iter().find(|which| which.name(&name) == secret.name_any())?;
            Some((which, secret))
        })
        .collect();
    // A Secret that somebody made for us to adopt has none of our labels.
    let seen = context.hub.watch_meta::<Secret>();
    let key = |which: TenantSecret| Key::new(namespace.clone(), which.name(&name));
    let unlabelled = TenantSecret::ALL.into_iter().filter(|which| {
        !found.contains_key(which) && (*which == TenantSecret::Ca || seen.get(&key(*which)).is_some())
    });
    for which in unlabelled.collect::<Vec<_>>() {
        let secret =
            context.hub.get::<Secret>(&key(which)).await.map_err(|error| unreadable(error.to_string()))?;
        found.extend(secret.map(|secret| (which, secret)));
    }
    Ok(found)
}

struct Contents {
    data: BTreeMap<TenantSecret, Data>,
    make: BTreeMap<TenantSecret, Reason>,
    ending: Vec<(TenantSecret, Timestamp)>,
    due: Option<Timestamp>,
}

/// What every Secret shall hold: what it holds, or something new.
fn contents(
    tcp: &TenantControlPlane,
    needs: &Needs,
    read: &BTreeMap<TenantSecret, Secret>,
    now: Timestamp,
) -> Result<Contents, Stop> {
    let found: BTreeMap<TenantSecret, Found> =
        read.iter().map(|(which, secret)| (*which, found(secret))).collect();
    let mut assessed = assess(&found, needs, Renewal::at(now));
    if let Some(why) = unusable(&tcp.name_any(), &assessed.unusable) {
        return Err(Stop::failed(Stage::Certificates, why));
    }
    let (reasons, due, ending) = (assessed.make.clone(), assessed.due, std::mem::take(&mut assessed.ending));
    let mut data = kept(&assessed, found);
    let made = make(assessed, needs, now)
        .map_err(|error| Stop::failed(Stage::Certificates, Why::new("IssueFailed", error.to_string())))?;
    let due = if made.is_empty() { due } else { next_due(due, now) };
    data.extend(made);
    Ok(Contents { data, make: reasons, ending, due })
}

/// Keys that cannot be used may be the only copy of somebody's: they are named, not replaced.
fn unusable(tcp: &str, unusable: &[(TenantSecret, Flaw)]) -> Option<Why> {
    let said = |(which, flaw): &(TenantSecret, Flaw)| format!("Secret {}: {flaw}", which.name(tcp));
    let said: Vec<_> = unusable.iter().map(said).collect();
    let message = format!(
        "{}; correct it, or have it replaced by annotation {ROTATE_ANNOTATION}: \"\" on the Secret, after which every \
         Node has to join again",
        said.join("; ")
    );
    (!said.is_empty()).then(|| Why::new("AuthorityUnusable", message))
}

/// What was just made is due a day before its year is over.
fn next_due(kept: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let made = now.checked_add(scute_pki::LEAF_VALIDITY).ok()?;
    let due = Renewal::at(now).deadline;
    let made = made.checked_sub(due).ok()?;
    Some(kept.map_or(made, |kept| kept.min(made)))
}

/// What stays; an adopted authority gets the keys that it lacks.
fn kept(assessed: &Assessment, found: BTreeMap<TenantSecret, Found>) -> BTreeMap<TenantSecret, Data> {
    let stays = found.into_iter().filter(|(which, _)| !assessed.make.contains_key(which));
    let mut data: BTreeMap<TenantSecret, Data> = stays.map(|(which, found)| (which, found.data)).collect();
    for (which, ca) in [(TenantSecret::Ca, &assessed.ca), (TenantSecret::FrontProxyCa, &assessed.front_proxy)]
    {
        if let Some(ca) = ca {
            data.insert(which, authority_data(which, ca));
        }
    }
    data
}

fn found(secret: &Secret) -> Found {
    // What is no text is kept as one that no reader takes: a key that is there is not a missing one.
    let text = |(key, ByteString(bytes)): (&String, &ByteString)| {
        (key.clone(), String::from_utf8_lossy(bytes).into_owned())
    };
    Found {
        data: secret.data.iter().flatten().map(text).collect(),
        rotate: secret.annotations().get(ROTATE_ANNOTATION).is_some_and(String::is_empty),
    }
}

/// Says what was renewed, and which authority ends soon; the first making of everything is nobody's news.
async fn tell(tcp: &TenantControlPlane, context: &Context, contents: &Contents) {
    let Contents { make, ending, .. } = contents;
    let renewed: Vec<_> = make
        .iter()
        .filter(|(_, reason)| !matches!(reason, Reason::Stale(Stale::Missing | Stale::OtherAuthority)))
        .map(|(which, reason)| format!("Secret {}: {reason}", which.name(&tcp.name_any())))
        .collect();
    if !renewed.is_empty() {
        let note = format!("made anew: {}", renewed.join("; "));
        context.hub.event(tcp, EventType::Normal, "CertificatesRenewed", &note).await;
    }
    let ending: Vec<_> = ending.iter().map(|(which, end)| (which.name(&tcp.name_any()), *end)).collect();
    if let Some(note) = ends_soon(&ending) {
        context.hub.event(tcp, EventType::Warning, "AuthorityEndsSoon", &note).await;
    }
}

/// What is said of authorities that end soon.
pub fn ends_soon(ending: &[(String, Timestamp)]) -> Option<String> {
    let said: Vec<_> = ending.iter().map(|(secret, end)| format!("Secret {secret} at {end}")).collect();
    let message = format!(
        "an authority ends: {}; it is replaced only when asked, by annotation {ROTATE_ANNOTATION}: \"\" on the Secret, \
         after which every Node has to join again",
        said.join(", ")
    );
    (!said.is_empty()).then_some(message)
}

/// Writes the Secrets that differ, all at once, and gives the versions of all.
async fn write(
    tcp: &TenantControlPlane,
    context: &Context,
    read: &BTreeMap<TenantSecret, Secret>,
    contents: &Contents,
    now: Timestamp,
) -> Result<BTreeMap<String, String>, Stop> {
    let writes = contents.data.iter().map(|(which, data)| {
        let seen = read.get(which);
        let asked = matches!(contents.make.get(which), Some(Reason::Asked));
        let before = seen.and_then(|seen| seen.annotations().get(ROTATE_ANNOTATION).cloned());
        let rotated = if asked { Some(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()) } else { before };
        let want = secret(tcp, *which, data, rotated.as_deref());
        async move {
            let version = write_exactly(&context.hub, MANAGER, seen, &want).await;
            Ok((want.name_any(), version.map_err(failed(Stage::Certificates))?))
        }
    });
    Ok(try_join_all(writes).await?.into_iter().collect())
}

async fn write_kubeadm(tcp: &TenantControlPlane, context: &Context, data: &Data) -> Result<String, Stop> {
    let want = kubeadm_config_map(tcp, data);
    let stage = Stage::Certificates;
    let known = context.hub.watch_meta::<ConfigMap>().get(&Key::of(&want)).is_some();
    let seen = match known {
        true => context.hub.get::<ConfigMap>(&Key::of(&want)).await.map_err(failed(stage))?,
        false => None,
    };
    occupied::ours_or_free(tcp, seen.as_ref(), stage)?;
    write_exactly(&context.hub, MANAGER, seen.as_ref(), &want).await.map_err(failed(stage))
}

/// Writes a Secret or ConfigMap where it does not say what is wanted, and takes out of it what else it says: a key more
/// in a Secret that is read by key is somebody's hand.
///
/// # Errors
/// As the API server answers.
pub async fn write_exactly<K>(
    hub: &Hub,
    manager: &str,
    seen: Option<&K>,
    want: &K,
) -> Result<String, scute_kit::Error>
where
    K: Kind + Serialize + Clone + Resource<DynamicType = ()>,
{
    if let Some(seen) = seen.filter(|seen| has(*seen, want)) {
        return Ok(seen.resource_version().unwrap_or_default());
    }
    let written = hub.apply(manager, want).await?;
    let extra = extra_keys(&json!(written.as_ref()), &json!(want));
    if extra.is_empty() {
        return Ok(written.resource_version().unwrap_or_default());
    }
    let nothing: BTreeMap<_, Value> = extra.into_iter().map(|key| (key, Value::Null)).collect();
    let patch = json!({ "metadata": { "uid": written.uid() }, "data": nothing });
    Ok(hub.patch::<K>(&Key::of(want), &patch).await?.resource_version().unwrap_or_default())
}

fn extra_keys(seen: &Value, want: &Value) -> Vec<String> {
    let keys = seen["data"].as_object().into_iter().flat_map(|data| data.keys().cloned());
    keys.filter(|key| want["data"].get(key).is_none()).collect()
}

/// Whether an object already says all that is wanted, and holds nothing else.
fn has<K: Serialize + Resource>(seen: &K, want: &K) -> bool {
    let (seen, want): (Value, Value) = (json!(seen), json!(want));
    seen["data"] == want["data"] && covers(&seen, &want)
}
