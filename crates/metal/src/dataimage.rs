//! DataImage: a disc in the drive of a host that runs its own system. The drive is changed when the host is powered on, by
//! the controller of BareMetalHost; here it is decided whether a DataImage may go.

use std::sync::Arc;

use scute_api::metal3::{
    AttachedImage, BareMetalHost, DATA_IMAGE_FINALIZER, DataImage, DataImageError, ProvisioningState,
};
use scute_kit::{Controller, Error, Hub, Key, Next, Why, finalizer};
use serde_json::json;

/// What becomes of the drive when the host is powered on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Disc {
    /// It is as it shall be.
    #[default]
    Leave,
    /// The image of this address goes in.
    Insert(String),
    /// What is in it goes out.
    Eject,
}

/// What a host's DataImage makes of its drive.
pub fn disc(hub: &Hub, host: &BareMetalHost) -> Disc {
    let image = hub.watch::<DataImage>().get(&Key::of(host)).filter(|_| is_used(host));
    image.map(|image| pending(&image)).unwrap_or_default()
}

fn pending(image: &DataImage) -> Disc {
    let wanted = Some(&image.spec.url).filter(|_| image.metadata.deletion_timestamp.is_none());
    match (wanted, attached(image)) {
        (Some(url), attached) if attached != Some(url) => Disc::Insert(url.clone()),
        (None, Some(_)) => Disc::Eject,
        _ => Disc::Leave,
    }
}

fn attached(image: &DataImage) -> Option<&String> {
    Some(&image.status.as_ref()?.attached_image.as_ref()?.url)
}

/// Whether the drive is the user's, and not ours for a ramdisk.
fn is_used(host: &BareMetalHost) -> bool {
    let state = host.status.as_ref().map(|status| status.provisioning.state).unwrap_or_default();
    matches!(state, ProvisioningState::Provisioned | ProvisioningState::ExternallyProvisioned)
        && host.metadata.deletion_timestamp.is_none()
        && host.detached().is_none()
}

/// Tells what became of the drive.
///
/// # Errors
/// When it cannot be written.
pub async fn tell(hub: &Hub, host: &BareMetalHost, disc: &Disc, failed: Option<&str>) -> Result<(), Error> {
    let Some(image) = hub.watch::<DataImage>().get(&Key::of(host)) else { return Ok(()) };
    let mut status = image.status.clone().unwrap_or_default();
    match (failed, disc) {
        (Some(why), _) => {
            let count = status.error.map_or(0, |error| error.count) + 1;
            status.error = Some(DataImageError { count, message: why.to_owned() });
        }
        (None, Disc::Insert(url)) => {
            status.attached_image = Some(AttachedImage { url: url.clone() });
            status.error = None;
        }
        (None, Disc::Eject) => (status.attached_image, status.error) = (None, None),
        (None, Disc::Leave) => {}
    }
    status.last_reconciled = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(hub.now()));
    hub.patch_status(image.as_ref(), json!(status)).await
}

/// Runs the controller; never returns.
pub async fn run(hub: Arc<Hub>) {
    Controller::<DataImage>::new("dataimage", &hub)
        .watches(|host: &BareMetalHost| vec![Key::of(host)])
        .run(hub, |image, hub| async move {
            match reconcile(&image, &hub).await {
                Ok(next) => next,
                Err(error) if error.is_not_found() => Next::Settled,
                Err(error) => Next::Failed(Why::of("RequestFailed", &error)),
            }
        })
        .await;
}

async fn reconcile(image: &Arc<DataImage>, hub: &Hub) -> Result<Next, Error> {
    let host = hub.watch::<BareMetalHost>().get(&Key::of(image.as_ref()));
    let used = host.as_ref().is_some_and(|host| is_used(host));
    if attached(image).is_some() && !used {
        // A ramdisk has been in the drive since, or somebody else looks after it.
        let mut status = image.status.clone().unwrap_or_default();
        status.attached_image = None;
        hub.patch_status(image.as_ref(), json!(status)).await?;
    }
    if image.metadata.deletion_timestamp.is_none() {
        if host.is_some() {
            finalizer::ensure(hub, image, DATA_IMAGE_FINALIZER).await?;
        }
        return Ok(Next::Settled);
    }
    if used && attached(image).is_some() {
        let words = "the disc is taken out when the host is next powered off and on";
        return Ok(Next::OnChange(Why::new("Attached", words)));
    }
    finalizer::remove(hub, image, DATA_IMAGE_FINALIZER).await?;
    Ok(Next::Settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drive_is_changed_when_it_is_not_as_it_shall_be() {
        let image = |deleted: bool, attached: Option<&str>| -> DataImage {
            let deleted = deleted.then_some("2026-01-01T00:00:00Z");
            let attached = attached.map(|url| json!({"url": url}));
            serde_json::from_value(json!({
                "metadata": {"name": "a", "deletionTimestamp": deleted}, "spec": {"url": "http://a"},
                "status": {"attachedImage": attached},
            }))
            .unwrap()
        };
        let insert = Disc::Insert("http://a".into());
        assert_eq!(pending(&image(false, None)), insert);
        assert_eq!(pending(&image(false, Some("http://b"))), insert);
        assert_eq!(pending(&image(false, Some("http://a"))), Disc::Leave);
        assert_eq!(pending(&image(true, Some("http://a"))), Disc::Eject);
        assert_eq!(pending(&image(true, None)), Disc::Leave);
    }
}
