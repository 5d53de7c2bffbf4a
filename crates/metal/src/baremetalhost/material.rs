//! What an image needs beside itself: its digest, and what goes onto the config drive.

use k8s_openapi::api::core::v1::{Secret, SecretReference};
use kube::ResourceExt;
use scute_agent::protocol::{Checksum, Login, Write};
use scute_api::metal3::{BareMetalHost, Image};
use scute_image::oci::Reference;
use scute_kit::{Error, Key};
use scute_metaldata::secret_data;

use super::context::Context;
use super::drive::{Given, config_drive};
use super::image::{self, Digest};
use super::pull;
use super::seen::Material;

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whether it is all.
    pub material: Material,
    checksum: Option<Checksum>,
    login: Option<Login>,
    given: Given,
}

impl Found {
    /// Nobody asked.
    pub fn unasked() -> Self {
        Self::none(Material::Ready)
    }

    fn none(material: Material) -> Self {
        Self { material, checksum: None, login: None, given: Given::default() }
    }
}

/// Looks for everything that the image of a host needs.
///
/// # Errors
/// When a Secret cannot be read.
pub async fn look(context: &Context, host: &BareMetalHost) -> Result<Found, Error> {
    let Some(image) = &host.spec.image else { return Ok(Found::unasked()) };
    let checksum = match image::digest(image) {
        Ok(Digest::Known(checksum)) => Some(checksum),
        Ok(Digest::Registered) => None,
        Ok(Digest::Listed(url)) => match context.digests.find(&Key::of(host), image, &url) {
            None => return Ok(Found::none(Material::Fetching)),
            Some(Ok(checksum)) => Some(checksum),
            Some(Err(why)) => return Ok(Found::none(Material::Wrong(why))),
        },
        Err(why) => return Ok(Found::none(Material::Wrong(why))),
    };
    let login = match login(context, host, image).await? {
        Ok(login) => login,
        Err(why) => return Ok(Found::none(Material::Missing(why))),
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
    Ok(Found { material, checksum, login, given })
}

/// Who reads from the registry of the image; or in words what is missing.
async fn login(
    context: &Context,
    host: &BareMetalHost,
    image: &Image,
) -> Result<Result<Option<Login>, String>, Error> {
    let name = image.oci_auth_secret_name.clone().filter(|name| !name.is_empty() && image.is_oci());
    let Some(name) = name else { return Ok(Ok(None)) };
    let registry = match Reference::parse(&image.url) {
        Ok(reference) => reference.registry,
        Err(error) => return Ok(Err(format!("spec.image.url {error}"))),
    };
    let key = Key::new(host.namespace().unwrap_or_default(), name);
    Ok(match context.hub.get::<Secret>(&key).await? {
        Some(secret) => pull::login(&secret, &registry)
            .map(Some)
            .map_err(|why| format!("the Secret {key} of spec.image.ociAuthSecretName {why}")),
        None => Err(format!("the Secret {key} of spec.image.ociAuthSecretName is missing")),
    })
}

/// The work of writing the image.
///
/// # Errors
/// When the image cannot be written.
pub fn work(host: &BareMetalHost, found: &Found) -> Result<Write, String> {
    let Some(image) = &host.spec.image else { return Err("there is no image".to_owned()) };
    let hints = host.root_device_hints();
    let drive = drive(host, &found.given)?;
    image::write(image, found.checksum.clone(), found.login.clone(), hints.as_ref(), Some(drive))
}

fn drive(host: &BareMetalHost, given: &Given) -> Result<String, String> {
    config_drive(host, given).map_err(|error| error.to_string())
}
