//! Comparing what a tenant has inside with what it shall have, and writing the difference.

use futures::future::try_join_all;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::Request;
use scute_api::kamaji::PROJECT_LABEL;
use scute_kit::json::covers;
use scute_kit::{Why, apply_body, said};
use serde_json::{Value, json};

use super::kinds::{KINDS, Place, resource};

/// Field manager inside tenants.
const MANAGER: &str = "scute";

/// A request that the tenant's API server did not grant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The objects of a kind could not be listed.
    #[error("listing {kind}: {}", said(source))]
    List {
        /// The kind.
        kind: &'static str,
        /// The cause.
        #[source]
        source: kube::Error,
    },
    /// An object could not be applied.
    #[error("applying {object}: {}", said(source))]
    Apply {
        /// Kind and name.
        object: String,
        /// The cause.
        #[source]
        source: kube::Error,
    },
    /// The DNS Service has another address than it shall have.
    #[error(
        "spec.networkProfile.dnsServiceIPs is {wanted}, but Service kube-dns of the tenant has {has}, and Nodes that \
         joined ask there: set it to {has} again"
    )]
    DnsMoved {
        /// Addresses that are asked for.
        wanted: String,
        /// Addresses that the Service has.
        has: String,
    },
    /// An object could not be removed.
    #[error("removing {object}: {}", said(source))]
    Delete {
        /// Kind and name.
        object: String,
        /// The cause.
        #[source]
        source: kube::Error,
    },
}

impl Error {
    /// As a reason: an answer of the API server is not the same as none.
    pub fn why(&self) -> Why {
        let reason = match self {
            Self::DnsMoved { .. } => "DNSServiceMoved",
            Self::List { source, .. } | Self::Apply { source, .. } | Self::Delete { source, .. } => {
                match source {
                    kube::Error::Api(_) => "TenantObjectsRefused",
                    _ => super::UNREACHABLE,
                }
            }
        };
        Why::new(reason, self.to_string())
    }
}

/// Applies objects, all at once.
///
/// # Errors
/// The first refusal.
pub async fn apply<'a>(client: &Client, objects: impl Iterator<Item = &'a Value>) -> Result<(), Error> {
    let writes = objects.map(|object| async move {
        let (api, name) = target(client, object);
        let params = PatchParams::apply(MANAGER).force();
        let named = || format!("{} {name}", object["kind"].as_str().unwrap_or_default());
        let request = Request::new(api.resource_url()).patch(&name, &params, &Patch::Apply(object));
        let applied = match request {
            Ok(request) => client.request::<DynamicObject>(request.map(|_| apply_body(object))).await,
            Err(error) => Err(kube::Error::BuildRequest(error)),
        };
        applied.map(|_| ()).map_err(|source| Error::Apply { object: named(), source })
    });
    try_join_all(writes).await.map(|_| ())
}

/// Lists what carries our label, applies what differs, removes what is not wanted.
///
/// # Errors
/// The first refusal.
pub async fn keep(client: &Client, desired: &[Value]) -> Result<(), Error> {
    let lists = KINDS.iter().map(|(version, kind, place)| list(client, version, kind, *place));
    let present: Vec<Value> = try_join_all(lists).await?.concat();
    check_dns(&present, desired)?;
    let differs = |want: &&Value| !present.iter().any(|seen| same(seen, want) && covers(seen, want));
    apply(client, desired.iter().filter(differs)).await?;
    let surplus = present.iter().filter(|seen| !desired.iter().any(|want| same(seen, want)));
    let removals = surplus.map(|object| async move {
        let (api, name) = target(client, object);
        match api.delete(&name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => {
                let object = format!("{} {name}", object["kind"].as_str().unwrap_or_default());
                Err(Error::Delete { object, source })
            }
        }
    });
    try_join_all(removals).await.map(|_| ())
}

/// Kubelets are told the address of the DNS Service when they join, and the Service keeps the one that it was made with:
/// a change is refused as a whole, before half of it is done.
fn check_dns(present: &[Value], desired: &[Value]) -> Result<(), Error> {
    let is_dns = |object: &&Value| object["kind"] == "Service" && object["metadata"]["name"] == "kube-dns";
    let ips = |object: &Value| -> Vec<String> {
        let spec = &object["spec"];
        let all = spec["clusterIPs"].as_array().cloned().unwrap_or_else(|| vec![spec["clusterIP"].clone()]);
        all.iter().filter_map(|ip| ip.as_str().map(str::to_owned)).collect()
    };
    let (Some(seen), Some(want)) = (present.iter().find(is_dns), desired.iter().find(is_dns)) else {
        return Ok(());
    };
    let (has, wanted) = (ips(seen), ips(want));
    match wanted.starts_with(&has) {
        true => Ok(()),
        false => Err(Error::DnsMoved { wanted: wanted.join(", "), has: has.join(", ") }),
    }
}

/// Objects of one page.
const PAGE: u32 = 200;

/// Everything of a kind in a place that carries our label, page by page.
async fn list(client: &Client, version: &str, kind: &'static str, place: Place) -> Result<Vec<Value>, Error> {
    let resource: ApiResource = resource(version, kind);
    let api = match place {
        Place::Cluster => Api::<DynamicObject>::all_with(client.clone(), &resource),
        Place::Namespace(name) => Api::namespaced_with(client.clone(), name, &resource),
    };
    let mut params = ListParams::default().labels(&format!("{PROJECT_LABEL}=kamaji")).limit(PAGE);
    let mut all = Vec::new();
    loop {
        let listed = api.list(&params).await.map_err(|source| Error::List { kind, source })?;
        all.extend(listed.items.into_iter().map(|object| {
            // The items of a list say neither version nor kind.
            let mut value = json!(object);
            value["apiVersion"] = json!(version);
            value["kind"] = json!(kind);
            value
        }));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    let id = |object: &Value| {
        let meta = &object["metadata"];
        (object["kind"].clone(), meta["namespace"].clone(), meta["name"].clone())
    };
    id(a) == id(b)
}

fn target(client: &Client, object: &Value) -> (Api<DynamicObject>, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = resource(&text(&object["apiVersion"]), &text(&object["kind"]));
    let name = text(&object["metadata"]["name"]);
    let api = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    (api, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(spec: Value) -> Vec<Value> {
        vec![json!({ "kind": "Service", "metadata": { "name": "kube-dns" }, "spec": spec })]
    }

    #[test]
    fn the_dns_service_keeps_its_address() {
        let stored = dns(json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"] }));
        assert!(check_dns(&[], &dns(json!({ "clusterIP": "10.96.0.10" }))).is_ok(), "it is made");
        assert!(check_dns(&stored, &[]).is_ok(), "it is removed");
        assert!(check_dns(&stored, &dns(json!({ "clusterIP": "10.96.0.10" }))).is_ok());
        let both = json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::10"] });
        assert!(check_dns(&stored, &dns(both)).is_ok(), "a second family can be added");
        let moved = check_dns(&stored, &dns(json!({ "clusterIP": "10.96.0.53" }))).expect_err("moved");
        let why = moved.why();
        assert_eq!(why.reason, "DNSServiceMoved");
        assert!(why.message.contains("is 10.96.0.53") && why.message.ends_with("set it to 10.96.0.10 again"));
    }
}
