//! The kubeconfig of a Cluster: `<cluster>-kubeconfig`, with an administrator's certificate of a year that is renewed in
//! its second half.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use scute_api::meta::{CLUSTER_NAME_LABEL, CLUSTER_SECRET_TYPE};
use scute_contract::certificates::{KeyPair, Purpose};
use scute_contract::owners::owner;
use scute_kit::{Error, Key, Why};
use scute_kubeadm::join_host_port;
use scute_pki::{Ca, ClientIdentity, Kubeconfig, LEAF_VALIDITY, LeafRequest, Renewal, issue};

use crate::apply::adopt_secret;
use crate::context::Context;
use crate::controller::MADE_JUST_NOW;
use crate::observe::Observed;

/// Field manager of it.
const MANAGER: &str = "scute-kubeadmcontrolplane-kubeconfig";
/// Key of its text.
const VALUE: &str = "value";
/// Until it is looked at again though neither it nor its authority has changed.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// Writes the kubeconfig, unless the one that is there fits. One that somebody else brought is left as it is.
///
/// # Errors
/// What stopped it.
pub async fn keep(seen: &Observed, context: &Context) -> Result<(), Why> {
    let kcp = seen.key();
    let name = seen.cluster_name();
    let Some(authority) = seen.certificates.pairs.get(&Purpose::ClusterCa) else {
        // They have just been made, and the next run sees them.
        return Err(Why::new(MADE_JUST_NOW, format!("Secret {name}-ca is not there yet")));
    };
    let key = Key::new(kcp.namespace.clone(), format!("{name}-kubeconfig"));
    let failed = |error: &Error| Why::of("KubeconfigNotWritten", error);
    match &seen.kubeconfig {
        Some(found) if found.stray && !context.is_users(&kcp, &key.name, &found.version) => {
            return adopt_secret(seen, &key.name, context).await.map_err(|error| failed(&error));
        }
        Some(found)
            if !found.own || context.kubeconfig_fits(&kcp, &found.version, &authority.certificate) =>
        {
            return Ok(());
        }
        _ => {}
    }
    let before = context.hub.get::<Secret>(&key).await.map_err(|error| failed(&error))?;
    let text = before.as_ref().and_then(|secret| secret.data.as_ref()?.get(VALUE));
    let text = text.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
    let version = match fresh(seen, authority, text.as_deref(), context).await? {
        None => before.and_then(|secret| secret.resource_version()).unwrap_or_default(),
        Some(text) => {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(key.name.clone()),
                    namespace: Some(key.namespace.clone()),
                    labels: Some([(CLUSTER_NAME_LABEL.to_owned(), name)].into()),
                    owner_references: Some(vec![owner(seen.kcp.as_ref(), true)]),
                    ..ObjectMeta::default()
                },
                type_: Some(CLUSTER_SECRET_TYPE.to_owned()),
                data: Some([(VALUE.to_owned(), ByteString(text.into_bytes()))].into()),
                ..Secret::default()
            };
            let written = context.hub.apply(MANAGER, &secret).await.map_err(|error| failed(&error))?;
            written.resource_version().unwrap_or_default()
        }
    };
    let due = context.hub.now() + LOOK_AGAIN;
    context.kubeconfig_is_right(&kcp, version, authority.certificate.clone(), due);
    Ok(())
}

/// The text of a new kubeconfig; `None` when the one that is there can stay.
async fn fresh(
    seen: &Observed,
    authority: &KeyPair,
    existing: Option<&str>,
    context: &Context,
) -> Result<Option<String>, Why> {
    let cluster = seen.cluster_name();
    let endpoint = seen.cluster.as_ref().and_then(|cluster| cluster.spec.control_plane_endpoint.clone());
    let endpoint = endpoint.unwrap_or_default();
    let port = u16::try_from(endpoint.port).unwrap_or_default();
    let server = format!("https://{}", join_host_port(&endpoint.host, port));
    let unusable =
        |error: scute_pki::Error| Why::new("KubeconfigNotMade", format!("Secret {cluster}-ca: {error}"));
    let ca =
        Ca::load(&authority.certificate, authority.key.as_deref().unwrap_or_default()).map_err(unusable)?;
    let admin = LeafRequest::client("kubernetes-admin", Some("system:masters"));
    let renewal = Renewal { now: context.hub.now(), deadline: LEAF_VALIDITY / 2 };
    if renewal.check_kubeconfig(existing, &server, &admin, &ca).is_none() {
        return Ok(None);
    }
    let now = context.hub.now();
    let ca_pem = ca.certificate_pem().to_owned();
    // A key of RSA takes a tenth of a second.
    let pair = tokio::task::spawn_blocking(move || issue(&admin, &ca, now)).await;
    let pair = pair.map_err(|error| Why::new("KubeconfigNotMade", error.to_string()))?;
    let kubeconfig = Kubeconfig {
        user: format!("{cluster}-admin"),
        cluster: cluster.clone(),
        server,
        tls_server_name: None,
        ca_pem,
        identity: ClientIdentity::Certificate(pair.map_err(unusable)?),
    };
    kubeconfig.render().map(Some).map_err(unusable)
}
