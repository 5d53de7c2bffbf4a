//! Who we are at a BMC: the Secret of a host, which is marked as used, kept as long as the host, and read when it changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::{Resource, ResourceExt};
use scute_api::metal3::{
    BareMetalHost, BmcAddress, BootMode, ENVIRONMENT, ENVIRONMENT_LABEL, SECRET_FINALIZER,
};
use scute_kit::{Error, EventType, Hub, Key, finalizer};
use scute_redfish::{Access, Credentials as Login, Origin, Trust, Which};
use serde_json::json;

use super::apply::CREDENTIALS;
use super::context::Context;
use super::rivals;
use super::seen::Credentials;

/// Who marks Secrets as used.
const MANAGER: &str = "scute-metal-credentials";
/// Annotation of a host whose BMC's certificate nobody vouches for: where it listens, and the SHA-256 of the certificate that
/// it showed at first. It gets its credentials as long as it shows that one.
pub const PIN: &str = "scute.dev/bmc-certificate";

/// The Secret with the credentials of a host.
pub fn key(host: &BareMetalHost) -> Option<Key> {
    let name = &host.spec.bmc.as_ref()?.credentials_name;
    (!name.is_empty()).then(|| Key::new(host.namespace().unwrap_or_default(), name.clone()))
}

/// Marks the Secret as this host's, as upstream does: with a label, an owner, and a finalizer, so that it stays as long as
/// the host. Whether there was something to do: the Secret then has another version.
///
/// # Errors
/// When it cannot be written.
pub async fn claim(hub: &Hub, host: &BareMetalHost) -> Result<bool, Error> {
    let Some(key) = key(host) else { return Ok(false) };
    let secrets = hub.watch_meta::<Secret>();
    secrets.ready().await;
    let Some(seen) = secrets.get(&key) else { return Ok(false) };
    let owner = host.owner_ref(&()).unwrap_or_default();
    if seen.metadata.deletion_timestamp.is_some() || is_claimed(&seen, &owner) {
        return Ok(false);
    }
    let claim = Secret {
        metadata: ObjectMeta {
            name: Some(key.name),
            namespace: Some(key.namespace),
            labels: Some(BTreeMap::from([(ENVIRONMENT_LABEL.to_owned(), ENVIRONMENT.to_owned())])),
            owner_references: Some(vec![owner]),
            finalizers: Some(vec![SECRET_FINALIZER.to_owned()]),
            // One that is made again in between is another's.
            uid: seen.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    };
    hub.apply(MANAGER, &claim).await.map(|_| true)
}

fn is_claimed(secret: &PartialObjectMeta<Secret>, owner: &OwnerReference) -> bool {
    let labelled = secret.labels().get(ENVIRONMENT_LABEL).is_some_and(|value| value == ENVIRONMENT);
    let owned = secret.owner_references().iter().any(|known| known.uid == owner.uid);
    labelled && owned && finalizer::has(secret, SECRET_FINALIZER)
}

/// Lets the Secret go, unless another host uses it.
///
/// # Errors
/// When it cannot be written.
pub async fn release(hub: &Hub, host: &BareMetalHost) -> Result<(), Error> {
    let Some(at) = key(host) else { return Ok(()) };
    let users = hub.watch::<BareMetalHost>().list_by(&CREDENTIALS, &at.namespace, &at.name);
    if users.iter().any(|user| user.uid() != host.uid()) {
        return Ok(());
    }
    match hub.get::<Secret>(&at).await? {
        Some(secret) => finalizer::remove(hub, &Arc::new(secret), SECRET_FINALIZER).await,
        None => Ok(()),
    }
}

/// What is known of the credentials. The content is read when the BMC has not taken this version yet.
///
/// # Errors
/// When the Secret cannot be read.
pub async fn observe(hub: &Hub, host: &BareMetalHost) -> Result<Credentials, Error> {
    let wrong = |why: String| Ok(Credentials::Wrong(why));
    if let Err(why) = origin(host) {
        return wrong(why);
    }
    if let Some(why) = rivals::before(host, &hub.watch::<BareMetalHost>()) {
        return wrong(why);
    }
    let Some(key) = key(host) else {
        return wrong(
            "spec.bmc.credentialsName is empty: it must name a Secret with username and password".into(),
        );
    };
    let secrets = hub.watch_meta::<Secret>();
    secrets.ready().await;
    let missing = || format!("the Secret {key} of spec.bmc.credentialsName is missing");
    let Some(version) = secrets.get(&key).and_then(|seen| seen.resource_version()) else {
        return wrong(missing());
    };
    let good = host.status.as_ref().map(|status| &status.good_credentials);
    if good.is_some_and(|good| good.credentials_version == version) {
        return Ok(Credentials::At(version));
    }
    match hub.get::<Secret>(&key).await? {
        None => wrong(missing()),
        Some(secret) => match login(&secret) {
            Ok(_) => Ok(Credentials::At(version)),
            Err(why) => wrong(format!("the Secret {key} of spec.bmc.credentialsName {why}")),
        },
    }
}

/// Everything that is needed to talk to the BMC.
///
/// # Errors
/// The API server's, or in words what is wrong.
pub async fn access(context: &Context, host: &BareMetalHost) -> Result<Result<Access, String>, Error> {
    let (origin, path) = match origin(host) {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let Some(key) = key(host) else { return Ok(Err("spec.bmc.credentialsName is empty".into())) };
    let Some(secret) = context.hub.get::<Secret>(&key).await? else {
        return Ok(Err(format!("the Secret {key} of spec.bmc.credentialsName is missing")));
    };
    let any = host.spec.bmc.as_ref().is_some_and(|bmc| bmc.disable_certificate_verification);
    let trust = match text(&secret, "ca.crt") {
        _ if any => pinned(host, &origin).map_or(Trust::Any, Trust::Pinned),
        Some(authorities) => Trust::Authorities(authorities),
        None => context.trust.clone(),
    };
    let which = Which { path, uuid: None, mac: host.spec.boot_mac_address.clone() };
    Ok(login(&secret).map(|credentials| Access { origin, which, credentials, trust }))
}

/// The certificate that was shown there at first.
fn pinned(host: &BareMetalHost, origin: &Origin) -> Option<String> {
    let (place, print) = host.annotations().get(PIN)?.split_once(' ')?;
    (place == origin.authority()).then(|| print.trim().to_owned())
}

/// Remembers the certificate that was shown.
///
/// # Errors
/// When it cannot be written.
pub async fn pin(hub: &Hub, host: &BareMetalHost, origin: &Origin, print: &str) -> Result<(), Error> {
    let pin = format!("{} {print}", origin.authority());
    let patch = json!({"metadata": {"annotations": {PIN: pin}, "uid": host.metadata.uid}});
    hub.patch::<BareMetalHost>(&Key::of(host), &patch).await?;
    let note = format!("from now on the BMC must show the certificate with the SHA-256 {print}");
    hub.event(host, EventType::Normal, "CertificatePinned", &note).await;
    Ok(())
}

/// Where the BMC listens, and the path of the System.
///
/// # Errors
/// What is wrong with its address.
pub fn origin(host: &BareMetalHost) -> Result<(Origin, Option<String>), String> {
    if host.boot_mode() == BootMode::UefiSecureBoot {
        return Err("spec.bootMode UEFISecureBoot is not served yet: use UEFI".to_owned());
    }
    let text = host.spec.bmc.as_ref().map(|bmc| bmc.address.as_str()).unwrap_or_default();
    if text.is_empty() {
        return Err("spec.bmc.address is empty".to_owned());
    }
    let address: BmcAddress = text.parse().map_err(|error| format!("spec.bmc.address: {error}"))?;
    let BmcAddress { tls, host, port, system, .. } = address;
    let port = port.unwrap_or(if tls { 443 } else { 80 });
    Ok((Origin { tls, host, port }, system))
}

fn login(secret: &Secret) -> Result<Login, String> {
    let field = |name: &str| match text(secret, name) {
        Some(value) if !value.trim().is_empty() => Ok(value.trim().to_owned()),
        Some(_) => Err(format!("has an empty {name}")),
        None => Err(format!("has no {name}")),
    };
    Ok(Login::new(field("username")?, field("password")?))
}

fn text(secret: &Secret, name: &str) -> Option<String> {
    let ByteString(bytes) = secret.data.as_ref()?.get(name)?;
    String::from_utf8(bytes.clone()).ok()
}
