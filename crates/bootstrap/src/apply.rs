//! The writes of a KubeadmConfig's reconcile: the discovery into the spec, the token into the tenant, the
//! bootstrap data into its Secret; in this order, so that a pass that is cut short leaves nothing behind
//! that the next does not use.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ObjectMeta, Patch};
use kube::{Client, Resource, ResourceExt};
use scute_api::bootstrap::{Format, KubeadmConfig};
use scute_api::meta::{CLUSTER_NAME_LABEL, CLUSTER_SECRET_TYPE};
use scute_contract::certificates::{self, MakeError, Wanted};
use scute_contract::owners::owner;
use scute_kit::conditions::whole_seconds;
use scute_kit::tenants::TenantKey;
use scute_kit::{Key, Why, patch_params, post_params, said};
use scute_pki::{BootstrapToken, system_random};
use serde_json::json;

use crate::observe::Observed;
use crate::plan::{self, Make, Plan};
use crate::render::{self, What, Wish};
use crate::{Context, lock};

/// Field manager of the bootstrap Secret.
const MANAGER: &str = "scute-kubeadmconfig";

/// Writes what the plan says.
pub async fn apply(seen: &Observed, plan: &Plan, context: &Context, now: Timestamp) -> Result<(), Why> {
    let held = seen.cluster.as_ref().zip(seen.machine.as_ref());
    if let (true, Some((cluster, machine))) = (plan::gives_lock_back(seen, plan), held) {
        lock::release(&context.hub, cluster, &machine.name_any()).await.map_err(|error| failed(&error))?;
    }
    match plan {
        Plan::Make(make) => self::make(seen, make, context, now).await,
        Plan::Certificates => make_certificates(seen, context).await,
        Plan::Init { version } => init(seen, version, context).await,
        Plan::Unlock { machine } => match &seen.cluster {
            Some(cluster) => {
                lock::release(&context.hub, cluster, machine).await.map_err(|error| failed(&error))
            }
            None => Ok(()),
        },
        Plan::Refresh(Some(token)) => {
            let client = client(seen, context).await?;
            keep(&client, &parse(token)?, seen, context, now).await
        }
        Plan::Paused(_)
        | Plan::Wait(_)
        | Plan::Refuse(_)
        | Plan::Restore { .. }
        | Plan::Refresh(None)
        | Plan::Done => Ok(()),
    }
}

/// The key pairs that are missing, in the name of the configuration.
async fn make_certificates(seen: &Observed, context: &Context) -> Result<(), Why> {
    let Some(cluster) = &seen.cluster else { return Ok(()) };
    let wanted = Wanted::of(seen.config.spec.cluster_configuration.as_ref());
    let namespace = seen.config.namespace().unwrap_or_default();
    let owner = owner(seen.config.as_ref(), true);
    let name = cluster.name_any();
    certificates::make_missing(&context.hub, &namespace, &name, &wanted, &seen.certificates, &owner)
        .await
        .map(|_| ())
        .map_err(|error| match error {
            MakeError::Write(error) => failed(&error),
            MakeError::Pki(_) | MakeError::Ended => Why::new("InternalError", error.to_string()),
        })
}

/// The data of the host that begins the Cluster: text first, as a lock without data would keep all others away.
async fn init(seen: &Observed, version: &str, context: &Context) -> Result<(), Why> {
    let (Some(cluster), Some(machine)) = (&seen.cluster, &seen.machine) else { return Ok(()) };
    let spec = &seen.config.spec;
    let configuration = spec.cluster_configuration.clone().unwrap_or_default();
    let documents = [
        scute_kubeadm::init::cluster_configuration(&configuration, &cluster.name_any(), cluster, version),
        scute_kubeadm::init::init_configuration(&spec.init_configuration.clone().unwrap_or_default()),
    ];
    let text = rendered(seen, What::Init(&documents))?;
    let taken =
        lock::take(&context.hub, cluster, &machine.name_any()).await.map_err(|error| failed(&error))?;
    if !taken && seen.lock != Some(lock::Lock::Mine) {
        return Err(Why::new(
            "WaitingForControlPlaneInitialized",
            "another Machine has just begun the Cluster",
        ));
    }
    // Whoever begins it gives the lock back when it is there, which the copy that this pass has looked at may not know yet:
    // a second Cluster would be begun in the place of the first.
    if !lock::is_to_be_begun(&context.hub, cluster).await.map_err(|error| failed(&error))? {
        lock::release(&context.hub, cluster, &machine.name_any()).await.map_err(|error| failed(&error))?;
        return Err(Why::new("WaitingForControlPlaneInitialized", "the Cluster has just been begun"));
    }
    context.hub.apply(MANAGER, &secret(seen, text)).await.map(|_| ()).map_err(|error| failed(&error))
}

fn rendered(seen: &Observed, what: What<'_>) -> Result<String, Why> {
    let spec = &seen.config.spec;
    let version = seen.machine.as_ref().and_then(|machine| machine.spec.version.clone());
    let wanted = Wanted::of(spec.cluster_configuration.as_ref());
    let wish = Wish {
        spec,
        what,
        version: version.as_deref(),
        certificates: render::certificate_files(spec, &wanted, &seen.certificates),
        sources: &seen.sources,
        control_plane_version: seen.control_plane_version.as_deref(),
    };
    render::data(&wish).map_err(|error| Why::new("DataNotRendered", error.to_string()))
}

async fn make(seen: &Observed, make: &Make, context: &Context, now: Timestamp) -> Result<(), Why> {
    let mut join = make.join.clone();
    let worker = make.join.control_plane.is_none();
    if make.by_file() {
        let text = rendered(seen, What::Join { join: &join, worker })?;
        let written = context.hub.apply(MANAGER, &secret(seen, text)).await;
        return written.map(|_| ()).map_err(|error| failed(&error));
    }
    // Who cannot be reached needs no token written down.
    let client = client(seen, context).await?;
    let token = match make.token() {
        Some(token) => parse(token)?,
        None => BootstrapToken::generate(system_random)
            .map_err(|error| Why::new("InternalError", error.to_string()))?,
    };
    if make.spec_lacks {
        let discovery = join.discovery.get_or_insert_default().bootstrap_token.get_or_insert_default();
        discovery.token = Some(token.expose());
        let patch = json!({
            "metadata": { "resourceVersion": seen.config.resource_version() },
            "spec": { "joinConfiguration": { "discovery": { "bootstrapToken": discovery } } },
        });
        let key = Key::of(seen.config.as_ref());
        context.hub.patch::<KubeadmConfig>(&key, &patch).await.map_err(|error| failed(&error))?;
    }
    keep(&client, &token, seen, context, now).await?;
    let text = rendered(seen, What::Join { join: &join, worker })?;
    let secret = secret(seen, text);
    context.hub.apply(MANAGER, &secret).await.map_err(|error| failed(&error))?;
    Ok(())
}

fn failed(error: &scute_kit::Error) -> Why {
    Why::of("InternalError", error)
}

fn parse(token: &str) -> Result<BootstrapToken, Why> {
    token.parse().map_err(|_| {
        let message = "spec.joinConfiguration.discovery.bootstrapToken.token is not of the form [a-z0-9]{6}.[a-z0-9]{16}";
        Why::new("InvalidToken", message)
    })
}

async fn client(seen: &Observed, context: &Context) -> Result<Client, Why> {
    let cluster = seen.machine.as_ref().map(|machine| machine.spec.cluster_name.clone()).unwrap_or_default();
    let key = TenantKey::capi(&seen.config.namespace().unwrap_or_default(), &cluster);
    let client = context.tenants.client(&key).await;
    client
        .map_err(|error| Why::new("ConnectionDown", format!("the tenant cluster cannot be reached: {error}")))
}

/// Makes the token known to the tenant, or gives it more time when less than five sixths of it are left.
async fn keep(
    client: &Client,
    token: &BootstrapToken,
    seen: &Observed,
    context: &Context,
    now: Timestamp,
) -> Result<(), Why> {
    let refused = |error: kube::Error| {
        Why::new(
            "TokenNotWritten",
            format!("writing bootstrap token {} to the tenant cluster: {}", token.id(), said(&error)),
        )
    };
    let secrets = Api::<Secret>::namespaced(client.clone(), "kube-system");
    let ttl = SignedDuration::try_from(context.config.token_ttl).unwrap_or(SignedDuration::from_mins(15));
    let expiration = whole_seconds(now + ttl).to_string();
    let name = token.secret_name();
    match secrets.get_opt(&name).await.map_err(refused)? {
        None => {
            let description =
                format!("Joins {}/{}", seen.config.namespace().unwrap_or_default(), seen.config.name_any());
            let secret =
                scute_kubeadm::bootstrap_token::secret(token.id(), token.secret(), &expiration, &description);
            let secret: Secret = serde_json::from_value(secret)
                .map_err(|error| Why::new("InternalError", error.to_string()))?;
            secrets.create(&post_params(), &secret).await.map_err(refused)?;
        }
        Some(known) if left(&known, now) < ttl * 5 / 6 => {
            let patch = json!({ "stringData": { "expiration": expiration } });
            let params = patch_params();
            secrets.patch(&name, &params, &Patch::Merge(&patch)).await.map_err(refused)?;
        }
        Some(_) => {}
    }
    Ok(())
}

fn left(secret: &Secret, now: Timestamp) -> SignedDuration {
    let data = secret.data.as_ref();
    let expiration =
        data.and_then(|data| data.get("expiration")).and_then(|text| std::str::from_utf8(&text.0).ok());
    match expiration.map(str::parse::<Timestamp>) {
        Some(Ok(expiration)) => expiration.duration_since(now),
        // Without an expiration it lives for ever.
        None => SignedDuration::MAX,
        Some(Err(_)) => SignedDuration::ZERO,
    }
}

/// The Secret with the bootstrap data, named as its KubeadmConfig.
fn secret(seen: &Observed, text: String) -> Secret {
    let config = &seen.config;
    let format = match config.spec.format.unwrap_or_default() {
        Format::CloudConfig => "cloud-config",
        Format::Ignition => "ignition",
    };
    let cluster = seen.machine.as_ref().map(|machine| machine.spec.cluster_name.clone()).unwrap_or_default();
    Secret {
        metadata: ObjectMeta {
            name: Some(config.name_any()),
            namespace: config.namespace(),
            labels: Some([(CLUSTER_NAME_LABEL.to_owned(), cluster)].into()),
            owner_references: Some(vec![OwnerReference {
                api_version: KubeadmConfig::api_version(&()).into_owned(),
                kind: KubeadmConfig::kind(&()).into_owned(),
                name: config.name_any(),
                uid: config.uid().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..Default::default()
        },
        type_: Some(CLUSTER_SECRET_TYPE.to_owned()),
        data: Some(
            [
                ("format".to_owned(), ByteString(format.as_bytes().to_vec())),
                ("value".to_owned(), ByteString(text.into_bytes())),
            ]
            .into(),
        ),
        ..Default::default()
    }
}
