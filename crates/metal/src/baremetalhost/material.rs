//! What an image needs beside itself: its digest, and what goes onto the config drive.

use k8s_openapi::api::core::v1::{Secret, SecretReference};
use kube::ResourceExt;
use scute_agent::protocol::{Checksum, Write};
use scute_api::metal3::BareMetalHost;
use scute_kit::{Error, Key};
use scute_metaldata::secret_data;

use super::context::Context;
use super::drive::{Given, config_drive};
use super::image::{self, Digest};
use super::seen::Material;

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whether it is all.
    pub material: Material,
    checksum: Option<Checksum>,
    given: Given,
}

impl Found {
    /// Nobody asked.
    pub fn unasked() -> Self {
        Self { material: Material::Ready, checksum: None, given: Given::default() }
    }

    fn none(material: Material) -> Self {
        Self { material, checksum: None, given: Given::default() }
    }
}

/// Looks for everything that the image of a host needs.
///
/// # Errors
/// When a Secret cannot be read.
pub async fn look(context: &Context, host: &BareMetalHost) -> Result<Found, Error> {
    let Some(image) = &host.spec.image else { return Ok(Found::unasked()) };
    let checksum = match image::digest(image) {
        Ok(Digest::Known(checksum)) => checksum,
        Ok(Digest::Listed(url)) => match context.digests.find(&Key::of(host), image, &url) {
            None => return Ok(Found::none(Material::Fetching)),
            Some(Ok(checksum)) => checksum,
            Some(Err(why)) => return Ok(Found::none(Material::Wrong(why))),
        },
        Err(why) => return Ok(Found::none(Material::Wrong(why))),
    };
    let mut given = Given::default();
    let spec = &host.spec;
    let named = |name: &Option<String>| {
        name.clone().map(|name| SecretReference { name: Some(name), namespace: None })
    };
    let network = spec.network_data.clone().or_else(|| named(&spec.preprovisioning_network_data_name));
    for (field, reference, slot) in [
        ("userData", &spec.user_data, &mut given.user_data),
        ("metaData", &spec.meta_data, &mut given.meta_data),
        ("networkData", &network, &mut given.network_data),
    ] {
        let Some(name) = reference.as_ref().and_then(|reference| reference.name.clone()) else { continue };
        let key = Key::new(host.namespace().unwrap_or_default(), name);
        let Some(secret) = context.hub.get::<Secret>(&key).await? else {
            let why = format!("the Secret {key} of spec.{field} is missing");
            return Ok(Found::none(Material::Missing(why)));
        };
        let data = secret.data.unwrap_or_default();
        *slot = secret_data(&data, field).map(<[u8]>::to_vec);
        if slot.is_none() && field == "userData" {
            let why = format!("the Secret {key} of spec.userData has neither userData nor value");
            return Ok(Found::none(Material::Missing(why)));
        }
    }
    let material = match drive(host, &given) {
        Ok(_) => Material::Ready,
        Err(why) => Material::Wrong(why),
    };
    Ok(Found { material, checksum: Some(checksum), given })
}

/// The work of writing the image.
///
/// # Errors
/// When the image cannot be written.
pub fn work(host: &BareMetalHost, found: &Found) -> Result<Write, String> {
    let (Some(image), Some(checksum)) = (&host.spec.image, &found.checksum) else {
        return Err("there is no image".to_owned());
    };
    let hints = host.root_device_hints();
    image::write(image, checksum.clone(), hints.as_ref(), Some(drive(host, &found.given)?))
}

fn drive(host: &BareMetalHost, given: &Given) -> Result<String, String> {
    config_drive(host, given).map_err(|error| error.to_string())
}
