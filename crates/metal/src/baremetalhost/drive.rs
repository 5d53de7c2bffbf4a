//! What the installed system finds on its config drive: pure.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use scute_image::iso::{self, LayoutError};
use serde_json::{Map, Value, json};

/// The partition on the disk has no more.
const LARGEST: usize = 64 << 20;

/// The host, as metadata have it.
pub struct Host<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// UID.
    pub uid: &'a str,
}

/// What the user gives: contents of Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// User data.
    pub user_data: Option<Vec<u8>>,
    /// YAML of more metadata.
    pub meta_data: Option<Vec<u8>>,
    /// `network_data.json`, or YAML of the same.
    pub network_data: Option<Vec<u8>>,
}

/// Why there is no config drive.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A Secret that cannot be read as what it should be. Its content is not repeated.
    #[error("the Secret of spec.{0} has no map in YAML or JSON")]
    Form(&'static str),
    /// Too much.
    #[error("the config drive has {0} bytes, and {LARGEST} at most fit: user data must become shorter")]
    Large(usize),
    /// The image.
    #[error("the config drive cannot be laid out: {0}")]
    Layout(#[from] LayoutError),
}

/// The whole partition, base64.
///
/// # Errors
/// See [`DriveError`].
pub fn config_drive(host: &Host<'_>, given: &Given) -> Result<String, DriveError> {
    let mut files = vec![("openstack/latest/meta_data.json", text(&Value::Object(meta_data(host, given)?)))];
    if let Some(user_data) = &given.user_data {
        files.push(("openstack/latest/user_data", user_data.clone()));
    }
    if let Some(network_data) = &given.network_data {
        let network = map(network_data, "networkData")?;
        files.push(("openstack/latest/network_data.json", text(&Value::Object(network))));
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    let image = iso::image("config-2", &files)?;
    match image.len() > LARGEST {
        true => Err(DriveError::Large(image.len())),
        false => Ok(BASE64_STANDARD.encode(image)),
    }
}

/// What upstream has in it, and over it what the user gives.
fn meta_data(host: &Host<'_>, given: &Given) -> Result<Map<String, Value>, DriveError> {
    let usual = BTreeMap::from([
        ("uuid", host.uid),
        ("metal3-namespace", host.namespace),
        ("metal3-name", host.name),
        ("local-hostname", host.name),
        ("local_hostname", host.name),
        ("hostname", host.name),
        ("name", host.name),
    ]);
    let mut all: Map<String, Value> =
        usual.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    if let Some(more) = &given.meta_data {
        all.extend(map(more, "metaData")?);
    }
    Ok(all)
}

fn map(text: &[u8], field: &'static str) -> Result<Map<String, Value>, DriveError> {
    let text = std::str::from_utf8(text).map_err(|_| DriveError::Form(field))?;
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    // JSON is YAML.
    serde_saphyr::from_str(text).map_err(|_| DriveError::Form(field))
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host<'static> = Host { namespace: "metal", name: "server-1", uid: "1-2" };

    #[test]
    fn metadata_of_the_user_win() {
        let given = Given { meta_data: Some(b"name: mine\nrack: {row: 3}\n".to_vec()), ..Given::default() };
        let all = meta_data(&HOST, &given).unwrap();
        assert_eq!(all["uuid"], "1-2");
        assert_eq!((&all["name"], &all["local-hostname"]), (&json!("mine"), &json!("server-1")));
        assert_eq!(all["rack"], json!({"row": 3}));
    }

    #[test]
    fn what_is_no_map_is_refused_without_its_content() {
        let given = Given { network_data: Some(b"- hunter2".to_vec()), ..Given::default() };
        let error = config_drive(&HOST, &given).unwrap_err().to_string();
        assert!(error.contains("networkData") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let given = Given { user_data: Some(vec![b'x'; LARGEST]), ..Given::default() };
        assert!(matches!(config_drive(&HOST, &given), Err(DriveError::Large(_))));
        assert!(config_drive(&HOST, &Given::default()).is_ok());
    }
}
