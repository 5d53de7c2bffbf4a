//! Tenants' API servers as far as the cluster room talks to them: Nodes that are listed, watched, patched and deleted; no
//! Pods and no volumes. One HTTPS server on loopback, one path below it for each tenant.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// Events that a slow watcher may be behind: a tenant has some dozens of Nodes.
const BEHIND: usize = 1024;

/// All tenants, and how they are reached.
pub struct Tenants {
    address: SocketAddr,
    ca: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared(Mutex<BTreeMap<String, Tenant>>);

struct Tenant {
    nodes: BTreeMap<String, Value>,
    /// Every change, with its resource version.
    log: Vec<(u64, Value)>,
    changes: broadcast::Sender<(u64, Value)>,
}

impl Default for Tenant {
    fn default() -> Self {
        Self { nodes: BTreeMap::new(), log: Vec::new(), changes: broadcast::channel(BEHIND).0 }
    }
}

impl Tenant {
    fn version(&self) -> u64 {
        self.log.last().map_or(1, |(version, _)| *version)
    }

    fn tell(&mut self, what: &str, mut node: Value) -> Value {
        let version = self.version() + 1;
        node["metadata"]["resourceVersion"] = json!(version.to_string());
        let change = (version, json!({ "type": what, "object": node }));
        self.log.push(change.clone());
        // Nobody watches yet: the list will have it.
        let _ = self.changes.send(change);
        node
    }

    fn put(&mut self, name: &str, node: Value) -> Value {
        let what = if self.nodes.contains_key(name) { "MODIFIED" } else { "ADDED" };
        let node = self.tell(what, node);
        self.nodes.insert(name.to_owned(), node.clone());
        node
    }
}

impl Tenants {
    /// Starts the server.
    pub async fn start(certificate: (String, String, String)) -> Result<Arc<Self>> {
        let (certificate, key, ca) = certificate;
        let shared = Arc::new(Shared::default());
        let tls = axum_server::tls_rustls::RustlsConfig::from_pem(certificate.into(), key.into()).await?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = axum_server::from_tcp_rustls(listener, tls)?;
        tokio::spawn(async move { server.serve(app.into_make_service()).await });
        Ok(Arc::new(Self { address, ca, shared }))
    }

    /// The kubeconfig of a tenant.
    pub fn kubeconfig(&self, tenant: &str) -> String {
        kubeconfig(&format!("https://{}/{tenant}", self.address), &self.ca)
    }

    /// A kubeconfig that leads to somebody else, with the same authority.
    pub fn kubeconfig_at(&self, address: SocketAddr) -> String {
        kubeconfig(&format!("https://{address}"), &self.ca)
    }

    /// A Node joins.
    pub fn join(&self, tenant: &str, name: &str, node: Value) {
        let mut all = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = all.entry(tenant.to_owned()).or_default();
        if !tenant.nodes.contains_key(name) {
            tenant.put(name, node);
        }
    }
}

fn kubeconfig(server: &str, ca: &str) -> String {
    let ca = k8s_openapi::ByteString(ca.as_bytes().to_vec());
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "t",
        "clusters": [{"name": "t", "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": "t", "user": {"token": "t"}}],
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
    })
    .to_string()
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    body: Bytes,
) -> Response {
    let mut path = uri.path().trim_start_matches('/').splitn(2, '/');
    let (tenant, rest) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
    let mut all = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    let tenant = all.entry(tenant.to_owned()).or_default();
    let list = |kind: &str, items: Vec<Value>| {
        let version = tenant.version().to_string();
        let (group, kind) = kind.split_once(' ').unwrap_or(("v1", kind));
        Json(json!({"kind": kind, "apiVersion": group, "metadata": {"resourceVersion": version}, "items": items}))
            .into_response()
    };
    match (method, rest) {
        (Method::GET, "version") => Json(version()).into_response(),
        (Method::GET, "api/v1/pods") => list("PodList", Vec::new()),
        (Method::GET, "apis/storage.k8s.io/v1/volumeattachments") => {
            list("storage.k8s.io/v1 VolumeAttachmentList", Vec::new())
        }
        (Method::GET, "api/v1/nodes")
            if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") =>
        {
            let since = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
            watch(tenant, since)
        }
        (Method::GET, "api/v1/nodes") => list("NodeList", tenant.nodes.values().cloned().collect()),
        (method, rest) => match (method, rest.strip_prefix("api/v1/nodes/")) {
            (Method::GET, Some(name)) => found(tenant.nodes.get(name).cloned()),
            (Method::PATCH, Some(name)) => {
                let patch: Value = serde_json::from_slice(&body).unwrap_or_default();
                let patched = tenant.nodes.get(name).cloned().map(|mut node| {
                    merge(&mut node, patch);
                    tenant.put(name, node)
                });
                found(patched)
            }
            (Method::DELETE, Some(name)) => {
                let gone = tenant.nodes.remove(name).map(|node| tenant.tell("DELETED", node));
                found(gone)
            }
            _ => found(None),
        },
    }
}

/// What was missed since a version, and then what comes.
fn watch(tenant: &Tenant, since: u64) -> Response {
    let missed: Vec<_> = tenant.log.iter().filter(|(version, _)| *version > since).cloned().collect();
    let coming = futures::stream::unfold(tenant.changes.subscribe(), |mut changes| async {
        changes.recv().await.ok().map(|change| (change, changes))
    });
    let version = tenant.version().to_string();
    let lines = futures::stream::iter(missed).chain(coming).map(|(_, change)| change);
    let lines = futures::stream::select(lines, bookmarks(version))
        .map(|change| Ok::<_, Infallible>(format!("{change}\n")));
    ([("content-type", "application/json")], Body::from_stream(lines)).into_response()
}

/// Once a minute, as an API server sends them. What has changed since its version is sent again to who begins anew there.
fn bookmarks(version: String) -> impl futures::Stream<Item = Value> {
    const APART: Duration = Duration::from_secs(60);
    let bookmark = json!({"type": "BOOKMARK", "object": {"kind": "Node", "apiVersion": "v1", "metadata": {"resourceVersion": version}}});
    futures::stream::repeat(bookmark).then(|bookmark| async {
        tokio::time::sleep(APART).await;
        bookmark
    })
}

fn found(object: Option<Value>) -> Response {
    match object {
        Some(object) => Json(object).into_response(),
        None => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "not found", "reason": "NotFound", "code": 404});
            (StatusCode::NOT_FOUND, Json(status)).into_response()
        }
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(target) = target.as_object_mut() {
                target.remove(&key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn version() -> Value {
    json!({"major": "1", "minor": "35", "gitVersion": "v1.35.4", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "", "goVersion": "", "compiler": "gc", "platform": "linux/amd64"})
}

/// A port on which connections are taken and nothing is ever answered.
pub async fn black_hole() -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr().context("the address of the silent server")?;
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    Ok(address)
}
