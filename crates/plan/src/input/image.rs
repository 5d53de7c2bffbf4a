//! The image of metal Nodes: what a Metal3MachineTemplate must say, read and checked as the API does.

use scute_api::metal3::{Image, validate_image};
use serde::de::DeserializeOwned;

use super::reader::{Complaints, Fields};

/// The field that names an image.
pub const FIELD: &str = "metalImage";

/// `metalImage: {url, checksum, checksumType, format}`; a live ISO and an image in a registry need no checksum.
pub fn read_image(f: &mut Fields<'_>, c: &mut Complaints) -> Option<Image> {
    let node = f.node(FIELD)?;
    let path = f.path(FIELD);
    let before = c.errors.len();
    let mut f = Fields::of(node, &path, c);
    let url = f.text("url", c);
    let image = Image {
        url: f.need(url, "url", c).unwrap_or_default(),
        checksum: f.text("checksum", c),
        checksum_type: f.read("checksumType", c, word),
        format: f.read("format", c, word),
        // The image of a Metal3Machine has no place for a Secret.
        oci_auth_secret_name: None,
    };
    f.finish(c);
    if c.errors.len() == before {
        for bad in validate_image(&path, &image) {
            let field = bad.path.strip_prefix(&path).unwrap_or_default().trim_start_matches('.');
            c.add(node.line_of(&[field]), &bad.path, format!("{:?} {}", bad.value, bad.detail));
        }
    }
    Some(image)
}

/// One of the words of the API.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| format!("{text:?}: {error}"))
}
