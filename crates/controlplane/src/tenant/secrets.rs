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
use scute_kit::{EventType, Key, Why};
use scute_kubeadm::ClusterFacts;
use scute_pki::{Renewal, Stale};
use serde_json::{Value, json};

use super::certificates::{Assessment, Data, Found, Needs, Reason, assess};
use super::endpoint::Endpoint;
use super::issue::{authority_data, make};
use super::objects::{checksum, kubeadm_config_map, kubeadm_data, secret};
use super::progress::{Stage, Stop};
use super::steps::{failed, former};
use crate::context::Context;
use crate::names::{self, MANAGER, Piece};

/// What is known of the Secrets of a tenant, as long as none of their versions changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    inputs: String,
    versions: BTreeMap<String, String>,
    /// Digest of each Secret's content.
    pub checksums: BTreeMap<Piece, String>,
    /// Digest of the ConfigMap's content.
    pub kubeadm_checksum: String,
    /// The tenant's authority, PEM.
    pub ca_pem: String,
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
    let read = read(tcp, context).await?;
    for secret in read.values() {
        former(tcp, Some(secret), Stage::Certificates)?;
    }
    let contents = contents(needs, &read, now)?;
    tell(tcp, context, &contents.make).await;
    let mut versions = write(tcp, context, &read, &contents, now).await?;
    versions.insert(kubeadm_key(tcp), write_kubeadm(tcp, context, &kubeadm).await?);
    let known = Known {
        inputs,
        versions,
        checksums: contents.data.iter().map(|(piece, data)| (*piece, checksum(data))).collect(),
        kubeadm_checksum: checksum(&kubeadm),
        ca_pem: contents
            .data
            .get(&Piece::Ca)
            .and_then(|data| data.get("ca.crt"))
            .cloned()
            .unwrap_or_default(),
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
    let mut versions: BTreeMap<_, _> = Piece::ALL
        .iter()
        .filter_map(|piece| {
            let name = piece.secret(&tcp.name_any());
            Some((name.clone(), secrets.get(&key(name))?.resource_version()?))
        })
        .collect();
    let map = maps.get(&key(names::kubeadm_config_map(&tcp.name_any())));
    versions.extend(map.and_then(|map| Some((kubeadm_key(tcp), map.resource_version()?))));
    versions
}

/// The Secrets as they are now, from the API server: what a watch has not seen yet must not be made twice.
async fn read(tcp: &TenantControlPlane, context: &Context) -> Result<BTreeMap<Piece, Secret>, Stop> {
    let (name, namespace) = (tcp.name_any(), tcp.namespace().unwrap_or_default());
    let unreadable = |error: String| {
        Stop::failed(Stage::Certificates, Why::new("ReadFailed", format!("reading Secrets: {error}")))
    };
    let api = Api::<Secret>::namespaced(context.hub.client(), &namespace);
    let labelled = ListParams::default().labels(&format!("{NAME_LABEL}={name}"));
    let listed = api.list(&labelled).await.map_err(|error| unreadable(error.to_string()))?;
    let mut found: BTreeMap<Piece, Secret> = listed
        .items
        .into_iter()
        .filter_map(|secret| {
            let piece = Piece::ALL.into_iter().find(|piece| piece.secret(&name) == secret.name_any())?;
            Some((piece, secret))
        })
        .collect();
    // A Secret that somebody made for us to adopt has none of our labels.
    let seen = context.hub.watch_meta::<Secret>();
    let key = |piece: Piece| Key::new(namespace.clone(), piece.secret(&name));
    let unlabelled = Piece::ALL.into_iter().filter(|piece| {
        !found.contains_key(piece) && (*piece == Piece::Ca || seen.get(&key(*piece)).is_some())
    });
    for piece in unlabelled.collect::<Vec<_>>() {
        let secret =
            context.hub.get::<Secret>(&key(piece)).await.map_err(|error| unreadable(error.to_string()))?;
        found.extend(secret.map(|secret| (piece, secret)));
    }
    Ok(found)
}

struct Contents {
    data: BTreeMap<Piece, Data>,
    make: BTreeMap<Piece, Reason>,
    due: Option<Timestamp>,
}

/// What every Secret shall hold: what it holds, or something new.
fn contents(needs: &Needs, read: &BTreeMap<Piece, Secret>, now: Timestamp) -> Result<Contents, Stop> {
    let found: BTreeMap<Piece, Found> = read.iter().map(|(piece, secret)| (*piece, found(secret))).collect();
    let assessed = assess(&found, needs, Renewal::at(now));
    let (reasons, due) = (assessed.make.clone(), assessed.due);
    let mut data = kept(&assessed, found);
    let made = make(assessed, needs, now)
        .map_err(|error| Stop::failed(Stage::Certificates, Why::new("IssueFailed", error.to_string())))?;
    let due = if made.is_empty() { due } else { next_due(due, now) };
    data.extend(made);
    Ok(Contents { data, make: reasons, due })
}

/// What was just made is due a day before its year is over.
fn next_due(kept: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let made = now.checked_add(scute_pki::LEAF_VALIDITY).ok()?;
    let due = Renewal::at(now).deadline;
    let made = made.checked_sub(due).ok()?;
    Some(kept.map_or(made, |kept| kept.min(made)))
}

/// What stays; an adopted authority gets the keys that it lacks.
fn kept(assessed: &Assessment, found: BTreeMap<Piece, Found>) -> BTreeMap<Piece, Data> {
    let stays = found.into_iter().filter(|(piece, _)| !assessed.make.contains_key(piece));
    let mut data: BTreeMap<Piece, Data> = stays.map(|(piece, found)| (piece, found.data)).collect();
    for (piece, ca) in [(Piece::Ca, &assessed.ca), (Piece::FrontProxyCa, &assessed.front_proxy)] {
        if let Some(ca) = ca {
            data.insert(piece, authority_data(piece, ca));
        }
    }
    data
}

fn found(secret: &Secret) -> Found {
    let text = |(key, ByteString(bytes)): (&String, &ByteString)| {
        Some((key.clone(), String::from_utf8(bytes.clone()).ok()?))
    };
    Found {
        data: secret.data.iter().flatten().filter_map(text).collect(),
        rotate: secret.annotations().get(ROTATE_ANNOTATION).is_some_and(String::is_empty),
    }
}

/// Says what was renewed; the first making of everything is nobody's news.
async fn tell(tcp: &TenantControlPlane, context: &Context, make: &BTreeMap<Piece, Reason>) {
    let renewed: Vec<_> = make
        .iter()
        .filter(|(_, reason)| !matches!(reason, Reason::Stale(Stale::Missing | Stale::OtherAuthority)))
        .map(|(piece, reason)| format!("Secret {}: {reason}", piece.secret(&tcp.name_any())))
        .collect();
    if !renewed.is_empty() {
        let note = format!("made anew: {}", renewed.join("; "));
        context.hub.event(tcp, EventType::Normal, "CertificatesRenewed", &note).await;
    }
}

/// Writes the Secrets that differ, all at once, and gives the versions of all.
async fn write(
    tcp: &TenantControlPlane,
    context: &Context,
    read: &BTreeMap<Piece, Secret>,
    contents: &Contents,
    now: Timestamp,
) -> Result<BTreeMap<String, String>, Stop> {
    let writes = contents.data.iter().map(|(piece, data)| {
        let seen = read.get(piece);
        let asked = matches!(contents.make.get(piece), Some(Reason::Asked));
        let before = seen.and_then(|seen| seen.annotations().get(ROTATE_ANNOTATION).cloned());
        let rotated = if asked { Some(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()) } else { before };
        let want = secret(tcp, *piece, data, rotated.as_deref());
        async move {
            if let Some(seen) = seen.filter(|seen| has(*seen, &want)) {
                return Ok((seen.name_any(), seen.resource_version().unwrap_or_default()));
            }
            let written = context.hub.apply(MANAGER, &want).await.map_err(failed(Stage::Certificates))?;
            Ok((written.name_any(), written.resource_version().unwrap_or_default()))
        }
    });
    Ok(try_join_all(writes).await?.into_iter().collect())
}

async fn write_kubeadm(tcp: &TenantControlPlane, context: &Context, data: &Data) -> Result<String, Stop> {
    let want = kubeadm_config_map(tcp, data);
    let stage = Stage::Certificates;
    let known = context.hub.watch_meta::<ConfigMap>().get(&Key::of(&want)).is_some();
    if known {
        let seen = context.hub.get::<ConfigMap>(&Key::of(&want)).await.map_err(failed(stage))?;
        former(tcp, seen.as_ref(), stage)?;
        if let Some(seen) = seen.filter(|seen| has(seen, &want)) {
            return Ok(seen.resource_version().unwrap_or_default());
        }
    }
    let written = context.hub.apply(MANAGER, &want).await.map_err(failed(stage))?;
    Ok(written.resource_version().unwrap_or_default())
}

/// Whether an object already says all that is wanted, and holds nothing else.
fn has<K: serde::Serialize + Resource>(seen: &K, want: &K) -> bool {
    let (seen, want): (Value, Value) = (json!(seen), json!(want));
    seen["data"] == want["data"] && covers(&seen, &want)
}
